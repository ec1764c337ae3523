#include "controlplane/observe/relay_board.h"

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

ConnectionProof proof(uint64_t flow, ProofMoment moment, size_t detail_bytes = 0) {
  ConnectionProof proof;
  proof.record.flow_id = flow, proof.record.moment = moment;
  proof.record.end = moment == ProofMoment::kEstablished ? RelayEnd::kCount : RelayEnd::k_closed;
  proof.peer_id = "spiffe://corp.example/web/1";
  proof.detail.assign(detail_bytes, 'x');
  return proof;
}
constexpr auto kEstablished = ProofMoment::kEstablished, kEnded = ProofMoment::kEnded,
               kFailed = ProofMoment::kFailed;

TEST(RelayBoard, ProofOfAConnection_IsKeptUntilItsFlowIsTold) {
  RelayBoard board;
  board.take(proof(1, kEstablished));
  EXPECT_EQ(board.proof_of(1)->record.moment, kEstablished);
  board.take(proof(1, kEnded));
  EXPECT_EQ(board.proof_of(1)->record.moment, kEnded);
  board.forget(1);
  EXPECT_FALSE(board.proof_of(1));
  EXPECT_EQ(board.take_news().size(), 1u) << "an end is told with its flow";
}
TEST(RelayBoard, HandshakeThatFailed_IsNewsAndNoMore) {
  RelayBoard board;
  board.take(proof(1, kFailed));
  EXPECT_FALSE(board.proof_of(1));
  EXPECT_EQ(board.take_news().size(), 1u);
  EXPECT_EQ(board.take_news().size(), 0u);
}
TEST(RelayBoard, EndThatComesAfterItsFlowWasTold_IsNotKept) {
  RelayBoard board;
  board.take(proof(1, kEstablished));
  board.forget(1);
  board.take(proof(1, kEnded));
  EXPECT_FALSE(board.proof_of(1));
}
/// A dataplane that is started again numbers its flows from the beginning.
TEST(RelayBoard, FlowsOfADataplaneBefore_AreNotTakenForThoseOfTheNext) {
  auto at = [](int64_t time, uint64_t flow) {
    ConnectionProof p = proof(flow, kEstablished);
    p.record.time_boot_ns = time;
    return p;
  };
  RelayBoard board;
  board.flows_since(BootTime{100});
  board.take(at(150, 1));
  board.flows_since(BootTime{100});  // the control plane attached to it once more
  EXPECT_TRUE(board.proof_of(1));
  board.flows_since(BootTime{200});
  EXPECT_FALSE(board.proof_of(1));
  board.take(at(160, 1));  // the relay had it still
  EXPECT_FALSE(board.proof_of(1));
  EXPECT_EQ(board.take_news().size(), 2u) << "it happened all the same";
  board.take(at(250, 1));
  EXPECT_TRUE(board.proof_of(1));
}
TEST(RelayBoard, WithoutAFlowLog_AProofIsKeptWhileItsConnectionLives) {
  RelayBoard board(false);
  board.take(proof(1, kEstablished));
  EXPECT_TRUE(board.proof_of(1));
  board.take(proof(1, kEnded));
  EXPECT_FALSE(board.proof_of(1));
  board.take(proof(2, kFailed));
  EXPECT_EQ(board.take_news().size(), 0u);
}
TEST(RelayBoard, BeyondItsBytes_TheOldestGoAndAreCounted) {
  constexpr size_t kEach = size_t{1} << 20;
  constexpr uint64_t kFit = RelayBoard::kMostProofBytes / kEach - 1;  // each is a little more
  RelayBoard board;
  for (uint64_t flow = 1; flow <= kFit; ++flow) board.take(proof(flow, kEstablished, kEach));
  EXPECT_EQ(board.dropped().proofs, 0u);
  EXPECT_TRUE(board.proof_of(1));
  board.take(proof(5, kEnded, kEach));  // the first to go, and nobody's loss
  board.take(proof(kFit + 1, kEstablished, kEach));
  EXPECT_FALSE(board.proof_of(5));
  EXPECT_TRUE(board.proof_of(1));
  EXPECT_EQ(board.dropped().proofs, 0u);
  board.take(proof(kFit + 2, kEstablished, kEach));
  EXPECT_FALSE(board.proof_of(1));
  EXPECT_TRUE(board.proof_of(2) && board.proof_of(kFit + 2));
  EXPECT_EQ(board.dropped().proofs, 1u);
}

TEST(RelayBoard, NewsThatNobodyTakes_AreBoundedAndCounted) {
  constexpr size_t kEach = size_t{1} << 20;
  constexpr uint64_t kFit = RelayBoard::kMostNewsBytes / kEach;  // each is a little more
  RelayBoard board;
  for (uint64_t flow = 1; flow <= kFit; ++flow) board.take(proof(flow, kFailed, kEach));
  EXPECT_EQ(board.dropped().news, 0u);
  board.take(proof(kFit + 1, kFailed, kEach));
  board.take(proof(kFit + 2, kEstablished));
  EXPECT_EQ(board.dropped().news, 2u);
  EXPECT_TRUE(board.proof_of(kFit + 2));
  EXPECT_EQ(board.take_news().size(), kFit);
  board.take(proof(1, kFailed));
  EXPECT_EQ(board.dropped().news, 2u) << "there is room again";
}

}  // namespace
}  // namespace bulkhead
