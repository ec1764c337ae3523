// The control loop: what the policy directory says becomes what the dataplane enforces.
//
//   directory changed -> read, checked, compiled, its tests run -> published (image, endpoints, or the
//   difference)
//   -> acknowledged by every worker, or refused -> told to everyone who shows it
//
// One publish is in flight at a time; what changes meanwhile is published together afterwards. A dataplane
// that restarts is attached to again and given the whole state. What fails because the machine is short of
// memory, descriptors or a disk says nothing of the policy, and is tried again.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "contract/memfd.h"
#include "contract/settings.h"
#include "controlplane/compiler/compile.h"
#include "controlplane/engine/accept.h"
#include "controlplane/engine/deadlines.h"
#include "controlplane/engine/relay_link.h"
#include "controlplane/feeds/file_feed.h"
#include "controlplane/observe/names.h"
#include "controlplane/observe/rule_hits.h"
#include "controlplane/observe/state.h"

namespace bulkhead {

/// What the loop works with; references outlive it.
struct EngineParts {
  const DataplaneSettings& settings;
  std::string contract_socket;
  FileFeed feed;
  Deadlines deadlines;
  StateBoard& board;
  NameHistory& names;
  RetiredHits& retired;
  RelayLink* relay = nullptr;  ///< where the gateway has one
};

class Engine {
 public:
  /// A clock that is stepped is noticed within a second; what is enforced is then converted anew, whatever
  /// the policy directory holds by then.
  /// Errors: no eventfd to be had.
  static Expected<std::unique_ptr<Engine>> create(EngineParts parts);

  /// Runs until stop(). Thread: one, which is the only one to call anything else here than stop() and
  /// reread().
  void run();
  /// Ends run(). Thread: any; safe in a signal handler.
  void stop() { ask(kStop); }
  /// Reads the policy directory again, changed or not. Thread: any; safe in a signal handler.
  void reread() { ask(kReread); }

 private:
  /// A policy on its way to the dataplane, or there.
  struct Candidate {
    std::shared_ptr<const ExplainablePolicy> policy;
    BootTime seen{};        ///< when its change was first seen
    WallTime read{};        ///< when it was read
    double read_ms = 0;     ///< spent reading and checking the files
    double compile_ms = 0;  ///< spent compiling and testing what they say
    bool timed = false;     ///< its way to enforcement was measured already
  };
  struct InFlight {
    Candidate candidate;
    uint64_t generation;
    bool with_image, whole;  ///< whole: nothing of what is there stays
    BootTime sent;
    bool told_late = false;
  };
  /// Of what the machine was too short for: bounded pauses between attempts.
  struct Retry {
    BootTime at = kNever;  ///< when it is to be tried again; kNever: it isn't
    Nanoseconds pause{10'000'000};
    void put_off();
    bool holds_back() const { return at != kNever && boot_now() < at; }
  };
  static constexpr Nanoseconds kAnswerIsLate{5'000'000'000};  ///< then it is told
  static constexpr Nanoseconds kFileIsLate{1'000'000'000};
  enum Request : uint32_t { kWake = 1, kStop = 2, kReread = 4 };

  Engine(EngineParts parts, Fd wake);
  static bool same_image(const ExplainablePolicy& a, const ExplainablePolicy& b);
  static bool same_identities(const ExplainablePolicy& a, const ExplainablePolicy& b);
  void ask(Request request);
  void wait();
  void take_requests();

  void attach_if_due();
  std::optional<std::string> stranger(const Welcome& welcome) const;
  void attached(std::unique_ptr<DataplaneClient> client);
  void hear_from_dataplane();
  void lost(const Error& error);

  void read_policy_if_due();
  void publish_if_due();
  void publish(bool whole);
  void settle_relay();
  void put_off_publish(uint64_t generation, bool whole, const Error& why);
  void put_off_reading(const AcceptedPolicy& accepted);
  void take_result(const PublishResult& result, const RuleHitCounts& hits_before);
  void accepted(const PublishResult& result, const RuleHitCounts& hits_before);
  void refused(const PublishResult& result);
  void in_force(const Candidate& candidate);
  void keep_watch();
  void watch_files(BootTime now);
  void watch_clock(BootTime now);
  void look_at_clock(BootTime now);
  Expected<> convert_anew(BootTime now);
  void store_clock(BootTime now);
  void trouble(Trouble kind, std::string message);

  EngineParts parts_;
  CompileTarget target_;
  Fd wake_;
  std::atomic<uint32_t> requests_{0};
  bool stopping_ = false;

  std::shared_ptr<Attachment> dataplane_;
  BootTime next_attach_{};
  Nanoseconds attach_pause_;
  std::string attach_trouble_;  ///< the last that was told, so that it is told once

  std::optional<Candidate> wanted_;     ///< the last that was accepted
  std::optional<Candidate> enforced_;   ///< by the dataplane that is attached; nothing: not known
  std::optional<Candidate> last_good_;  ///< the last that any dataplane enforced
  std::shared_ptr<const ExplainablePolicy>
      refused_here_;  ///< by the dataplane that is attached: not sent to it again
  Enforced enforced_as_;
  std::optional<InFlight> in_flight_;
  bool whole_next_ = false;  ///< an incremental publish was refused
  Retry read_again_, publish_again_;
  uint64_t last_generation_ = 0;
  BootTime next_clock_look_{}, next_clock_store_{};
  bool clock_moved_ = false;  ///< since `wanted_` was compiled
  Troubles troubles_;
};

}  // namespace bulkhead
