// How a gateway's configuration is read, part by part.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/fields.h"
#include "config/gateway.h"

namespace bulkhead {

/// Where a port's parts are, for checks across ports.
struct PortPlace {
  Mark port;
  Mark name, device, mac;
  std::vector<Mark> addresses;   ///< by PortSetting::addresses
  std::vector<Mark> neighbours;  ///< by PortSetting::neighbours
};

/// Reads `ports:` and checks each and all of them.
class PortsReader {
 public:
  PortsReader(DataplaneSettings& settings, bool for_replay) : settings_(settings), for_replay_(for_replay) {}
  /// `settings.mode` is read already.
  void read(const yaml::Node& ports, Source& source);
  const std::vector<PortPlace>& places() const { return places_; }

 private:
  void read_port(const yaml::Node& node, Source& source);
  void read_sources(Fields& fields, PortSetting& port);
  void read_tag_keys(Fields& fields, PortSetting& port);
  void read_route_keys(Fields& fields, PortSetting& port, PortPlace& place);
  void check_mtu(Fields& fields, const PortSetting& port);
  void check_host_addresses(Fields& fields, const PortSetting& port);
  void check_unique(const PortSetting& port, const PortPlace& place, Source& source);

  DataplaneSettings& settings_;
  bool for_replay_;
  std::vector<PortPlace> places_;
  std::map<std::string, Location> names_, devices_, macs_;
};

/// Checks `device:`; errors say what to write instead.
Expected<std::string> parse_device(std::string_view text);
/// What two ports can't share: "interface eth0", "pci 0000:03:00.0", ...; empty where they can.
std::string exclusive_part(std::string_view device);

/// Wire mode: each port stands in exactly one wire.
void read_wires(const yaml::Node& wires, const std::vector<PortPlace>& places, Source& source,
                DataplaneSettings& settings);
/// Route mode: the ports' subnets are apart, neighbours and next hops are in one.
void check_subnets(const DataplaneSettings& settings, const std::vector<PortPlace>& places, Source& source);
void read_routes(const yaml::Node& routes, Source& source, DataplaneSettings& settings);

/// HOST:PORT, [IPV6]:PORT, or `off`, which gives the empty text.
Expected<std::string> parse_listener(std::string_view text);

}  // namespace bulkhead
