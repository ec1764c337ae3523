#include "controlplane/compiler/compile.h"

#include <algorithm>
#include <new>

#include "controlplane/compiler/bindings.h"
#include "controlplane/compiler/coverage.h"
#include "controlplane/compiler/image_writer.h"
#include "controlplane/compiler/mtls_conflict.h"
#include "controlplane/compiler/programs.h"
#include "controlplane/compiler/selectors.h"

namespace bulkhead {

namespace {

uint8_t flags_of(const Rule& rule) {
  uint8_t flags = 0;
  if (rule.audit) flags |= kRuleAudit;
  if (rule.reject && rule.action == Action::kDeny) flags |= kRuleReject;
  if (rule.log) flags |= kRuleLog;
  if (!rule.sni.empty()) flags |= kRuleNames;
  return flags;
}

MtlsMode mtls_of(const Rule& rule) {
  return rule.action == Action::kDeny ? MtlsMode::kNone : rule.mtls;
}

/// Each rule's entry; deadlines are turned into boot time here, once each, in order.
std::vector<EntryRecord> rule_entries(const Policy& policy, const DeadlineClock& deadlines) {
  std::vector<EntryRecord> entries;
  entries.reserve(policy.rules.size());
  for (uint32_t index = 0; index < policy.rules.size(); ++index) {
    const Rule& rule = policy.rules[index];
    Validity validity = validity_of(rule, deadlines);
    entries.push_back({.after_ns = validity.after.ns,
                       .until_ns = validity.until.ns,
                       .rule = index,
                       .tier = static_cast<uint8_t>(rule.tier),
                       .action = static_cast<uint8_t>(rule.action),
                       .mtls = static_cast<uint8_t>(mtls_of(rule)),
                       .flags = flags_of(rule)});
  }
  return entries;
}

void add_rules(const Policy& policy, ImageParts& parts) {
  for (const Rule& rule : policy.rules) {
    auto first_name = static_cast<uint32_t>(parts.server_names.size());
    for (const std::string& name : rule.sni) parts.server_names.push_back(parts.text(name));
    parts.rules.push_back({.name = parts.text(rule.name),
                           .file = parts.text(rule.where.file),
                           .after_wall_ns = rule.after ? rule.after->ns : INT64_MIN,
                           .until_wall_ns = rule.until ? rule.until->ns : INT64_MAX,
                           .name_first = first_name,
                           .name_count = static_cast<uint32_t>(rule.sni.size()),
                           .line = rule.where.line,
                           .tier = static_cast<uint8_t>(rule.tier),
                           .action = static_cast<uint8_t>(rule.action),
                           .mtls = static_cast<uint8_t>(mtls_of(rule)),
                           .flags = flags_of(rule)});
  }
}

/// For each segment, the selectors of one side (Coverage's source or destination) that hold it, ascending.
std::vector<std::vector<uint32_t>> selectors_by_place(const SegmentOrder& order, const Selectors& selectors,
                                                      const std::vector<PairProgram>& pairs,
                                                      uint32_t PairProgram::* side) {
  std::vector<bool> in_use(selectors.count());
  for (const PairProgram& pair : pairs) in_use[pair.*side] = true;
  std::vector<std::vector<uint32_t>> by_place(order.size());
  for (uint32_t selector = 0; selector < selectors.count(); ++selector)
    if (in_use[selector])
      for (uint32_t place : selectors.places_of(selector)) by_place[place].push_back(selector);
  return by_place;
}

/// Each segment's record, and its one identity with the selectors that hold it.
Expected<> add_identities(const SegmentOrder& order, const Selectors& selectors, ImageParts& parts) {
  auto sources = selectors_by_place(order, selectors, parts.programs.pairs, &PairProgram::source_selector);
  auto destinations =
      selectors_by_place(order, selectors, parts.programs.pairs, &PairProgram::destination_selector);
  auto append = [&](const std::vector<uint32_t>& numbers) {
    auto first = static_cast<uint32_t>(parts.selectors.size());
    parts.selectors.insert(parts.selectors.end(), numbers.begin(), numbers.end());
    return first;
  };
  for (uint32_t place = 0; place < order.size(); ++place) {
    const auto& [name, tag, segment] = order.places()[place];
    size_t most = std::max(sources[place].size(), destinations[place].size());
    if (most > kMaxSelectorsOfIdentity)
      return fail(ErrorCode::kExhausted,
                  "segment '" + std::string(name) + "' stands in " + std::to_string(most) +
                      " different large lists of `from` or `to`, more than " +
                      std::to_string(kMaxSelectorsOfIdentity) + "; share lists, or use labels");
    parts.segments.push_back({.name = parts.text(name), .tag = tag.value, .reserved = {}});
    uint32_t source_first = append(sources[place]), destination_first = append(destinations[place]);
    parts.identities.push_back({.id = identity_of(tag).value,
                                .segment = place,
                                .source_first = source_first,
                                .source_count = static_cast<uint32_t>(sources[place].size()),
                                .destination_first = destination_first,
                                .destination_count = static_cast<uint32_t>(destinations[place].size())});
  }
  parts.selector_count = selectors.count();
  return {};
}

std::unexpected<Error> conflict_error(const Rule& first, const Rule& second) {
  return fail(ErrorCode::kInvalid,
              described(second) + " overlaps " + described(first) + ": one asks for mtls " +
                  "end_to_end and the other for relay; give both the same mode, or part their services");
}

}  // namespace

Expected<ImageBuffer> compile_image(const Policy& policy, const DeadlineClock& deadlines) {
  auto order = SegmentOrder::of(policy);
  if (!order) return std::unexpected(order.error());
  Selectors selectors(*order);
  auto coverages = cover(policy, selectors);
  if (!coverages) return std::unexpected(coverages.error());
  if (auto conflict = find_mtls_conflict(policy, selectors, *coverages))
    return conflict_error(policy.rules[conflict->first], policy.rules[conflict->second]);

  auto programs = make_programs(*coverages, rule_entries(policy, deadlines));
  if (!programs) return std::unexpected(programs.error());
  ImageParts parts;
  parts.programs = std::move(*programs);
  if (auto added = add_identities(*order, selectors, parts); !added) return std::unexpected(added.error());
  add_rules(policy, parts);
  return write_image(parts);
}

CompileTarget target_of(const DataplaneSettings& settings) {
  CompileTarget target{.gateway = settings.name, .port_names = {}, .own_addresses = {}};
  for (const PortSetting& port : settings.ports) {
    target.port_names.push_back(port.name);
    for (const Prefix& address : port.addresses) target.own_addresses.push_back(address.address);
  }
  return target;
}

BootTime wall_as_boot(Turn, WallTime time) {
  return BootTime{time.ns};
}

Validity validity_of(const Rule& rule, const DeadlineClock& deadlines) {
  bool allows = rule.action == Action::kAllow;
  Validity validity;
  if (rule.after) validity.after = deadlines(allows ? Turn::kOpens : Turn::kCloses, *rule.after);
  if (rule.until) validity.until = deadlines(allows ? Turn::kCloses : Turn::kOpens, *rule.until);
  return validity;
}

Expected<CompiledPolicy> compile(const Policy& policy, const CompileTarget& target,
                                 const DeadlineClock& deadlines) {
  try {
    auto image = compile_image(policy, deadlines);
    if (!image) return std::unexpected(image.error());
    auto bindings = bind_members(policy, target);
    if (!bindings) return std::unexpected(bindings.error());
    return CompiledPolicy{.image = std::move(*image),
                          .endpoints = std::move(bindings->endpoints),
                          .workloads = std::make_shared<WorkloadNames>(std::move(bindings->workloads))};
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kSystem, "memory ran out while the policy was compiled");
  }
}

}  // namespace bulkhead
