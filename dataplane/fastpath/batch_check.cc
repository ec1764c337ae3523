#include "dataplane/fastpath/batch_check.h"

#include <algorithm>
#include <string>

namespace bulkhead {

namespace {

constexpr uint8_t kKnownFlags = kEndpointContained | kEndpointHasMac | kEndpointHasVlan;

template <class T, size_t N>
bool all_zero(const T (&bytes)[N]) {
  return std::ranges::all_of(bytes, [](T b) { return b == 0; });
}

/// The prefix itself: an error's text, or nullptr.
const char* check_prefix(const Endpoint& e) {
  if (e.bits < 1 || e.bits > 128) return "a prefix length that isn't 1 to 128";
  if (masked(e.address, e.bits) != e.address) return "host bits set in its prefix";
  return nullptr;
}

/// What a put binds it to: an error's text, or nullptr.
const char* check_binding(const Endpoint& e, const ImageView& image, unsigned port_count) {
  if (!image.knows(IdentityId{e.identity})) return "an identity that the policy image doesn't know";
  if (e.port != kPortNone.value && e.port >= port_count) return "a port that this gateway doesn't have";
  if (e.flags & ~kKnownFlags) return "an unknown flag";
  if (e.vlan > 4094 || (e.vlan != 0 && !(e.flags & kEndpointHasVlan))) return "an impossible VLAN";
  if (!(e.flags & kEndpointHasMac) && !e.mac.is_zero()) return "a MAC address that its flags don't mention";
  if (!all_zero(e.reserved)) return "reserved bytes set";
  return nullptr;
}

const char* check_change(const EndpointChange& change, const ImageView& image, unsigned port_count,
                         bool replaces) {
  bool put = change.kind == ChangeKind::kPut;
  if (!put && change.kind != ChangeKind::kRemove) return "an unknown kind of change";
  if (!put && replaces) return "a removal in a batch that replaces everything";
  if (!all_zero(change.reserved)) return "reserved bytes set";
  if (const char* wrong = check_prefix(change.endpoint)) return wrong;
  return put ? check_binding(change.endpoint, image, port_count) : nullptr;
}

}  // namespace

Expected<void> check_changes(std::span<const EndpointChange> changes, const ImageView& image,
                             unsigned port_count, bool replaces) {
  for (size_t i = 0; i < changes.size(); ++i) {
    if (const char* wrong = check_change(changes[i], image, port_count, replaces)) {
      const Endpoint& e = changes[i].endpoint;
      return fail(ErrorCode::kInvalid, "endpoint change " + std::to_string(i) + " (" + to_string(e.address) +
                                           "/" + std::to_string(Prefix{e.address, e.bits}.length()) +
                                           "): " + wrong);
    }
  }
  return {};
}

Expected<void> check_identities(const EndpointTable& endpoints, const ImageView& image) {
  const Endpoint* stranger = nullptr;
  endpoints.for_each([&](const Endpoint& e) {
    if (!image.knows(IdentityId{e.identity})) stranger = &e;
  });
  if (!stranger) return {};
  return fail(ErrorCode::kInvalid, "endpoint " + to_string(Prefix{stranger->address, stranger->bits}) +
                                       " has identity " + std::to_string(stranger->identity) +
                                       ", which the policy image doesn't know");
}

}  // namespace bulkhead
