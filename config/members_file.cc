#include "config/members_file.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <ranges>
#include <utility>

#include "config/member_text.h"
#include "config/read_file.h"

namespace bulkhead {
namespace {

constexpr size_t kMaxLineBytes = 8192;

/// Puts a field's text into the member. Errors: what is wrong with it.
using SetField = Expected<> (*)(Member& member, std::string_view text);

template <auto kParse, auto kField>
Expected<> set_field(Member& member, std::string_view text) {
  auto value = kParse(text);
  if (!value) return std::unexpected(std::move(value.error()));
  member.*kField = std::move(*value);
  return {};
}

struct Column {
  std::string_view name;
  SetField set;
};
constexpr Column kColumns[] = {{"prefix", set_field<parse_member_prefix, &Member::prefix>},
                               {"port", set_field<parse_member_port, &Member::port>},
                               {"vlan", set_field<parse_member_vlan, &Member::vlan>},
                               {"mac", set_field<parse_unicast_mac, &Member::mac>},
                               {"spiffe", set_field<parse_member_spiffe, &Member::spiffe>},
                               {"workload", set_field<parse_workload, &Member::workload>}};

class MembersReader {
 public:
  MembersReader(Source& source, uint32_t file, size_t room, std::vector<Member>& members)
      : source_(source), file_(file), room_(room), members_(members) {}

  /// Whether reading goes on.
  bool take(std::string_view chunk) {
    while (!stopped_ && !chunk.empty()) {
      size_t end = chunk.find('\n');
      if (carry_.size() + std::min(end, chunk.size()) > kMaxLineBytes) {
        ++line_;
        stop(1, "this line is longer than 8192 bytes; this isn't a list of members");
      } else if (end == std::string_view::npos) {
        carry_ += chunk;
        break;
      } else if (carry_.empty()) {
        take_line(chunk.substr(0, end));
      } else {
        carry_ += chunk.substr(0, end);
        take_line(std::exchange(carry_, {}));
      }
      chunk.remove_prefix(end + 1);
    }
    return !stopped_;
  }

  void finish() {
    if (!stopped_ && !carry_.empty()) take_line(carry_);
    if (line_ == 0) stop(0, "the file is empty; its first line must name the columns, 'prefix' at least");
  }

 private:
  void take_line(std::string_view line) {
    ++line_;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line_ == 1 && line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
    if (line_ == 1) return take_header(line);
    if (line.empty()) return;
    Member member;
    if (!take_fields(line, member)) return;
    if (room_ == 0) return stop(1, "a policy's members files can't have more than 16777216 members together");
    --room_;
    member.file = file_;
    member.line = line_;
    member.column = 1;
    members_.push_back(std::move(member));
  }

  void take_header(std::string_view line) {
    for_each_field(line, [&](std::string_view name, uint32_t column) {
      auto known = std::ranges::find(kColumns, name, &Column::name);
      if (known == std::end(kColumns))
        return stop(column,
                    "there is no column " + in_quotes(name) +
                        source_.report().did_you_mean(name, kColumns | std::views::transform(&Column::name)) +
                        "; the columns are prefix, port, vlan, mac, spiffe and workload");
      if (std::ranges::find(header_, known) != header_.end())
        return stop(column, "the column " + in_quotes(name) + " is there twice; remove one");
      header_.push_back(known);
    });
    if (!stopped_ && std::ranges::find(header_, "prefix", &Column::name) == header_.end())
      stop(1, "the column 'prefix' is missing; the first line must name the columns");
  }

  bool take_fields(std::string_view line, Member& member) {
    size_t field = 0;
    bool right = true;
    for_each_field(line, [&](std::string_view text, uint32_t column) {
      size_t place = field++;
      if (place >= header_.size()) return;
      const Column& wanted = *header_[place];
      if (text.empty() && wanted.name != "prefix") return;
      auto set = wanted.set(member, text);
      if (!set) source_.error({line_, column}, std::move(set.error().message));
      right = right && set;
    });
    if (field == header_.size()) return right;
    source_.error({line_, 1}, "this line has " + std::to_string(field) + " fields and the first line " +
                                  std::to_string(header_.size()) + "; write as many, without quotes");
    return false;
  }

  template <class Take>
  static void for_each_field(std::string_view line, Take&& take) {
    size_t start = 0;
    while (true) {
      size_t end = std::min(line.find(',', start), line.size());
      take(line.substr(start, end - start), static_cast<uint32_t>(start + 1));
      if (end == line.size()) return;
      start = end + 1;
    }
  }

  void stop(uint32_t column, std::string message) {
    if (!stopped_) source_.error({line_, column}, std::move(message));
    stopped_ = true;
  }

  Source& source_;
  uint32_t file_;
  size_t room_;
  std::vector<Member>& members_;
  std::vector<const Column*> header_;  ///< what each field of a line is
  std::string carry_;                  ///< the start of a line whose end is in the next chunk
  uint32_t line_ = 0;
  bool stopped_ = false;
};

/// How many lines a file of `bytes` has, if they are all like those of its first chunk: to make room once.
/// Never room for more than a million, since lines may be empty.
size_t expected_lines(std::string_view first_chunk, size_t bytes) {
  constexpr size_t kMost = 1'000'000;
  auto lines = static_cast<size_t>(std::ranges::count(first_chunk, '\n')) + 1;
  size_t chunks = (bytes + first_chunk.size() - 1) / first_chunk.size();
  return std::min(lines * chunks, kMost);
}

}  // namespace

void read_members_file(Source& source, uint32_t file, size_t room, std::vector<Member>& members) {
  std::error_code error;
  size_t bytes =
      std::filesystem::file_size(source.file(), error);  // where it can't be told, reading tells why
  bool first = true;
  MembersReader reader(source, file, room, members);
  auto read = read_chunks(source.file(), [&](std::string_view chunk) {
    if (std::exchange(first, false) && !error) members.reserve(members.size() + expected_lines(chunk, bytes));
    return reader.take(chunk);
  });
  if (!read) return source.report().unreadable(source.at({}), read.error());
  reader.finish();
}

}  // namespace bulkhead
