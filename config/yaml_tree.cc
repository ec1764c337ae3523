#include "config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <istream>
#include <new>
#include <streambuf>
#include <unordered_map>

namespace bulkhead::yaml {
namespace {

/// Thrown by TreeBuilder through yaml-cpp, caught in parse().
struct Refused {
  Problem problem;
};

/// Reads the text where it lies.
class TextBuffer : public std::streambuf {
 public:
  explicit TextBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // a streambuf's interface; nothing writes
    setg(begin, begin, begin + text.size());
  }
};

/// Turns yaml-cpp's events into a tree, and refuses once more what find_outside_subset() refuses.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view text, std::vector<Problem>& problems) : text_(text), problems_(problems) {}
  Node take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { refuse(mark, "aliases can't be used"); }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    check_properties(mark, "", anchor);
    add(Node{Kind::kNull, false, place_of_null(mark), {}, {}});
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_properties(mark, tag, anchor);
    if (find_bad_byte(value) || value.find('\n') != std::string::npos)
      refuse(mark, "control characters can't be used, escaped ones neither");
    add(Node{Kind::kScalar, tag == "!", place(mark), value, {}});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Kind::kSequence);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Kind::kMapping);
  }
  void OnMapEnd() override {
    check_keys(open_.back());
    close();
  }

 private:
  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Kind kind) {
    check_properties(mark, tag, anchor);
    if (expects_key()) refuse(mark, "a list or mapping can't be a key");
    if (open_.size() == kMaxDepth)
      refuse(mark, "nested deeper than " + std::to_string(kMaxDepth) + " levels");
    open_.push_back(Node{kind, false, place(mark), {}, {}});
  }
  void close() {
    Node node = std::move(open_.back());
    open_.pop_back();
    add(std::move(node));
  }
  void add(Node node) {
    if (expects_key() && node.kind == Kind::kNull)
      throw Refused{{node.mark, "a key is missing here, or is empty; write 'key: value'"}};
    if (expects_key() && node.text == "<<" && !node.quoted)
      throw Refused{{node.mark, "merge keys can't be used; write the keys out"}};
    if (open_.empty()) {
      root_ = std::move(node);
    } else {
      open_.back().items.push_back(std::move(node));
    }
  }
  bool expects_key() const {
    return !open_.empty() && open_.back().kind == Kind::kMapping && open_.back().items.size() % 2 == 0;
  }

  // Drops each entry whose key came before, and says so.
  void check_keys(Node& mapping) {
    constexpr size_t kFewEntries = 16;
    std::unordered_map<std::string_view, Mark> seen;
    bool duplicates = false;
    for (size_t i = 0; i < mapping.entries(); ++i) {
      const Node& key = mapping.key(i);
      Mark first;
      if (mapping.entries() <= kFewEntries) {
        for (size_t j = 0; j < i && first.line == 0; ++j)
          if (mapping.key(j).text == key.text) first = mapping.key(j).mark;
      } else if (auto [entry, is_new] = seen.try_emplace(key.text, key.mark); !is_new) {
        first = entry->second;
      }
      if (first.line == 0) continue;
      duplicates = true;
      if (problems_.size() == kMaxToldPerFile) continue;
      problems_.push_back({key.mark, "the key " + in_quotes(key.text) + " is there twice, first in line " +
                                         std::to_string(first.line) + "; remove one"});
    }
    if (duplicates) keep_first_entries(mapping);
  }
  static void keep_first_entries(Node& mapping) {
    std::unordered_map<std::string, size_t> seen;
    std::vector<Node> kept;
    for (size_t i = 0; i < mapping.entries(); ++i) {
      if (!seen.try_emplace(mapping.key(i).text, i).second) continue;
      kept.push_back(std::move(mapping.items[2 * i]));
      kept.push_back(std::move(mapping.items[2 * i + 1]));
    }
    mapping.items = std::move(kept);
  }

  void check_properties(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    if (anchor != 0) refuse(mark, "anchors can't be used");
    if (!tag.empty() && tag != "?" && tag != "!") refuse(mark, "tags can't be used");
  }
  [[noreturn]] void refuse(const YAML::Mark& mark, std::string message) const {
    throw Refused{{place(mark), std::move(message)}};
  }
  // Columns of yaml-cpp count bytes; counts on from the last place, so that a long line costs its length
  // once.
  Mark place(const YAML::Mark& mark) const {
    auto pos = std::min(static_cast<size_t>(std::max(0, mark.pos)), text_.size());
    if (mark.line != last_line_) {
      last_line_ = mark.line;
      last_pos_ = pos - std::min(pos, static_cast<size_t>(std::max(0, mark.column)));
      last_column_ = 1;
    }
    if (pos >= last_pos_) {
      last_column_ += column_of(text_, last_pos_, pos) - 1;
    } else {
      last_column_ -= column_of(text_, pos, last_pos_) - 1;
    }
    last_pos_ = pos;
    return {static_cast<uint32_t>(mark.line + 1), last_column_};
  }

  // yaml-cpp gives what isn't there the place of the next token, and none at the end of the text: a value is
  // told at its key instead, an item at its '-'.
  Mark place_of_null(const YAML::Mark& mark) const {
    if (open_.empty() || expects_key()) return place(mark);
    if (open_.back().kind == Kind::kMapping) return open_.back().items.back().mark;
    size_t end = mark.is_null() ? text_.size() : static_cast<size_t>(mark.pos);
    for (size_t lines_back = 0; end > 0; ++lines_back) {
      size_t line_start = text_.rfind('\n', end - 1) + 1;  // npos + 1: the first line
      std::string_view line = text_.substr(line_start, end - line_start);
      line = line.substr(0, line.find('#'));
      line = line.substr(0, line.find_last_not_of(' ') + 1);
      if (line.ends_with('-')) {
        auto line_number = mark.is_null()
                               ? static_cast<size_t>(std::ranges::count(text_.substr(0, end), '\n'))
                               : static_cast<size_t>(mark.line) - lines_back;
        return {static_cast<uint32_t>(line_number + 1),
                column_of(text_, line_start, line_start + line.size() - 1)};
      }
      if (!line.empty() || line_start == 0) break;
      end = line_start - 1;
    }
    return place(mark);
  }

  std::string_view text_;
  std::vector<Problem>& problems_;
  std::vector<Node> open_;
  Node root_;
  mutable int last_line_ = -1;
  mutable size_t last_pos_ = 0;
  mutable uint32_t last_column_ = 1;
};

