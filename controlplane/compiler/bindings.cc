#include "controlplane/compiler/bindings.h"

#include <algorithm>
#include <span>

#include "base/bytes.h"

namespace bulkhead {

namespace {

std::unexpected<Error> wrong(const Policy& policy, const Member& member, const std::string& what) {
  std::string file = member.file < policy.files.size() ? policy.files[member.file] : "policy";
  return fail(ErrorCode::kInvalid, file + ":" + std::to_string(member.line) + ": member " +
                                       to_string(member.prefix) + ": " + what);
}

/// The port that a member is bound to on this gateway: none where it names another gateway's.
Expected<PortId> port_of(const Member& member, const Policy& policy, const CompileTarget& target) {
  if (member.port.empty()) return kPortNone;
  std::string_view text = member.port;
  size_t slash = text.find('/');
  if (slash == std::string_view::npos)
    return wrong(policy, member, "port '" + member.port + "' is not GATEWAY/PORT");
  if (text.substr(0, slash) != target.gateway) return kPortNone;
  auto named = std::ranges::find(target.port_names, text.substr(slash + 1));
  if (named == target.port_names.end())
    return wrong(
        policy, member,
        "gateway '" + target.gateway + "' has no port '" + std::string(text.substr(slash + 1)) + "'");
  return PortId{static_cast<uint8_t>(named - target.port_names.begin())};
}

/// What is known of a member's workload, as describe_workload() takes it apart. Neither part holds a blank.
std::string described(const Member& member) {
  if (member.workload.empty() || member.spiffe.empty()) return member.workload + member.spiffe;
  return member.workload + ' ' + member.spiffe;
}

/// By address, then length; on words, since a million of them are sorted.
bool before(const Endpoint& a, const Endpoint& b) {
  auto word = [](const Endpoint& e, size_t at) { return load<Be64>(e.address.bytes.data() + at).host(); };
  if (uint64_t x = word(a, 0), y = word(b, 0); x != y) return x < y;
  if (uint64_t x = word(a, 8), y = word(b, 8); x != y) return x < y;
  return a.bits < b.bits;
}
bool same_prefix(const Endpoint& a, const Endpoint& b) {
  return a.address == b.address && a.bits == b.bits;
}

class Binder {
 public:
  Binder(const Policy& policy, const CompileTarget& target) : policy_(policy), target_(target) {
    size_t count = target.own_addresses.size();
    for (const Segment& segment : policy.segments) count += segment.members.size();
    endpoints_.reserve(count + 2);  // and two halves of ::/0
  }

  Expected<> add(const Segment& segment, const Member& member) {
    auto port = port_of(member, policy_, target_);
    if (!port) return std::unexpected(port.error());
    // What is bound on another gateway's port reaches this one by way of routers: MAC and VLAN are theirs
    // here.
    bool bound_elsewhere = !member.port.empty() && *port == kPortNone;
    auto mac = bound_elsewhere ? std::nullopt : member.mac;
    auto vlan = bound_elsewhere ? std::nullopt : member.vlan;
    Endpoint endpoint{.address = member.prefix.address,
                      .identity = identity_of(segment.tag).value,
                      .workload = workloads_.add(described(member)),
                      .vlan = vlan.value_or(0),
                      .bits = member.prefix.bits,
                      .port = port->value,
                      .flags = 0,
                      .mac = mac.value_or(MacAddress{}),
                      .reserved = {}};
    if (mac) endpoint.flags |= kEndpointHasMac;
    if (vlan) endpoint.flags |= kEndpointHasVlan;
    if (endpoint.bits == 0) {
      wholes_.push_back(endpoint);
    } else {
      endpoints_.push_back(endpoint);
    }
    return {};
  }

  void add_own(const IpAddress& address) {
    endpoints_.push_back({.address = address,
                          .identity = kIdentityGateway.value,
                          .workload = 0,
                          .vlan = 0,
                          .bits = 128,
                          .port = kPortNone.value,
                          .flags = 0,
                          .mac = {},
                          .reserved = {}});
  }

