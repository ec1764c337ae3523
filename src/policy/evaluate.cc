#include "policy/evaluate.h"

#include <algorithm>

namespace bulkhead {

namespace {

/// Precedence as a number: the lower one decides. Tier first, then deny, ask, allow.
using Precedence = uint32_t;
constexpr Precedence kNoPrecedence = 0xffffffff;
Precedence precedence_of(const EntryRecord& entry) {
  return uint32_t{entry.tier} << 8 | entry.action;
}

/// What the entries seen so far come to.
class Tally {
 public:
  Tally(const ImageView& image, BootTime now, const std::string_view* server_name)
      : image_(image), now_ns_(now.ns), server_name_(server_name) {}

  void add(const EntryRecord& entry) {
    bool begun = entry.after_ns <= now_ns_, ended = entry.until_ns <= now_ns_;
    if (!begun) next_change_ns_ = std::min(next_change_ns_, entry.after_ns);
    if (!ended) next_change_ns_ = std::min(next_change_ns_, entry.until_ns);
    bool grants = entry.action == static_cast<uint8_t>(Action::kAllow) && (entry.flags & kRuleAudit) == 0;
    grant_ran_out_ |= ended && grants;
    if (!begun || ended) return;
    Precedence precedence = precedence_of(entry);
    if ((entry.flags & kRuleAudit) == 0) add_live(entry, precedence);
    if (precedence < audited_precedence_ ||
        (precedence == audited_precedence_ && entry.rule < audited_->rule)) {
      audited_ = &entry;
      audited_precedence_ = precedence;
    }
  }

  Decision decision(bool an_end_is_unknown) const {
    Decision decision;
    if (deciding_ == nullptr) {
      decision.reason = grant_ran_out_      ? DropReason::k_grant_expired
                        : an_end_is_unknown ? DropReason::k_identity_unknown
                                            : DropReason::k_policy_denied;
    } else {
      describe_deciding(decision);
    }
    if (audited_ != nullptr && (audited_->flags & kRuleAudit) != 0) {
      decision.audit_rule = RuleIndex{audited_->rule};
      decision.audit_action = static_cast<Action>(audited_->action);
    }
    decision.next_change = BootTime{next_change_ns_};
    return decision;
  }

 private:
  void add_live(const EntryRecord& entry, Precedence precedence) {
    if (precedence > precedence_) return;
    if (precedence < precedence_) {
      precedence_ = precedence;
      deciding_ = &entry;
      mtls_ = entry.mtls;
      until_ns_ = entry.until_ns;
      admits_name_ = admits_name(entry);
      return;
    }
    if (entry.rule < deciding_->rule) deciding_ = &entry;
    mtls_ = std::max(mtls_, entry.mtls);
    until_ns_ = std::max(until_ns_, entry.until_ns);
    admits_name_ = admits_name_ || admits_name(entry);
  }

  bool admits_name(const EntryRecord& entry) const {
    if (server_name_ == nullptr || entry.mtls != static_cast<uint8_t>(MtlsMode::kEndToEnd)) return false;
    return (entry.flags & kRuleNames) == 0 || image_.has_server_name(image_.rules[entry.rule], *server_name_);
  }

  void describe_deciding(Decision& decision) const {
    auto action = static_cast<Action>(deciding_->action);
    decision.tier = static_cast<Tier>(deciding_->tier);
    decision.rule = RuleIndex{deciding_->rule};
    decision.log = (deciding_->flags & kRuleLog) != 0;
    decision.reason = DropReason::kNone;
    switch (action) {
      case Action::kDeny:
        decision.verdict = Verdict::kDeny;
        decision.reason = DropReason::k_policy_explicit_deny;
        decision.reject = (deciding_->flags & kRuleReject) != 0;
        break;
      case Action::kAsk:
        decision.verdict = Verdict::kAsk;
        decision.mtls = static_cast<MtlsMode>(deciding_->mtls);
        break;
      case Action::kAllow:
        decision.verdict = Verdict::kAllow;
        decision.mtls = static_cast<MtlsMode>(mtls_);
        decision.admits_name = admits_name_;
        decision.until = BootTime{until_ns_};
        break;
    }
  }

  const ImageView& image_;
  int64_t now_ns_;
  const std::string_view* server_name_;
  int64_t next_change_ns_ = kNever.ns;
  bool grant_ran_out_ = false;
  const EntryRecord* deciding_ = nullptr;  // of those that aren't in audit mode
  Precedence precedence_ = kNoPrecedence;
  uint8_t mtls_ = 0;
  bool admits_name_ = false;
  int64_t until_ns_ = 0;
  const EntryRecord* audited_ = nullptr;  // of all, as if none were in audit mode
  Precedence audited_precedence_ = kNoPrecedence;
};

/// The interval that holds the key, or nullptr. Searches in order where that is faster.
const IntervalRecord* find_interval(std::span<const IntervalRecord> intervals, uint32_t key) {
  constexpr size_t kFew = 8;
  const IntervalRecord *found = intervals.data(), *end = found + intervals.size();
  auto ends_before = [](const IntervalRecord& interval, uint32_t k) { return interval.last_key < k; };
  if (intervals.size() <= kFew) {
    while (found != end && ends_before(*found, key)) ++found;
  } else {
    found = std::lower_bound(found, end, key, ends_before);
  }
  return found != end && found->first_key <= key ? found : nullptr;
}

std::span<const uint32_t> source_selectors(const ImageView& image, const IdentityRecord& identity) {
  return image.selectors.subspan(identity.source_first, identity.source_count);
}
std::span<const uint32_t> destination_selectors(const ImageView& image, const IdentityRecord& identity) {
  return image.selectors.subspan(identity.destination_first, identity.destination_count);
}

/// The pairs of two identities' selectors, some at a time, each step of all of them before the next step of
/// any: what one misses in the cache the others miss in the same time.
class Wave {
 public:
  Wave(const ImageView& image, uint32_t service) : image_(image), service_(service) {}

