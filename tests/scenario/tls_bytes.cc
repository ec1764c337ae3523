#include "tls_bytes.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "wire/tls.h"

namespace bulkhead::test {
namespace {

constexpr uint16_t kKeyShare = 51;

Bytes key_share(bool client) {
  Bytes share;
  if (client) put16(share, 6);
  put16(share, 0x001d);
  put16(share, 2);
  put16(share, 0xabcd);
  return share;
}

void put_vector8(Bytes& to, std::span<const uint8_t> bytes) {
  put8(to, bytes.size());
  append(to, bytes);
}

Bytes extensions_of(const TlsHello& hello) {
  Bytes all;
  for (const auto& [type, body] : hello.extensions) {
    put16(all, type);
    put16(all, body.size());
    append(all, body);
  }
  return all;
}

Bytes body_of(const TlsHello& hello) {
  Bytes body;
  put16(body, hello.legacy_version);
  append(body, hello.random);
  put_vector8(body, hello.session);
  if (hello.is_client()) {
    put16(body, hello.suites.size() * 2);
    for (uint16_t suite : hello.suites) put16(body, suite);
    put_vector8(body, hello.compression);
  } else {
    put16(body, hello.suites.at(0));
    append(body, hello.compression);
  }
  if (!hello.has_extensions) return body;
  Bytes extensions = extensions_of(hello);
  put16(body, static_cast<uint64_t>(static_cast<int>(extensions.size()) + hello.extensions_length_off));
  append(body, extensions);
  return body;
}

/// "0x1301,0x1302".
std::vector<uint16_t> numbers_of(const std::string& words) {
  std::vector<uint16_t> numbers;
  for (const std::string& word : split_layers(words, ","))
    numbers.push_back(static_cast<uint16_t>(number_of(word)));
  return numbers;
}

/// What every hello may say otherwise.
void read_changes(Layer& layer, TlsHello& hello) {
  if (auto version = layer.number("record-version")) hello.record_version = static_cast<uint16_t>(*version);
  if (auto version = layer.number("legacy-version")) hello.legacy_version = static_cast<uint16_t>(*version);
  if (auto bytes = layer.number("records")) hello.record_bytes = *bytes;
  if (auto suites = layer.value("suite")) hello.suites = numbers_of(*suites);
  if (auto suites = layer.value("suites")) hello.suites = numbers_of(*suites);
  if (layer.flag("no-versions")) hello.remove(kTlsSupportedVersions);
  if (layer.flag("early-data")) hello.set(kTlsEarlyData, {});
  if (auto bytes = layer.number("padding")) hello.set(21, Bytes(*bytes));
  while (auto type = layer.number("extension"))
    hello.extensions.emplace_back(static_cast<uint16_t>(*type), Bytes{});
}

}  // namespace

void TlsHello::set(uint16_t type, Bytes body) {
  for (auto& [known, its_body] : extensions)
    if (known == type) {
      its_body = std::move(body);
      return;
    }
  extensions.emplace_back(type, std::move(body));
}

void TlsHello::remove(uint16_t type) {
  std::erase_if(extensions, [type](const auto& extension) { return extension.first == type; });
}

Bytes server_name_extension(std::string_view name) {
  Bytes body;
  put16(body, name.size() + 3);
  put8(body, kTlsHostName);
  put16(body, name.size());
  body.insert(body.end(), name.begin(), name.end());
  return body;
}

Bytes supported_versions_extension(const std::vector<uint16_t>& versions) {
  Bytes body;
  put8(body, versions.size() * 2);
  for (uint16_t version : versions) put16(body, version);
  return body;
}

TlsHello client_hello(std::string_view server_name) {
  TlsHello hello;
  hello.record_version = 0x0301;
  if (!server_name.empty()) hello.set(kTlsServerName, server_name_extension(server_name));
  hello.set(kTlsSupportedVersions, supported_versions_extension({kTlsVersion13, 0x0303}));
  hello.set(kKeyShare, key_share(true));
  return hello;
}

TlsHello server_hello() {
  TlsHello hello;
  hello.message_type = kTlsServerHello;
  hello.set(kTlsSupportedVersions, {3, 4});
  hello.set(kKeyShare, key_share(false));
  return hello;
}

TlsHello hello_retry_request() {
  TlsHello hello = server_hello();
  hello.random.assign(kTlsHelloRetryRequest.begin(), kTlsHelloRetryRequest.end());
  hello.set(kKeyShare, {0, 0x17});
  return hello;
}

Bytes tls_record(uint8_t type, std::span<const uint8_t> fragment, uint16_t version) {
  Bytes record{type};
  put16(record, version);
  put16(record, fragment.size());
  append(record, fragment);
  return record;
}

Bytes build(const TlsHello& hello) {
  Bytes body = body_of(hello), message{hello.message_type, 0};
  put16(message, static_cast<uint64_t>(static_cast<int>(body.size()) + hello.message_length_off));
  append(message, body);
  Bytes records;
  for (std::span<const uint8_t> rest = message; !rest.empty();) {
    auto part = rest.first(std::min(rest.size(), hello.record_bytes));
    append(records, tls_record(hello.record_type, part, hello.record_version));
    rest = rest.subspan(part.size());
  }
  return records;
}

Bytes tls_of(Layer& layer) {
  std::string kind = layer.next("what it is");
  if (kind == "client-hello") {
    TlsHello hello = client_hello(layer.value("sni").value_or(""));
    if (auto versions = layer.value("versions"))
      hello.set(kTlsSupportedVersions, supported_versions_extension(numbers_of(*versions)));
    read_changes(layer, hello);
    return build(hello);
  }
  if (kind == "server-hello" || kind == "hello-retry-request") {
    TlsHello hello = kind == "server-hello" ? server_hello() : hello_retry_request();
    if (auto version = layer.number("version")) {
      Bytes chosen;
      put16(chosen, *version);
      hello.set(kTlsSupportedVersions, chosen);
    }
    read_changes(layer, hello);
    return build(hello);
  }
  if (kind == "change-cipher-spec") return tls_record(20, Bytes{1});
  if (kind == "alert") return tls_record(21, Bytes{2, 40});
  if (kind == "data") return tls_record(23, Bytes(number_of(layer.next("its bytes")), 0xda));
  throw std::invalid_argument("tls is no '" + kind + "'");
}

}  // namespace bulkhead::test
