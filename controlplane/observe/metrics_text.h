// Metrics as text: OpenMetrics 1.0, or Prometheus' older format 0.0.4 for who doesn't ask for the first.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace bulkhead {

enum class MetricsFormat : uint8_t { kPrometheus, kOpenMetrics };
enum class MetricType : uint8_t { kCounter, kGauge, kHistogram, kInfo };

using Label = std::pair<std::string_view, std::string_view>;
using Labels = std::initializer_list<Label>;

/// Writes one metric family after the other: family(), then its samples.
class MetricsText {
 public:
  explicit MetricsText(MetricsFormat format) : format_(format) {}

  /// Begins a family. `name` without the suffix `_total` of a counter; `unit`: its last word, where it is
  /// one.
  void family(std::string_view name, MetricType type, std::string_view help, std::string_view unit = {});
  void sample(uint64_t value, Labels labels = {});
  void sample(double value, Labels labels = {});
  /// A histogram's samples. `counts`: of each bucket alone, one more than `bounds` (the last is +Inf).
  void histogram(std::span<const double> bounds, std::span<const uint64_t> counts, double sum);
  /// The whole text, with its end mark.
  std::string finish();

 private:
  void line(std::string_view name, Labels labels, std::string_view value);

  MetricsFormat format_;
  std::string family_;  ///< the current one's name
  std::string sample_;  ///< the name of its samples
  std::string text_;
};

/// The HTTP content type of a format.
std::string_view content_type_of(MetricsFormat format);
/// The format that an HTTP Accept header asks for.
MetricsFormat format_accepted(std::string_view accept);

}  // namespace bulkhead