Problem problem_of(const YAML::Exception& error) {
  Mark mark;
  if (!error.mark.is_null())
    mark = {static_cast<uint32_t>(error.mark.line + 1), static_cast<uint32_t>(error.mark.column + 1)};
  return {mark, "this isn't valid YAML (" + error.msg + "); check indentation, colons, commas and quotes"};
}

}  // namespace

const Node* Node::find(std::string_view wanted) const {
  for (size_t i = 0; kind == Kind::kMapping && i < entries(); ++i)
    if (key(i).text == wanted) return &value(i);
  return nullptr;
}

Document parse(std::string_view raw) {
  Document document;
  auto broken = [&](Problem problem) {
    document.problems.clear();
    document.problems.push_back(std::move(problem));
    document.root = {};
    return std::move(document);
  };
  if (raw.size() > kMaxFileBytes)
    return broken({{}, "the file is larger than 16 MiB; split it, or use members_file for endpoints"});
  std::string text = normalised(raw);
  if (auto problem = find_bad_byte(text)) return broken(std::move(*problem));
  if (auto problem = find_outside_subset(text)) return broken(std::move(*problem));
  try {
    TextBuffer buffer(text);
    std::istream in(&buffer);
    YAML::Parser parser(in);
    TreeBuilder builder(text, document.problems);
    if (parser.HandleNextDocument(builder)) document.root = builder.take_root();
    if (parser.HandleNextDocument(builder))
      return broken({{}, "a file holds one document only; make two files"});
  } catch (const Refused& refused) {
    return broken(refused.problem);
  } catch (const YAML::Exception& error) {
    return broken(problem_of(error));
  } catch (const std::bad_alloc&) {
    document.no_memory = true;
    return broken(
        {{}, "memory ran out while this was read; give this process more, or make the file smaller"});
  } catch (const std::exception& error) {
    return broken({{}, std::string("this can't be read: ") + error.what()});
  }
  return document;
}

}  // namespace bulkhead::yaml
