// The distinct integer types that every part shares. None converts to another, so a tag can't be
// passed where a port is meant.
#pragma once

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace bulkhead {

/// An integer that only compares with its own kind.
template <class Kind, std::integral T>
struct Strong {
  using Value = T;
  T value{};
  constexpr auto operator<=>(const Strong&) const = default;
};

/// A segment's 16-bit tag, as it travels in packets (VXLAN group policy ID, Cisco SGT).
using SegmentTag = Strong<struct SegmentTagKind, uint16_t>;
inline constexpr SegmentTag kTagNone{0};     ///< no tag
inline constexpr SegmentTag kTagUnknown{1};  ///< segment `unknown`: no binding
inline constexpr SegmentTag kTagGateway{
    65535};  ///< segment `gateway`: the gateway's own addresses; never on the wire
inline constexpr SegmentTag kTagFirstUser{2};
inline constexpr SegmentTag kTagLastUser{65534};

/// One distinct (segment, posture class): the class in the upper 16 bits, the tag in the lower 16.
/// Stable across images, since both halves are: a flow may keep it.
using IdentityId = Strong<struct IdentityIdKind, uint32_t>;
constexpr IdentityId identity_of(SegmentTag tag, uint16_t posture_class = 0) {
  return IdentityId{uint32_t{posture_class} << 16 | tag.value};
}
constexpr SegmentTag tag_of(IdentityId id) {
  return SegmentTag{static_cast<uint16_t>(id.value)};
}
constexpr uint16_t posture_class_of(IdentityId id) {
  return static_cast<uint16_t>(id.value >> 16);
}
inline constexpr IdentityId kIdentityUnknown = identity_of(kTagUnknown);
inline constexpr IdentityId kIdentityGateway = identity_of(kTagGateway);

/// Counts everything that is published to a dataplane, images and batches alike. 0: nothing yet.
using Generation = Strong<struct GenerationKind, uint64_t>;

/// A gateway's port: its place in the configuration's `ports`, from 0.
using PortId = Strong<struct PortIdKind, uint8_t>;
inline constexpr PortId kPortNone{255};
inline constexpr size_t kMaxPorts = 32;

/// A rule's place in the image's rules: order of file name, then of position.
using RuleIndex = Strong<struct RuleIndexKind, uint32_t>;
inline constexpr RuleIndex kRuleNone{0xffffffff};

/// A TCP, UDP or SCTP port number in host order.
using L4Port = Strong<struct L4PortKind, uint16_t>;

/// EtherType (IEEE 802; values in host order).
enum class EtherType : uint16_t {
  kIpv4 = 0x0800,
  kArp = 0x0806,
  kVlan = 0x8100,
  kIpv6 = 0x86dd,
  kQinq = 0x88a8,
  kCiscoMetadata = 0x8909,
};

/// IP protocol and IPv6 next-header numbers (IANA).
enum class IpProto : uint8_t {
  kHopByHop = 0,
  kIcmp = 1,
  kIpip = 4,
  kTcp = 6,
  kUdp = 17,
  kIpv6 = 41,
  kRouting = 43,
  kFragment = 44,
  kGre = 47,
  kEsp = 50,
  kAh = 51,
  kIcmpv6 = 58,
  kNoNext = 59,
  kDestOptions = 60,
  kSctp = 132,
  kMobility = 135,
  kHip = 139,
  kShim6 = 140,
};

}  // namespace bulkhead

template <class Kind, std::integral T>
struct std::hash<bulkhead::Strong<Kind, T>> {
  size_t operator()(bulkhead::Strong<Kind, T> v) const noexcept { return std::hash<T>{}(v.value); }
};
