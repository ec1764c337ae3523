// The two hellos of a TLS 1.3 connection, read as they pass: enough of RFC 8446 to say that both ends speak
// TLS 1.3 and under which name, in constant memory and without the bytes that went before.
//
// Checked: records and their lengths (§5.1), the hellos' structure to the end (§4.1.2, §4.1.3), that TLS 1.3
// is offered and chosen, that the suite chosen is one of TLS 1.3 that encrypts (0x13xx; RFC 9150's two
// don't), no early data, no extension twice, at most one server name, a HelloRetryRequest and the ClientHello
// after it. Not checked: what only the ends can (keys, cookies, the echo of the session ID, signatures), and
// nothing behind the ServerHello. Where a ClientHello is encrypted (ECH), the outer one is what is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/tls_fault.h"
#include "wire/tls.h"

namespace bulkhead {

/// One ClientHello or ServerHello, byte by byte. The server name stays from one to the next.
class HelloMessage {
 public:
  enum class Sender : uint8_t { kClient, kServer };

  /// The next message begins, sent by the one named.
  void begin(Sender sender) noexcept;
  /// Reads on. Output: how many bytes belong to the message: all, until it is whole. Errors: what is wrong
  /// with it; then nothing of it means anything.
  TlsFault take(std::span<const uint8_t> bytes, size_t& taken) noexcept;

  bool begun() const noexcept { return at_ != At::kType; }
  bool whole() const noexcept { return at_ == At::kWhole; }
  bool retries() const noexcept { return retries_; }  ///< of a whole ServerHello: it is a HelloRetryRequest
  uint16_t suite() const noexcept { return suite_; }  ///< of a whole ServerHello
  /// Of the ClientHello: in lower case; empty: it has none.
  std::string_view name() const noexcept { return {name_, name_bytes_}; }

 private:
  /// What is being read. Numbers are gathered, the rest is looked at as it comes.
  enum class At : uint8_t {
    kType,
    kLength,
    kVersion,
    kRandom,
    kSessionIdLength,
    kSessionId,
    kSuitesLength,
    kSuites,
    kCompressionLength,
    kSuite,
    kCompression,
    kExtensionsLength,
    kExtensionType,
    kExtensionLength,
    kExtensionBody,
    kNameListLength,
    kNameType,
    kNameLength,
    kName,
    kVersionsLength,
    kOfferedVersion,
    kChosenVersion,
    kWhole,
  };
  static constexpr uint8_t kMostExtensions = 64;

  TlsFault read(std::span<const uint8_t> part) noexcept;
  TlsFault read_name(std::span<const uint8_t> part) noexcept;
  TlsFault next() noexcept;
  TlsFault next_of_extensions() noexcept;
  TlsFault next_extension() noexcept;
  TlsFault begin_extension() noexcept;
  TlsFault note_extension() noexcept;
  TlsFault end_name() noexcept;
  TlsFault end() noexcept;
  /// Goes on to `bytes` bytes of `level`, or says that it has fewer.
  TlsFault enter(At at, uint32_t bytes, uint32_t& level, TlsFault otherwise = TlsFault::kLengths) noexcept;

  At at_ = At::kType;
  bool client_ = true;
  bool has_version_ = false;  ///< TLS 1.3 was offered, or chosen
  bool retries_ = false;
  bool has_name_ = false;    ///< in this ClientHello
  bool name_known_ = false;  ///< by a ClientHello before this one
  uint8_t name_bytes_ = 0;
  uint8_t name_read_ = 0;
  uint8_t label_bytes_ = 0;
  uint8_t extensions_ = 0;
  uint16_t suite_ = 0;
  uint32_t want_ = 1;  ///< bytes until next()
  uint32_t value_ = 0;
  uint32_t message_left_ = 0, extensions_left_ = 0, extension_left_ = 0;  ///< bytes that nobody claimed yet
  uint16_t types_[kMostExtensions];
  char name_[kMostHostName + 2];
};

/// Both directions' bytes until the ServerHello is over.
class TlsHellos {
 public:
  /// Reads the next bytes of a direction; 0 is the client's.
  /// Output: how many were looked at: all, but those behind the ServerHello.
  /// Errors: what is wrong; then the connection is none of TLS 1.3.
  /// Cost: linear in the bytes, constant memory.
  TlsFault take(unsigned direction, std::span<const uint8_t> bytes, size_t& taken) noexcept;

  /// Whether the server may answer: a ClientHello is whole, and no HelloRetryRequest asks for another.
  bool heard_client() const noexcept { return turn_ == 1; }
  bool verified() const noexcept { return verified_; }
  std::string_view name() const noexcept { return message_.name(); }
  uint16_t suite() const noexcept { return message_.suite(); }

 private:
  struct Records {
    uint8_t header_bytes = 0;  ///< of the record that begins
    uint8_t type = 0;
    uint8_t length_high = 0;
    bool changed_cipher = false;
    uint16_t left = 0;  ///< of the record's fragment
  };
  TlsFault take_header(unsigned direction, uint8_t byte) noexcept;
  TlsFault take_type(unsigned direction, uint8_t type) noexcept;
  TlsFault take_handshake(std::span<const uint8_t> part, uint32_t left_in_record) noexcept;

  Records records_[2];
  uint8_t turn_ = 0;  ///< whose hello is due
  bool retried_ = false, verified_ = false;
  HelloMessage message_;
};

}  // namespace bulkhead
