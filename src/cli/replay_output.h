// What a replay leaves behind: verdicts as JSON lines, and a capture for each port.
#pragma once

#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/pcap_file.h"
#include "dataplane/fastpath/replay.h"

namespace bulkhead {

/// The line of one packet, in the documented order of keys (docs/cli.md). `image`: nullptr without policy.
std::string verdict_line(const ReplayVerdict& verdict, const DataplaneSettings& settings,
                         const ImageView* image);

class ReplayOutput : public ReplaySink {
 public:
  /// Opens all files. `directory` (made where it doesn't exist) and `verdicts` may be empty: not wanted; "-":
  /// standard output. `settings` and `image` outlive it. Errors: as the operating system says, naming the
  /// file.
  static Expected<std::unique_ptr<ReplayOutput>> open(const DataplaneSettings& settings,
                                                      const ImageView* image, const std::string& directory,
                                                      const std::string& verdicts);
  ~ReplayOutput() override;

  void decided(const ReplayVerdict& verdict) override;
  void transmitted(PortId port, BootTime time, std::span<const std::byte> frame) override;
  /// Errors: kExhausted and the like, when not all of it reached its file.
  Expected<void> close();
  /// Packets by (verdict, reason).
  const std::map<std::pair<std::string, std::string>, uint64_t>& tally() const { return tally_; }

 private:
  ReplayOutput(const DataplaneSettings& settings, const ImageView* image)
      : settings_(settings), image_(image) {}

  const DataplaneSettings& settings_;
  const ImageView* image_;
  std::vector<PcapWriter> captures_;  ///< by PortId
  std::FILE* lines_ = nullptr;
  std::string lines_path_;
  std::map<std::pair<std::string, std::string>, uint64_t> tally_;
};

}  // namespace bulkhead
