#include <algorithm>
#include <bit>
#include <cstring>
#include <ranges>
#include <utility>

#include "config/member_text.h"
#include "config/members_file.h"
#include "config/policy_reader.h"
#include "config/read_file.h"

namespace bulkhead {
namespace {

/// An address or prefix alone, or a mapping around it.
std::optional<Member> read_member(const yaml::Node& node, Source& source) {
  Member member;
  member.line = node.mark.line;
  member.column = node.mark.column;
  if (node.kind != yaml::Kind::kMapping) {
    auto prefix = parsed(parse_member_prefix)(node, source);
    if (!prefix) return std::nullopt;
    member.prefix = *prefix;
    return member;
  }
  Fields fields(node, source, "a member");
  bool right = fields.required("prefix", member.prefix, parsed(parse_member_prefix));
  fields.optional("port", member.port, parsed(parse_member_port));
  fields.optional("vlan", member.vlan, integer<uint16_t>(0, 4094));
  fields.optional("mac", member.mac, parsed(parse_unicast_mac));
  fields.optional("spiffe", member.spiffe, parsed(parse_member_spiffe));
  fields.optional("workload", member.workload, parsed(parse_workload));
  fields.done();
  return right ? std::optional(std::move(member)) : std::nullopt;
}

uint64_t hash_of(const Prefix& prefix) {
  uint64_t high, low;
  std::memcpy(&high, prefix.address.bytes.data(), 8);
  std::memcpy(&low, prefix.address.bytes.data() + 8, 8);
  uint64_t x = (high ^ prefix.bits) * 0x9e3779b97f4a7c15 + low;
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
  return x ^ x >> 32;
}

}  // namespace

bool is_reserved_segment(std::string_view name) {
  return name == "unknown" || name == "gateway" || name == "any";
}

std::optional<std::map<std::string, std::string>> read_labels(const yaml::Node& node, Source& source) {
  if (node.kind != yaml::Kind::kMapping || node.items.empty()) {
    source.error(node.mark, "labels must be a mapping with at least one entry; write {tier: frontend}");
    return std::nullopt;
  }
  std::map<std::string, std::string> labels;
  for (size_t i = 0; i < node.entries(); ++i) {
    auto key = bulkhead::read_name(node.key(i), source);
    auto value = read_text(node.value(i), source);
    if (key && value) labels.emplace(*key, *value);
  }
  return labels;
}

void SegmentReader::read(const yaml::Node& segments, Source& source, uint32_t file) {
  if (segments.kind != yaml::Kind::kMapping)
    return source.error(segments.mark,
                        "segments must be a mapping; write 'NAME: {tag: 100, members: [...]}'");
  for (size_t i = 0; i < segments.entries(); ++i)
    read_segment(segments.key(i), segments.value(i), source, file);
}

void SegmentReader::read_segment(const yaml::Node& name, const yaml::Node& value, Source& source,
                                 uint32_t file) {
  check_name(name, source);
  Segment segment;
  segment.name = name.text;
  segment.where = source.at(name.mark);
  Fields fields(value, source, "segment " + in_quotes(name.text));
  if (fields.required("tag", segment.tag.value, integer(kTagFirstUser.value, kTagLastUser.value)))
    check_tag(segment, value.find("tag")->mark, source);
  fields.optional("members", segment.members, list_of(read_member, true));
  for (Member& member : segment.members) member.file = file;
  read_members_file_of(fields, segment);
  fields.optional("labels", segment.labels, read_labels);
  fields.optional("spiffe", segment.spiffe, list_of(parsed(parse_spiffe_members)));
  fields.optional("relay_id", segment.relay_id, parsed(parse_member_spiffe));
  fields.done();
  policy_.segments.push_back(std::move(segment));
}

void SegmentReader::check_name(const yaml::Node& name, Source& source) {
  if (is_reserved_segment(name.text)) {
    source.error(name.mark, in_quotes(name.text) + " is reserved; give the segment another name");
  } else if (bulkhead::read_name(name, source) && parse_address(name.text)) {
    source.error(name.mark,
                 in_quotes(name.text) + " would be read as an address; give the segment another name");
  }
  auto [first, is_new] = names_.try_emplace(name.text, source.at(name.mark));
  if (!is_new)
    source.error(name.mark, "segment " + in_quotes(name.text) + " is there twice, first in " +
                                to_string(first->second) + "; rename one");
}

void SegmentReader::check_tag(const Segment& segment, Mark mark, Source& source) {
  auto [first, is_new] = tags_.try_emplace(segment.tag.value, segment.name, source.at(mark));
  if (!is_new)
    source.error(mark, "tag " + std::to_string(segment.tag.value) + " is that of segment " +
                           in_quotes(first->second.first) + " already, in " +
                           to_string(first->second.second) + "; choose another");
}

void SegmentReader::read_members_file_of(Fields& fields, Segment& segment) {
  std::string name;
  if (!fields.optional("members_file", name, read_text)) return;
  Source members(report_, resolve(fields.source().file(), name));
  policy_.files.push_back(members.file());
  auto file = static_cast<uint32_t>(policy_.files.size() - 1);
  size_t before = segment.members.size();
  read_members_file(members, file, kMaxFileMembers - file_members_, segment.members);
  file_members_ += segment.members.size() - before;
}

void SegmentReader::finish() {
  check_same_prefixes();
  std::ranges::sort(policy_.segments, {}, &Segment::name);
}

// An open-addressing table of places, since a million members are usual and none of them is kept twice.
void SegmentReader::check_same_prefixes() {
  struct Place {
    uint32_t segment = UINT32_MAX;
    uint32_t member = 0;
  };
  size_t count = 0;
  for (const Segment& segment : policy_.segments) count += segment.members.size();
  std::vector<Place> table(std::bit_ceil(2 * count + 1));
  auto member_at = [&](Place place) -> const Member& {
    return policy_.segments[place.segment].members[place.member];
  };
  for (uint32_t s = 0; s < policy_.segments.size(); ++s) {
    for (uint32_t m = 0; m < policy_.segments[s].members.size(); ++m) {
      const Member& member = policy_.segments[s].members[m];
      size_t slot = hash_of(member.prefix) & (table.size() - 1);
      while (table[slot].segment != UINT32_MAX && member_at(table[slot]).prefix != member.prefix)
        slot = (slot + 1) & (table.size() - 1);
      Place first = std::exchange(table[slot], Place{s, m});
      if (first.segment == UINT32_MAX) continue;
      table[slot] = first;
      report_.error(where(member), to_string(member.prefix) + " is a member of segment " +
                                       in_quotes(policy_.segments[first.segment].name) + " already, in " +
                                       to_string(where(member_at(first))) + "; remove one");
    }
  }
}

SegmentNames::SegmentNames(const Policy& policy, bool complete)
    : segments_(policy.segments), complete_(complete) {
  for (uint32_t i = 0; i < segments_.size(); ++i)
    for (const auto& [key, value] : segments_[i].labels) by_label_[{key, value}].push_back(i);
}

bool SegmentNames::check(const std::string& name, Mark mark, Source& source) const {
  if (name == "unknown" || name == "gateway" || !complete_) return true;
  auto found = std::ranges::lower_bound(segments_, name, {}, &Segment::name);
  if (found != segments_.end() && found->name == name) return true;
  source.error(mark,
               "there is no segment " + in_quotes(name) +
                   source.report().did_you_mean(name, segments_ | std::views::transform(&Segment::name)) +
                   "; define it under segments, or correct the name");
  return false;
}

bool SegmentNames::any_with(const std::map<std::string, std::string>& labels) {
  auto [answer, is_new] = answers_.try_emplace(labels, !complete_);
  if (!is_new || !complete_) return answer->second;
  const std::vector<uint32_t>* fewest = nullptr;
  for (const auto& [key, value] : labels) {
    auto with = by_label_.find({key, value});
    if (with == by_label_.end()) return false;
    if (fewest == nullptr || with->second.size() < fewest->size()) fewest = &with->second;
  }
  auto has_all = [&](uint32_t segment) { return std::ranges::includes(segments_[segment].labels, labels); };
  answer->second = fewest != nullptr && std::ranges::any_of(*fewest, has_all);
  return answer->second;
}

}  // namespace bulkhead
