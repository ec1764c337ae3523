// Why a connection isn't the TLS 1.3 that policy requires: what is said beside `mtls_required`.
#pragma once

#include <cstdint>
#include <string_view>

namespace bulkhead {

/// NAME(name, text). The text completes "refused: ".
#define BULKHEAD_TLS_FAULTS(NAME)                                                                   \
  NAME(None, "")                                                                                    \
  NAME(RecordType, "it does not begin with a TLS handshake")                                        \
  NAME(RecordVersion, "a record of another version than SSL 3.1 to 3.3")                            \
  NAME(RecordLength, "a record that is empty or too long")                                          \
  NAME(ChangeCipherSpec, "a ChangeCipherSpec record that is not one byte, 1")                       \
  NAME(MessageType, "another handshake message than the hello that is due")                         \
  NAME(LegacyVersion, "a hello whose legacy version is not TLS 1.2's")                              \
  NAME(Lengths, "a hello whose lengths contradict each other")                                      \
  NAME(Boundary, "a hello that does not end with its record")                                       \
  NAME(TooLong, "a hello of more than 16 KiB")                                                      \
  NAME(Compression, "a hello with compression")                                                     \
  NAME(DuplicateExtension, "a hello with the same extension twice")                                 \
  NAME(TooManyExtensions, "a hello of more than 64 extensions")                                     \
  NAME(SupportedVersions, "a hello whose supported versions are malformed")                         \
  NAME(ServerName, "a ClientHello whose server name is not one DNS name")                           \
  NAME(EarlyData, "a ClientHello with early data")                                                  \
  NAME(NotOffered, "the client does not offer TLS 1.3")                                             \
  NAME(NotChosen, "the server does not choose TLS 1.3")                                             \
  NAME(CipherSuite, "the server chooses a cipher suite that does not encrypt, or is not TLS 1.3's") \
  NAME(SecondRetry, "the server asks for another ClientHello twice")                                \
  NAME(OtherName, "the second ClientHello has another server name")                                 \
  NAME(NotItsTurn, "data before the peer's hello, or the verdict on it")                            \
  NAME(NameNotAllowed, "a server name that policy does not name")                                   \
  NAME(NotVerified, "it began before policy required TLS")                                          \
  NAME(RelayInClear, "the relay sent something else than TLS records")

enum class TlsFault : uint8_t {
#define BULKHEAD_NAME(name, text) k##name,
  BULKHEAD_TLS_FAULTS(BULKHEAD_NAME)
#undef BULKHEAD_NAME
      kCount,
};

/// For a person; empty for kNone and what is none.
std::string_view text_of(TlsFault fault);

}  // namespace bulkhead