  Expected<Bindings> take() {
    if (!std::ranges::is_sorted(endpoints_, before)) std::ranges::sort(endpoints_, before);
    auto twice = std::ranges::adjacent_find(endpoints_, same_prefix);
    if (twice != endpoints_.end()) return explain_duplicate(*twice);
    if (wholes_.size() > 1) return explain_duplicate(wholes_[0]);
    for (const Endpoint& whole : wholes_) add_halves(whole);
    add_macs();

    return Bindings{.endpoints = std::move(endpoints_), .workloads = std::move(workloads_)};
  }

 private:
  /// ::/0 as its two halves, since the table has no prefix of length 0; a half that is a member itself stays
  /// that.
  void add_halves(Endpoint whole) {
    whole.bits = 1;
    for (uint8_t first_byte : {0x00, 0x80}) {
      whole.address.bytes[0] = first_byte;
      auto at = std::ranges::lower_bound(endpoints_, whole, before);
      if (at == endpoints_.end() || !same_prefix(*at, whole)) endpoints_.insert(at, whole);
    }
  }

  /// Whose each bound MAC is, for link-local sources. A MAC that members of two segments share is nobody's:
  /// what it sends from a link-local address stays `unknown`.
  void add_macs() {
    std::vector<Endpoint> macs;
    for (const Endpoint& endpoint : endpoints_) {
      if ((endpoint.flags & kEndpointHasMac) == 0) continue;
      macs.push_back(endpoint);
      macs.back().address = mac_key(endpoint.mac);
      macs.back().bits = 128;
    }
    std::ranges::sort(macs, before);
    for (auto first = macs.begin(); first != macs.end();) {
      auto end = std::find_if(first, macs.end(), [&](const Endpoint& e) { return !same_prefix(e, *first); });
      bool one_segment =
          std::all_of(first, end, [&](const Endpoint& e) { return e.identity == first->identity; });
      if (one_segment) endpoints_.push_back(common_binding({first, end}));
      first = end;
    }
    if (!macs.empty()) std::ranges::sort(endpoints_, before);
  }

  /// What bindings of one MAC agree on.
  static Endpoint common_binding(std::span<const Endpoint> bindings) {
    Endpoint common = bindings.front();
    for (const Endpoint& other : bindings) {
      if (other.port != common.port) common.port = kPortNone.value;
      if (other.workload != common.workload) common.workload = 0;
      if (other.vlan != common.vlan || other.flags != common.flags) {
        common.vlan = 0;
        common.flags &= static_cast<uint8_t>(~kEndpointHasVlan);
      }
    }
    return common;
  }

  /// Off the fast path: goes back to the members for the places.
  std::unexpected<Error> explain_duplicate(const Endpoint& endpoint) const {
    const Member* first = nullptr;
    for (const Segment& segment : policy_.segments) {
      for (const Member& member : segment.members) {
        if (member.prefix != Prefix{endpoint.address, endpoint.bits}) continue;
        if (first != nullptr)
          return wrong(policy_, member,
                       "stands in line " + std::to_string(first->line) + " already; keep one");
        first = &member;
      }
    }
    if (first == nullptr)
      return fail(ErrorCode::kInvalid, "the gateway has address " + to_string(endpoint.address) + " twice");
    return wrong(policy_, *first, "is one of this gateway's own addresses, segment `gateway`; take it out");
  }

  const Policy& policy_;
  const CompileTarget& target_;
  std::vector<Endpoint> endpoints_;
  std::vector<Endpoint> wholes_;  // ::/0
  WorkloadNames workloads_;
};

}  // namespace

Expected<Bindings> bind_members(const Policy& policy, const CompileTarget& target) {
  Binder binder(policy, target);
  for (const Segment& segment : policy.segments)
    for (const Member& member : segment.members)
      if (auto added = binder.add(segment, member); !added) return std::unexpected(added.error());
  for (const IpAddress& address : target.own_addresses) binder.add_own(address);
  return binder.take();
}

}  // namespace bulkhead