  void add(uint32_t source_selector, uint32_t destination_selector, Tally& tally) {
    pairs_[count_] = {source_selector, destination_selector};
    __builtin_prefetch(image_.pair_home(source_selector, destination_selector));
    if (++count_ == kMost) run(tally);
  }
  /// Counts what the pairs added so far have to say.
  void run(Tally& tally) {
    size_t programs = find_programs();
    for (size_t i = 0; i < programs; ++i)
      __builtin_prefetch(image_.intervals.data() + programs_[i]->interval_first);
    size_t intervals = find_intervals(programs);
    for (size_t i = 0; i < intervals; ++i) {
      const IntervalRecord& interval = *intervals_[i];
      for (const EntryRecord& entry : image_.entries.subspan(interval.entry_first, interval.entry_count))
        tally.add(entry);
    }
    count_ = 0;
  }

 private:
  static constexpr size_t kMost = 16;
  struct Pair {
    uint32_t source_selector;
    uint32_t destination_selector;
  };

  size_t find_programs() {
    size_t found = 0;
    for (size_t i = 0; i < count_; ++i) {
      const PairRecord* pair = image_.find_pair(pairs_[i].source_selector, pairs_[i].destination_selector);
      if (pair == nullptr) continue;
      programs_[found] = &image_.programs[pair->program];
      __builtin_prefetch(programs_[found++]);
    }
    return found;
  }
  size_t find_intervals(size_t programs) {
    size_t found = 0;
    for (size_t i = 0; i < programs; ++i) {
      auto intervals = image_.intervals.subspan(programs_[i]->interval_first, programs_[i]->interval_count);
      const IntervalRecord* interval = find_interval(intervals, service_);
      if (interval == nullptr) continue;
      intervals_[found++] = interval;
      __builtin_prefetch(&image_.entries[interval->entry_first]);
    }
    return found;
  }

  const ImageView& image_;
  uint32_t service_;
  size_t count_ = 0;
  Pair pairs_[kMost];
  const ProgramRecord* programs_[kMost];
  const IntervalRecord* intervals_[kMost];
};

Decision contained_decision() {
  Decision decision;
  decision.reason = DropReason::k_contained;
  decision.tier = Tier::kContainment;
  return decision;
}

bool is_unknown(const IdentityRecord& identity) {
  return tag_of(IdentityId{identity.id}) == kTagUnknown;
}

}  // namespace

Decision judge(const ImageView& image, uint32_t source_index, uint32_t destination_index, bool contained,
               ServiceKey service, BootTime now, const std::string_view* server_name) noexcept {
  if (contained) return contained_decision();
  const IdentityRecord& source = image.identities[source_index];
  const IdentityRecord& destination = image.identities[destination_index];

  Tally tally(image, now, server_name);
  Wave wave(image, service.value);
  for (uint32_t source_selector : source_selectors(image, source))
    for (uint32_t destination_selector : destination_selectors(image, destination))
      wave.add(source_selector, destination_selector, tally);
  wave.run(tally);
  return tally.decision(is_unknown(source) || is_unknown(destination));
}

static End end_of(const Endpoint* endpoint) {
  if (endpoint == nullptr) return {};
  return {.identity = IdentityId{endpoint->identity},
          .source = IdentitySource::kBinding,
          .contained = (endpoint->flags & kEndpointContained) != 0,
          .endpoint = endpoint};
}

static bool contradicts(const Endpoint& binding, const Origin& origin) {
  if (origin.port == kPortNone) return false;
  if (binding.port != kPortNone.value && binding.port != origin.port.value) return true;
  if ((binding.flags & kEndpointHasVlan) != 0 && binding.vlan != origin.vlan) return true;
  return (binding.flags & kEndpointHasMac) != 0 && binding.mac != origin.mac;
}

End classify_source(const EndpointTable& endpoints, const Origin& origin) noexcept {
  bool by_mac = origin.address.is_ipv6_link_local();
  End end = end_of(by_mac ? endpoints.find_exact(mac_key(origin.mac), 128) : endpoints.find(origin.address));
  end.spoofed = end.endpoint != nullptr && contradicts(*end.endpoint, origin);
  if (origin.tag == kTagNone) return end;
  if (tag_of(end.identity) != origin.tag) end.identity = identity_of(origin.tag);
  end.source = IdentitySource::kTag;
  return end;
}

End classify_destination(const EndpointTable& endpoints, const IpAddress& address) noexcept {
  return end_of(endpoints.find(address));
}

Evaluation evaluate(const ImageView& image, const EndpointTable& endpoints, const Origin& source,
                    const IpAddress& destination, ServiceKey service, BootTime now,
                    const std::string_view* server_name) noexcept {
  endpoints.prefetch(destination);
  Evaluation result{.source = classify_source(endpoints, source),
                    .destination = classify_destination(endpoints, destination),
                    .decision = {}};
  if (result.source.spoofed) {
    result.decision.reason = DropReason::k_spoofed_source;
    return result;
  }
  result.decision = judge(image, image.identity_index(result.source.identity),
                          image.identity_index(result.destination.identity),
                          result.source.contained || result.destination.contained, service, now, server_name);
  return result;
}

}  // namespace bulkhead
