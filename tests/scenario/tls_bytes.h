// TLS hellos as bytes, right unless a field is changed.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "packet_words.h"
#include "wire_bytes.h"

namespace bulkhead::test {

/// A hello in records (RFC 8446 §4.1.2, §4.1.3, §5.1).
struct TlsHello {
  uint8_t record_type = 22;
  uint16_t record_version = 0x0303;
  size_t record_bytes = 16384;  ///< of a record's fragment, at most
  uint8_t message_type = 1;
  int message_length_off = 0;  ///< added to the length that would be right
  uint16_t legacy_version = 0x0303;
  Bytes random = Bytes(32, 0x11);
  Bytes session = Bytes(32, 0x22);
  std::vector<uint16_t> suites{0x1301, 0x1302, 0x1303};  ///< a ServerHello has the first
  Bytes compression{0};
  std::vector<std::pair<uint16_t, Bytes>> extensions;
  int extensions_length_off = 0;
  bool has_extensions = true;

  bool is_client() const { return message_type == 1; }
  /// Replaces the extension of that type, or appends it.
  void set(uint16_t type, Bytes body);
  void remove(uint16_t type);
};

/// A ClientHello of TLS 1.3 (and 1.2); without a server name where that is empty.
TlsHello client_hello(std::string_view server_name);
TlsHello server_hello();
TlsHello hello_retry_request();

Bytes server_name_extension(std::string_view name);
Bytes supported_versions_extension(const std::vector<uint16_t>& versions);  ///< a ClientHello's

Bytes build(const TlsHello& hello);
/// A record with this fragment.
Bytes tls_record(uint8_t type, std::span<const uint8_t> fragment, uint16_t version = 0x0303);

/// The words of a `tls` layer: README.md lists them.
Bytes tls_of(Layer& layer);

}  // namespace bulkhead::test
