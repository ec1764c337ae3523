#include "config/member_text.h"

#include <algorithm>
#include <charconv>

#include "config/report.h"
#include "svid/spiffe_id.h"

namespace bulkhead {
namespace {

std::unexpected<Error> invalid(std::string message) {
  return fail(ErrorCode::kInvalid, std::move(message));
}

/// A.B.C.D or A.B.C.D/LENGTH without host bits: nearly every line of a large members_file. Everything else,
/// wrong or not, is parse_prefix's.
bool parse_dotted_quad(std::string_view text, Prefix& prefix) {
  const char* at = text.data();
  const char* end = at + text.size();
  auto take = [&](uint32_t& value, uint32_t most) {
    const char* start = at;
    for (value = 0; at != end && *at >= '0' && *at <= '9' && at - start < 3; ++at)
      value = value * 10 + static_cast<uint32_t>(*at - '0');
    bool leading_zero = at - start > 1 && *start == '0';
    return at != start && value <= most && !leading_zero;
  };
  uint32_t address = 0, part = 0, length = 32;
  for (int i = 0; i < 4; ++i) {
    if (i > 0 && (at == end || *at++ != '.')) return false;
    if (!take(part, 255)) return false;
    address = address << 8 | part;
  }
  if (at != end && (*at++ != '/' || !take(length, 32))) return false;
  if (at != end || (length < 32 && (address << length) != 0)) return false;
  prefix = {IpAddress::v4(address), static_cast<uint8_t>(96 + length)};
  return true;
}

struct ForbiddenIpv4 {
  uint32_t address;
  unsigned length;
  const char* name;
};
constexpr ForbiddenIpv4 kForbiddenIpv4[] = {{0, 8, "'this network' addresses (RFC 1122)"},
                                            {0x7f000000, 8, "loopback addresses"},
                                            {0xe0000000, 4, "multicast addresses"},
                                            {0xffffffff, 32, "the broadcast address"}};

struct ForbiddenIpv6 {
  const char* block;
  const char* name;
};
constexpr ForbiddenIpv6 kForbiddenIpv6[] = {{"::", "the unspecified address"},
                                            {"::1", "the loopback address"},
                                            {"fe80::/10", "link-local addresses"},
                                            {"ff00::/8", "multicast addresses"}};

/// What the addresses of the prefix are, where all of them are never a workload's own; else null.
const char* forbidden(const Prefix& prefix) {
  if (prefix.address.is_v4()) {
    for (const auto& [address, length, name] : kForbiddenIpv4)
      if (prefix.length() >= length && ((prefix.address.v4_host() ^ address) >> (32 - length)) == 0)
        return name;
    return nullptr;
  }
  for (const auto& [text, name] : kForbiddenIpv6) {
    Prefix block = *parse_prefix(text);
    if (block.bits <= prefix.bits && block.contains(prefix.address)) return name;
  }
  return nullptr;
}

}  // namespace

Expected<Prefix> parse_member_prefix(std::string_view text) {
  Prefix prefix;
  if (!parse_dotted_quad(text, prefix)) {
    auto any = parse_prefix(text);
    if (!any) return any;
    prefix = *any;
  }
  if (prefix.length() == 0)
    return invalid(in_quotes(text) +
                   " is every address there is; name the segment's own, and use 'unknown' or 'any' in "
                   "policies for the rest");
  static const IpAddress kFirstIpv4 = IpAddress::v4(0);
  if (!prefix.address.is_v4() && prefix.contains(kFirstIpv4))
    return invalid(in_quotes(text) + " holds ::ffff:0:0/96, where IPv4 stands; write a longer prefix");
  if (const char* what = forbidden(prefix))
    return invalid(in_quotes(text) + " is of " + what + ", never a workload's own; remove it");
  return prefix;
}

Expected<std::string> parse_member_port(std::string_view text) {
  size_t slash = text.find('/');
  if (slash == std::string_view::npos || !is_name(text.substr(0, slash)) || !is_name(text.substr(slash + 1)))
    return invalid(in_quotes(text) +
                   " isn't a port; write GATEWAY/PORT, as the gateway's configuration names them");
  return std::string(text);
}

Expected<uint16_t> parse_member_vlan(std::string_view text) {
  uint16_t vlan = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), vlan);
  bool leading_zero = text.size() > 1 && text[0] == '0';
  if (text.empty() || error != std::errc{} || end != text.data() + text.size() || vlan > 4094 || leading_zero)
    return invalid(in_quotes(text) + " isn't a VLAN; write a decimal number from 0 (untagged) to 4094");
  return vlan;
}

Expected<MacAddress> parse_unicast_mac(std::string_view text) {
  auto mac = parse_mac(text);
  if (mac && (mac->is_multicast() || mac->is_zero()))
    return invalid(in_quotes(text) + " is no device's own address; write a unicast MAC address");
  return mac;
}

Expected<std::string> parse_member_spiffe(std::string_view text) {
  auto id = parse_workload_id(text);
  if (!id) return std::unexpected(id.error());
  return id->text();
}

Expected<std::string> parse_spiffe_members(std::string_view text) {
  auto pattern = parse_spiffe_pattern(text);
  if (!pattern) return std::unexpected(pattern.error());
  return pattern->text();
}

Expected<std::string> parse_workload(std::string_view text) {
  if (text.empty() || text.size() > 253 ||
      !std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; }))
    return invalid(in_quotes(text) +
                   " isn't a workload's name; write 1-253 visible ASCII characters without spaces");
  return std::string(text);
}

}  // namespace bulkhead
