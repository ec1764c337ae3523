#include "dataplane/fastpath/tls_hello.h"

#include <algorithm>

namespace bulkhead {
namespace {

constexpr bool is_of_tls13(uint16_t suite) {
  return suite >> 8 == 0x13;
}

/// A character of a DNS name in lower case, '_' as services have it included; 0: none.
char name_character(uint8_t byte) noexcept {
  if (byte >= 'A' && byte <= 'Z') return static_cast<char>(byte + ('a' - 'A'));
  bool fits = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '_' ||
              byte == '.';
  return fits ? static_cast<char>(byte) : '\0';
}

}  // namespace

// --- one message

void HelloMessage::begin(Sender sender) noexcept {
  client_ = sender == Sender::kClient;
  name_known_ |= client_ && begun();
  at_ = At::kType;
  want_ = 1;
  value_ = 0;
  has_version_ = retries_ = has_name_ = false;
  name_read_ = label_bytes_ = extensions_ = 0;
}

TlsFault HelloMessage::take(std::span<const uint8_t> bytes, size_t& taken) noexcept {
  taken = 0;
  while (taken < bytes.size() && !whole()) {
    auto part = bytes.subspan(taken, std::min<size_t>(want_, bytes.size() - taken));
    if (TlsFault fault = read(part); fault != TlsFault::kNone) return fault;
    want_ -= static_cast<uint32_t>(part.size());
    taken += part.size();
    while (want_ == 0 && !whole())
      if (TlsFault fault = next(); fault != TlsFault::kNone) return fault;
  }
  return TlsFault::kNone;
}

TlsFault HelloMessage::read(std::span<const uint8_t> part) noexcept {
  switch (at_) {
    case At::kSessionId:
    case At::kSuites:
    case At::kExtensionBody:
      return TlsFault::kNone;
    case At::kName:
      return read_name(part);
    case At::kRandom:
      for (size_t i = 0; i < part.size(); ++i)
        retries_ &= part[i] == kTlsHelloRetryRequest[kTlsRandomBytes - want_ + i];
      return TlsFault::kNone;
    default:
      for (uint8_t byte : part) value_ = value_ << 8 | byte;
      return TlsFault::kNone;
  }
}

TlsFault HelloMessage::read_name(std::span<const uint8_t> part) noexcept {
  for (uint8_t byte : part) {
    char c = name_character(byte);
    if (c == '\0' || (c == '.' && label_bytes_ == 0)) return TlsFault::kServerName;
    label_bytes_ = c == '.' ? 0 : static_cast<uint8_t>(label_bytes_ + 1);
    if (label_bytes_ > kMostHostLabel) return TlsFault::kServerName;
    if (name_known_ && name_[name_read_] != c) return TlsFault::kOtherName;
    name_[name_read_++] = c;
  }
  return TlsFault::kNone;
}

TlsFault HelloMessage::enter(At at, uint32_t bytes, uint32_t& level, TlsFault otherwise) noexcept {
  if (bytes > level) return otherwise;
  level -= bytes;
  at_ = at;
  want_ = bytes;
  value_ = 0;
  return TlsFault::kNone;
}

TlsFault HelloMessage::next() noexcept {
  switch (at_) {
    case At::kType:
      if (value_ != (client_ ? kTlsClientHello : kTlsServerHello)) return TlsFault::kMessageType;
      at_ = At::kLength, want_ = 3, value_ = 0;
      return TlsFault::kNone;
    case At::kLength:
      if (value_ > kTlsMostFragment) return TlsFault::kTooLong;
      message_left_ = value_;
      return enter(At::kVersion, 2, message_left_);
    case At::kVersion:
      if (value_ != kTlsLegacyVersion) return TlsFault::kLegacyVersion;
      retries_ = !client_;
      return enter(At::kRandom, kTlsRandomBytes, message_left_);
    case At::kRandom:
      return enter(At::kSessionIdLength, 1, message_left_);
    case At::kSessionIdLength:
      if (value_ > kTlsMostSessionId) return TlsFault::kLengths;
      return enter(At::kSessionId, value_, message_left_);
    case At::kSessionId:
      return enter(client_ ? At::kSuitesLength : At::kSuite, 2, message_left_);
    case At::kSuitesLength:
      if (value_ < 2 || value_ % 2 != 0) return TlsFault::kLengths;
      return enter(At::kSuites, value_, message_left_);
    case At::kSuites:
      return enter(At::kCompressionLength, 1, message_left_);
    case At::kCompressionLength:
      if (value_ != 1) return TlsFault::kCompression;  // exactly one method, none (§4.1.2)
      return enter(At::kCompression, 1, message_left_);
    case At::kSuite:
      suite_ = static_cast<uint16_t>(value_);
      return enter(At::kCompression, 1, message_left_);
    case At::kCompression:
      if (value_ != 0) return TlsFault::kCompression;
      if (message_left_ == 0) return end();  // TLS 1.2's may have no extensions
      return enter(At::kExtensionsLength, 2, message_left_);
    default:
      return next_of_extensions();
  }
}

TlsFault HelloMessage::next_of_extensions() noexcept {
  constexpr TlsFault kName = TlsFault::kServerName;
  switch (at_) {
    case At::kExtensionsLength:
      if (value_ != message_left_) return TlsFault::kLengths;
      extensions_left_ = value_;
      return next_extension();
    case At::kExtensionType:
      return note_extension();
    case At::kExtensionLength:
      if (value_ > extensions_left_) return TlsFault::kLengths;
      extensions_left_ -= value_;
      extension_left_ = value_;
      return begin_extension();
    case At::kNameListLength:
      return value_ == extension_left_ ? enter(At::kNameType, 1, extension_left_, kName) : kName;
    case At::kNameType:
      return value_ == kTlsHostName ? enter(At::kNameLength, 2, extension_left_, kName) : kName;
    case At::kNameLength:
      // The list holds one name, no more than one of each type and no other type (RFC 6066 §3).
      if (value_ != extension_left_ || value_ == 0 || value_ > kMostHostName) return kName;
      if (name_known_ && value_ != name_bytes_) return TlsFault::kOtherName;
      return enter(At::kName, value_, extension_left_);
    case At::kName:
      return end_name();
    case At::kVersionsLength:
      if (value_ != extension_left_ || value_ < 2 || value_ % 2 != 0) return TlsFault::kSupportedVersions;
      return enter(At::kOfferedVersion, 2, extension_left_);
    case At::kOfferedVersion:
      has_version_ |= value_ == kTlsVersion13;
      return extension_left_ == 0 ? next_extension() : enter(At::kOfferedVersion, 2, extension_left_);
    case At::kChosenVersion:
      if (value_ != kTlsVersion13) return TlsFault::kNotChosen;
      has_version_ = true;
      return next_extension();
    default:
      return next_extension();
  }
}

TlsFault HelloMessage::next_extension() noexcept {
  if (extensions_left_ == 0) return end();
  return enter(At::kExtensionType, 2, extensions_left_);
}

TlsFault HelloMessage::note_extension() noexcept {
  auto type = static_cast<uint16_t>(value_);
  if (std::find(types_, types_ + extensions_, type) != types_ + extensions_)
    return TlsFault::kDuplicateExtension;
  if (extensions_ == kMostExtensions) return TlsFault::kTooManyExtensions;
  types_[extensions_++] = type;
  return enter(At::kExtensionLength, 2, extensions_left_);
}

TlsFault HelloMessage::begin_extension() noexcept {
  switch (uint16_t type = types_[extensions_ - 1]; type) {
    case kTlsServerName:
      if (client_) return enter(At::kNameListLength, 2, extension_left_, TlsFault::kServerName);
      break;
    case kTlsEarlyData:
      if (client_) return TlsFault::kEarlyData;
      break;
    case kTlsSupportedVersions:
      if (client_) return enter(At::kVersionsLength, 1, extension_left_, TlsFault::kSupportedVersions);
      if (extension_left_ != 2) return TlsFault::kSupportedVersions;
      return enter(At::kChosenVersion, 2, extension_left_);
    default:
      break;
  }
  return enter(At::kExtensionBody, extension_left_, extension_left_);
}

TlsFault HelloMessage::end_name() noexcept {
  if (label_bytes_ == 0) return TlsFault::kServerName;  // without the last dot (RFC 6066 §3)
  name_bytes_ = name_read_;
  has_name_ = true;
  return next_extension();
}

TlsFault HelloMessage::end() noexcept {
  at_ = At::kWhole;
  if (!has_version_) return client_ ? TlsFault::kNotOffered : TlsFault::kNotChosen;
  if (client_ && name_known_ && has_name_ != (name_bytes_ != 0)) return TlsFault::kOtherName;
  if (!client_ && !is_of_tls13(suite_)) return TlsFault::kCipherSuite;
  return TlsFault::kNone;
}

// --- both directions

TlsFault TlsHellos::take(unsigned direction, std::span<const uint8_t> bytes, size_t& taken) noexcept {
  Records& r = records_[direction];
  taken = 0;
  while (taken < bytes.size() && !verified_) {
    TlsFault fault;
    if (r.left == 0) {
      fault = take_header(direction, bytes[taken++]);
    } else {
      auto part = bytes.subspan(taken, std::min<size_t>(r.left, bytes.size() - taken));
      r.left = static_cast<uint16_t>(r.left - part.size());
      taken += part.size();
      if (r.type == kTlsChangeCipherSpec)
        fault = part[0] == 1 ? TlsFault::kNone : TlsFault::kChangeCipherSpec;
      else
        fault = take_handshake(part, r.left);
    }
    if (fault != TlsFault::kNone) return fault;
  }
  return TlsFault::kNone;
}

/// One byte of a record's header.
TlsFault TlsHellos::take_header(unsigned direction, uint8_t byte) noexcept {
  Records& r = records_[direction];
  switch (r.header_bytes++) {
    case 0:
      r.type = byte;
      return take_type(direction, byte);
    case 1:
      return byte == 3 ? TlsFault::kNone : TlsFault::kRecordVersion;
    case 2:
      // To be ignored, and yet of those that were ever written (§5.1, appendix D).
      return byte >= 1 && byte <= 3 ? TlsFault::kNone : TlsFault::kRecordVersion;
    case 3:
      r.length_high = byte;
      return byte <= kTlsMostFragment >> 8 ? TlsFault::kNone : TlsFault::kRecordLength;
    default:
      break;
  }
  uint32_t length = uint32_t{r.length_high} << 8 | byte;
  r.header_bytes = 0;
  r.left = static_cast<uint16_t>(length);
  if (r.type == kTlsChangeCipherSpec) return length == 1 ? TlsFault::kNone : TlsFault::kChangeCipherSpec;
  // "Implementations MUST NOT send zero-length fragments of Handshake types" (§5.1).
  return length != 0 && length <= kTlsMostFragment ? TlsFault::kNone : TlsFault::kRecordLength;
}

/// A handshake record of the one whose hello is due; a ChangeCipherSpec record of either, once, after a
/// HelloRetryRequest and not in the middle of a hello (appendix D.4).
TlsFault TlsHellos::take_type(unsigned direction, uint8_t type) noexcept {
  Records& r = records_[direction];
  bool in_turn = direction == turn_;
  if (type == kTlsHandshake && in_turn) return TlsFault::kNone;
  bool between = !in_turn || !message_.begun();
  if (type == kTlsChangeCipherSpec && retried_ && between && !r.changed_cipher) {
    r.changed_cipher = true;
    return TlsFault::kNone;
  }
  return in_turn ? TlsFault::kRecordType : TlsFault::kNotItsTurn;
}

TlsFault TlsHellos::take_handshake(std::span<const uint8_t> part, uint32_t left_in_record) noexcept {
  size_t taken;
  if (TlsFault fault = message_.take(part, taken); fault != TlsFault::kNone) return fault;
  if (!message_.whole()) return TlsFault::kNone;
  // Keys change here (§5.1).
  if (taken != part.size() || left_in_record != 0) return TlsFault::kBoundary;
  if (turn_ == 1 && !message_.retries()) {
    verified_ = true;
    return TlsFault::kNone;
  }
  if (turn_ == 1 && retried_) return TlsFault::kSecondRetry;
  retried_ |= turn_ == 1;
  turn_ ^= 1;
  message_.begin(turn_ == 0 ? HelloMessage::Sender::kClient : HelloMessage::Sender::kServer);
  return TlsFault::kNone;
}

}  // namespace bulkhead
