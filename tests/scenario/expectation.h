// What a scenario says of one packet, after "=>".
#pragma once

#include <optional>
#include <string>

#include "rig.h"

namespace bulkhead::test {

/// FATE [OUT or REASON] [new|established|related|none] [rule NAME] [tier NAME] [src SEGMENT] [dst SEGMENT]
/// [source SOURCE] [to MAC] [leaving PACKET]
struct Expectation {
  Fate fate = Fate::kForward;
  std::string out;                        ///< kForward: the port's name
  DropReason reason = DropReason::kNone;  ///< kDrop, kReject
  std::optional<FlowRelation> relation;
  std::optional<std::string> rule;                 ///< "none": no rule decided
  std::optional<Tier> tier;                        ///< the deciding one; Tier::kDefault: the implicit deny
  std::optional<std::string> source, destination;  ///< segments
  std::optional<IdentitySource> source_from;
  std::optional<MacAddress> to;        ///< route mode: the next hop's MAC
  std::optional<std::string> leaving;  ///< the frame that leaves, as text; else it is the one that came
};

/// Errors: throws std::invalid_argument.
Expectation parse_expectation(const std::string& text);

/// The outcome in the words of an Expectation, for messages.
std::string describe(const Rig& rig, const DataplaneSettings& settings, const PacketVerdict& verdict);

/// What differs, one line each; empty where nothing does.
std::string differences(const Expectation& expected, const Rig& rig, const DataplaneSettings& settings,
                        const PacketVerdict& verdict);

}  // namespace bulkhead::test
