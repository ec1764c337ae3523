#include "dataplane/fastpath/port_view.h"

#include "base/check.h"

namespace bulkhead {

static std::bitset<4096> allowed_vlans(const VlanSetting& setting) {
  std::bitset<4096> allowed;
  if (setting.any) allowed.set();
  for (uint16_t id : setting.ids)
    if (id < allowed.size()) allowed.set(id);
  allowed.reset(4095);  // reserved (IEEE 802.1Q)
  allowed.set(0);
  return allowed;
}

static void join_wires(const std::vector<WireSetting>& wires, std::vector<PortView>& views) {
  for (size_t i = 0; i < wires.size(); ++i) {
    PortId first = wires[i].first, second = wires[i].second;
    BULKHEAD_CHECK(first.value < views.size() && second.value < views.size());
    views[first.value].peer = second;
    views[second.value].peer = first;
    views[first.value].wire = views[second.value].wire = static_cast<uint8_t>(i);
  }
}

std::vector<PortView> make_port_views(const DataplaneSettings& settings,
                                      const std::vector<MacAddress>& macs) {
  BULKHEAD_CHECK(settings.ports.size() <= kMaxPorts && macs.size() == settings.ports.size());
  std::vector<PortView> views(settings.ports.size());
  for (size_t i = 0; i < views.size(); ++i) {
    const PortSetting& setting = settings.ports[i];
    PortView& view = views[i];
    view.id = PortId{static_cast<uint8_t>(i)};
    view.attached = setting.attached;
    view.any_source = setting.any_source;
    view.sources = setting.sources;
    view.vlans = allowed_vlans(setting.vlans);
    view.mtu = static_cast<uint16_t>(setting.mtu - link_overhead(setting));
    view.mac = setting.mac.is_zero() ? macs[i] : setting.mac;
    view.addresses = setting.addresses;
    view.neighbours = setting.neighbours;
    view.trust_tags = setting.trust_tags;
    view.strip_tags = setting.strip_tags;
    view.impose_tags = setting.impose_tags;
    view.vxlan = setting.vxlan;
    view.relay = setting.relay;
  }
  if (settings.mode == Mode::kWire) join_wires(settings.wires, views);
  return views;
}

}  // namespace bulkhead
