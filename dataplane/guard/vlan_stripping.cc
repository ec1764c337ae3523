#include "dataplane/guard/vlan_stripping.h"

#include <fmt/format.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

namespace bulkhead {
namespace {

/// The kernel's names of what takes 802.1Q and 802.1ad tags off.
constexpr std::string_view kStripping[] = {"rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"};

/// One request of linux/ethtool.h: `Header`, followed by `items` of Item. Errors: of ioctl().
template <class Header, class Item>
class EthtoolRequest {
 public:
  EthtoolRequest(uint32_t command, size_t items)
      : words_((sizeof(Header) + items * sizeof(Item) + sizeof(uint32_t) - 1) / sizeof(uint32_t)) {
    words_[0] = command;
  }
  Header* operator->() { return reinterpret_cast<Header*>(words_.data()); }
  Item* items() { return reinterpret_cast<Item*>(reinterpret_cast<char*>(words_.data()) + sizeof(Header)); }

  /// ioctl()'s result, or its -errno.
  int send(const Interface& interface) {
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    interface.name.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_data = reinterpret_cast<char*>(words_.data());
    const int result = ioctl(socket.get(), SIOCETHTOOL, &request);
    return result < 0 ? -errno : result;
  }

 private:
  std::vector<uint32_t> words_;
};

struct FeatureName {
  char text[ETH_GSTRING_LEN];
};

Expected<std::vector<std::string>> feature_names(const Interface& interface) {
  EthtoolRequest<ethtool_sset_info, uint32_t> count(ETHTOOL_GSSET_INFO, 1);
  count->sset_mask = uint64_t{1} << ETH_SS_FEATURES;
  int error = count.send(interface);
  if (error < 0)
    return fail_errno(-error, fmt::format("counting the features of interface '{}'", interface.name));

  EthtoolRequest<ethtool_gstrings, FeatureName> strings(ETHTOOL_GSTRINGS, *count.items());
  strings->string_set = ETH_SS_FEATURES;
  strings->len = *count.items();
  error = strings.send(interface);
  if (error < 0)
    return fail_errno(-error, fmt::format("listing the features of interface '{}'", interface.name));
  std::vector<std::string> names;
  for (uint32_t i = 0; i < strings->len; ++i)
    names.emplace_back(strings.items()[i].text, strnlen(strings.items()[i].text, ETH_GSTRING_LEN));
  return names;
}

constexpr size_t blocks_of(size_t features) {
  return (features + 31) / 32;
}
constexpr uint32_t bit_of(size_t feature) {
  return uint32_t{1} << feature % 32;
}

/// What the device doesn't let be switched stays as it is, without an error.
Expected<> set_features(const Interface& interface, const DeviceFeatures& features, bool on) {
  if (features.empty()) return {};
  const size_t blocks = blocks_of(*std::ranges::max_element(features) + size_t{1});
  EthtoolRequest<ethtool_sfeatures, ethtool_set_features_block> request(ETHTOOL_SFEATURES, blocks);
  request->size = static_cast<uint32_t>(blocks);
  for (const uint32_t feature : features) {
    request.items()[feature / 32].valid |= bit_of(feature);
    if (on) request.items()[feature / 32].requested |= bit_of(feature);
  }
  const int result = request.send(interface);
  if (result < 0)
    return fail_errno(-result, fmt::format("switching VLAN offloads of interface '{}'", interface.name));
  return {};
}

Expected<DeviceFeatures> stripping_that_is_on(const Interface& interface) {
  const Expected<std::vector<std::string>> names = feature_names(interface);
  if (!names) return std::unexpected(names.error());
  EthtoolRequest<ethtool_gfeatures, ethtool_get_features_block> current(ETHTOOL_GFEATURES,
                                                                        blocks_of(names->size()));
  current->size = static_cast<uint32_t>(blocks_of(names->size()));
  if (const int error = current.send(interface); error < 0)
    return fail_errno(-error, fmt::format("reading the features of interface '{}'", interface.name));

  DeviceFeatures on;
  for (uint32_t feature = 0; feature < names->size(); ++feature)
    if (std::ranges::find(kStripping, (*names)[feature]) != std::end(kStripping) &&
        (current.items()[feature / 32].active & bit_of(feature)) != 0)
      on.push_back(feature);
  return on;
}

}  // namespace

Expected<DeviceFeatures> stop_vlan_stripping(const Interface& interface) {
  Expected<DeviceFeatures> on = stripping_that_is_on(interface);
  if (!on) return on;
  if (const Expected<> switched = set_features(interface, *on, false); !switched)
    return std::unexpected(switched.error());
  const Expected<DeviceFeatures> left = stripping_that_is_on(interface);
  if (!left) return left;
  if (!left->empty())
    return fail(
        ErrorCode::kInvalid,
        fmt::format(
            "interface '{0}' takes VLAN tags off received frames and won't stop (`ethtool -K {0} rxvlan "
            "off`): "
            "an af_xdp port would take frames of any VLAN for untagged ones; use af_packet or pci instead",
            interface.name));
  return on;
}

Expected<> restore_vlan_stripping(const Interface& interface, const DeviceFeatures& features) {
  return set_features(interface, features, true);
}

}  // namespace bulkhead
