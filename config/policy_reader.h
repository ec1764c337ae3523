// How a policy is read: all files' segments first, so that rules and tests can be checked against them.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/fields.h"
#include "config/policy.h"

namespace bulkhead {

/// Reads `segments:` of every file into `policy`.
class SegmentReader {
 public:
  SegmentReader(Policy& policy, Report& report) : policy_(policy), report_(report) {}
  void read(const yaml::Node& segments, Source& source, uint32_t file);
  /// Once after the last: no two members with the same prefix, segments in order of name.
  void finish();

 private:
  void read_segment(const yaml::Node& name, const yaml::Node& value, Source& source, uint32_t file);
  void check_name(const yaml::Node& name, Source& source);
  void check_tag(const Segment& segment, Mark mark, Source& source);
  void read_members_file_of(Fields& fields, Segment& segment);
  void check_same_prefixes();
  Location where(const Member& member) const {
    return {policy_.files[member.file], member.line, member.column};
  }

  Policy& policy_;
  Report& report_;
  size_t file_members_ = 0;  ///< from all members files
  std::unordered_map<std::string, Location> names_;
  std::unordered_map<uint16_t, std::pair<std::string, Location>> tags_;  ///< segment and where its tag is
};

/// The segments as rules and tests refer to them.
class SegmentNames {
 public:
  /// `complete`: every file could be read, so that a segment which isn't there is an error.
  SegmentNames(const Policy& policy, bool complete);
  /// Reports a name that is neither a segment's nor reserved.
  bool check(const std::string& name, Mark mark, Source& source) const;
  /// Whether a segment has all the labels.
  bool any_with(const std::map<std::string, std::string>& labels);

 private:
  using Label = std::pair<std::string_view, std::string_view>;
  const std::vector<Segment>& segments_;
  bool complete_;
  std::map<Label, std::vector<uint32_t>> by_label_;
  std::map<std::map<std::string, std::string>, bool> answers_;
};

/// Reads `policies:` and `tests:` of every file, in order, into `policy`, whose segments are complete.
class RuleReader {
 public:
  RuleReader(Policy& policy, SegmentNames& names, WallTime now) : policy_(policy), names_(names), now_(now) {}
  void read_rules(const yaml::Node& policies, Source& source);
  void read_tests(const yaml::Node& tests, Source& source);

 private:
  void read_rule(const yaml::Node& node, Source& source);
  void read_name(Fields& fields, Rule& rule);
  void read_action(Fields& fields, Rule& rule);
  void read_mtls_of(Fields& fields, Rule& rule);
  void read_deadlines(Fields& fields, Rule& rule);
  std::optional<Selector> read_selector(const yaml::Node& node, Source& source);
  std::optional<Selector> read_named(const yaml::Node& node, Source& source);
  std::optional<Selector> read_labelled(const yaml::Node& node, Source& source);
  void read_test(const yaml::Node& node, Source& source);
  std::optional<std::string> read_end(const yaml::Node& node, Source& source);

  Policy& policy_;
  SegmentNames& names_;
  WallTime now_;
  std::unordered_map<std::string, Location> rule_names_;
};

/// A mapping of names to texts.
std::optional<std::map<std::string, std::string>> read_labels(const yaml::Node& node, Source& source);
/// `unknown`, `gateway`, and `any`, which would be read as every segment.
bool is_reserved_segment(std::string_view name);

}  // namespace bulkhead
