#include "controlplane/compiler/programs.h"

#include <algorithm>
#include <span>

#include "controlplane/compiler/interner.h"

namespace bulkhead {

namespace {

constexpr size_t kMostEntries = size_t{1} << 24;  // 384 MiB of image
constexpr size_t kMostSteps = size_t{1} << 30;    // some seconds

bool is_unconditional(const EntryRecord& entry) {
  return entry.after_ns == INT64_MIN && entry.until_ns == INT64_MAX && (entry.flags & kRuleAudit) == 0;
}

/// A rule with its place in the order of precedence, so that sorting numbers sorts rules.
uint64_t ranked(const EntryRecord& entry) {
  return uint64_t{entry.tier} << 40 | uint64_t{entry.action} << 32 | entry.rule;
}
uint32_t rule_of(uint64_t rank) {
  return static_cast<uint32_t>(rank);
}
uint64_t precedence_of(uint64_t rank) {
  return rank >> 32;
}

class ProgramMaker {
 public:
  explicit ProgramMaker(const std::vector<EntryRecord>& rule_entries) : rule_entries_(rule_entries) {}

  /// The program of one pair's coverages.
  uint32_t make(std::span<const Coverage> coverages) {
    program_.clear();
    bool one_rule =
        std::ranges::all_of(coverages, [&](const Coverage& c) { return c.rule == coverages[0].rule; });
    if (one_rule) {
      uint32_t slice = slices_.intern({&coverages[0].rule, 1});
      for (const Coverage& coverage : coverages) append(coverage.first_key, coverage.last_key, slice);
    } else {
      sweep(coverages);
    }
    return programs_.intern(program_);
  }
  bool is_exhausted() const {
    return slices_.arena().size() > kMostEntries || programs_.arena().size() / 3 > kMostEntries ||
           steps_taken_ > kMostSteps;
  }
  Programs records() const;

 private:
  struct Step {
    uint64_t key;  // where it starts to hold, or holds no more
    uint64_t rank;
    bool starts;
  };

  void sweep(std::span<const Coverage> coverages) {
    steps_.clear();
    for (const Coverage& coverage : coverages) {
      uint64_t rank = ranked(rule_entries_[coverage.rule]);
      steps_.push_back({coverage.first_key, rank, true});
      steps_.push_back({uint64_t{coverage.last_key} + 1, rank, false});
    }
    std::ranges::sort(steps_, {}, &Step::key);
    holding_.clear();
    // Rules that hold at the same time add up for each stretch: a pair alone can be too much.
    for (size_t i = 0; i < steps_.size() && !is_exhausted();) {
      steps_taken_ += holding_.size() + 1;
      uint64_t key = steps_[i].key;
      for (; i < steps_.size() && steps_[i].key == key; ++i) apply(steps_[i]);
      if (!holding_.empty())
        append(static_cast<uint32_t>(key), static_cast<uint32_t>(steps_[i].key - 1),
               slices_.intern(relevant()));
    }
  }

  /// A rule's stretches of a pair are disjoint and never touch, so it never starts twice.
  void apply(const Step& step) {
    auto at = std::ranges::lower_bound(holding_, step.rank);
    if (step.starts) {
      holding_.insert(at, step.rank);
    } else {
      holding_.erase(at);
    }
  }

  /// Of the rules that hold, those that can matter to the decision, the rule named, the deadline or the
  /// audit: none after one that always holds and has higher precedence; with the same precedence and an
  /// earlier one that always holds only an allow that is stricter on mTLS, or as strict where server names
  /// add up.
  const std::vector<uint32_t>& relevant() {
    relevant_.clear();
    const EntryRecord* always = nullptr;  // the strictest that always holds
    uint64_t always_precedence = 0;
    for (uint64_t rank : holding_) {
      const EntryRecord& entry = rule_entries_[rule_of(rank)];
      if (always != nullptr) {
        if (precedence_of(rank) != always_precedence) break;
        bool adds =
            entry.mtls > always->mtls || (entry.mtls == always->mtls && (always->flags & kRuleNames) != 0);
        bool allows = entry.action == static_cast<uint8_t>(Action::kAllow) && (entry.flags & kRuleAudit) == 0;
        if (!allows || !adds) continue;
      }
      relevant_.push_back(entry.rule);
      if (is_unconditional(entry)) {
        always = &entry;
        always_precedence = precedence_of(rank);
      }
    }
    return relevant_;
  }

  void append(uint32_t first, uint32_t last, uint32_t slice) {
    size_t size = program_.size();
    bool goes_on = size != 0 && program_[size - 1] == slice && uint64_t{program_[size - 2]} + 1 == first;
    if (goes_on) {
      program_[size - 2] = last;
    } else {
      program_.insert(program_.end(), {first, last, slice});
    }
  }

  const std::vector<EntryRecord>& rule_entries_;
  Interner<uint32_t> slices_;      // rules of an interval, in order of precedence
  Interner<uint32_t> programs_;    // first key, last key, slice; and so on
  std::vector<uint32_t> program_;  // the one that is being made
  std::vector<Step> steps_;
  std::vector<uint64_t> holding_;  // ranks, ascending
  std::vector<uint32_t> relevant_;
  size_t steps_taken_ = 0;  // rules looked at, stretch by stretch
};

Programs ProgramMaker::records() const {
  Programs records;
  records.entries.reserve(slices_.arena().size());
  for (uint32_t rule : slices_.arena()) records.entries.push_back(rule_entries_[rule]);
  records.programs.reserve(programs_.size());
  records.intervals.reserve(programs_.arena().size() / 3);
  for (uint32_t program = 0; program < programs_.size(); ++program) {
    auto parts = programs_[program];
    records.programs.push_back(
        {static_cast<uint32_t>(records.intervals.size()), static_cast<uint32_t>(parts.size() / 3)});
    for (size_t i = 0; i < parts.size(); i += 3)
      records.intervals.push_back({parts[i], parts[i + 1],
                                   static_cast<uint32_t>(slices_.start_of(parts[i + 2])),
                                   static_cast<uint32_t>(slices_[parts[i + 2]].size())});
  }
  return records;
}

}  // namespace

Expected<Programs> make_programs(const std::vector<Coverage>& coverages,
                                 const std::vector<EntryRecord>& rule_entries) {
  ProgramMaker maker(rule_entries);
  std::vector<PairProgram> pairs;
  for (size_t first = 0; first < coverages.size();) {
    size_t last = first + 1;
    while (last < coverages.size() && coverages[last].pair() == coverages[first].pair()) ++last;
    uint32_t program = maker.make(std::span(coverages).subspan(first, last - first));
    pairs.push_back({coverages[first].source_selector, coverages[first].destination_selector, program});
    if (maker.is_exhausted())
      return fail(ErrorCode::kExhausted,
                  "too many rules overlap on the same services of the same segments: over " +
                      std::to_string(kMostEntries) + " entries; make their services coarser");
    first = last;
  }
  Programs programs = maker.records();
  programs.pairs = std::move(pairs);
  return programs;
}

}  // namespace bulkhead
