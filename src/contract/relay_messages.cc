#include "contract/relay_messages.h"

#include <algorithm>
#include <cstring>

namespace bulkhead {

namespace {

/// What is wrong with the fixed part of a proof of `bytes`; nullptr: nothing.
const char* check(const ProofRecord& r, size_t bytes) {
  if (r.moment < ProofMoment::kEstablished || r.moment > ProofMoment::kFailed)
    return "a ConnectionProof of an unknown moment";
  if (r.role < RelayRole::kOriginate || r.role > RelayRole::kTerminate)
    return "a ConnectionProof of an unknown role";
  if (r.end > RelayEnd::kCount || (r.end == RelayEnd::kCount) != (r.moment == ProofMoment::kEstablished))
    return "a ConnectionProof with an impossible end";
  if (r.resumed > 1 || std::ranges::any_of(r.reserved, [](uint16_t word) { return word != 0; }))
    return "a ConnectionProof with unknown flags";
  if (r.own_id_bytes > kMaxIdentityBytes || r.peer_id_bytes > kMaxIdentityBytes ||
      r.detail_bytes > kMaxProofDetail)
    return "a ConnectionProof with texts that are too long";
  size_t texts = size_t{r.own_id_bytes} + r.peer_id_bytes + r.detail_bytes;
  return bytes == sizeof r + texts ? nullptr : "a ConnectionProof whose texts are not where it says";
}

std::string_view first(std::string_view text, size_t most) {
  return text.substr(0, most);
}

}  // namespace

std::vector<std::byte> encode_proof(const ConnectionProof& proof) {
  std::string_view own = first(proof.own_id, kMaxIdentityBytes),
                   peer = first(proof.peer_id, kMaxIdentityBytes),
                   detail = first(proof.detail, kMaxProofDetail);
  ProofRecord record = proof.record;
  record.own_id_bytes = static_cast<uint16_t>(own.size());
  record.peer_id_bytes = static_cast<uint16_t>(peer.size());
  record.detail_bytes = static_cast<uint16_t>(detail.size());
  size_t bytes = sizeof record + own.size() + peer.size() + detail.size();
  record.header = {kContractVersion, MessageType::kConnectionProof, static_cast<uint32_t>(bytes), 0};

  std::vector<std::byte> packet;
  packet.reserve(bytes);
  auto fixed = std::as_bytes(std::span(&record, 1));
  packet.assign(fixed.begin(), fixed.end());
  for (std::string_view text : {own, peer, detail}) {
    auto part = std::as_bytes(std::span(text));
    packet.insert(packet.end(), part.begin(), part.end());
  }
  return packet;
}

Expected<ConnectionProof> decode_proof(std::span<const std::byte> packet) {
  auto header = decode_header(packet);
  if (!header) return std::unexpected(header.error());
  if (header->type != MessageType::kConnectionProof)
    return fail(ErrorCode::kInvalid, "a message of another type where a ConnectionProof is due");
  ConnectionProof proof;
  std::memcpy(&proof.record, packet.data(), sizeof proof.record);
  if (const char* wrong = check(proof.record, packet.size())) return fail(ErrorCode::kInvalid, wrong);
  const char* text = reinterpret_cast<const char*>(packet.data()) + sizeof proof.record;
  auto take = [&text](std::string& to, size_t bytes) {
    to.assign(text, bytes);
    text += bytes;
  };
  take(proof.own_id, proof.record.own_id_bytes);
  take(proof.peer_id, proof.record.peer_id_bytes);
  take(proof.detail, proof.record.detail_bytes);
  return proof;
}

}  // namespace bulkhead
