#include "controlplane/observe/metrics_text.h"

#include <fmt/format.h>

#include <cmath>

namespace bulkhead {
namespace {

/// Escapes as both formats want it: backslash and newline, in label values quotes too.
std::string escaped(std::string_view text, bool in_quotes) {
  std::string out;
  for (char c : text) {
    if (c == '\\')
      out += "\\\\";
    else if (c == '\n')
      out += "\\n";
    else if (c == '"' && in_quotes)
      out += "\\\"";
    else
      out += c;
  }
  return out;
}

std::string_view type_name(MetricType type, MetricsFormat format) {
  switch (type) {
    case MetricType::kCounter:
      return "counter";
    case MetricType::kGauge:
      return "gauge";
    case MetricType::kHistogram:
      return "histogram";
    case MetricType::kInfo:
      return format == MetricsFormat::kOpenMetrics ? "info" : "gauge";
  }
  return "unknown";
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

}  // namespace

void MetricsText::family(std::string_view name, MetricType type, std::string_view help,
                         std::string_view unit) {
  std::string suffix = type == MetricType::kCounter ? "_total" : type == MetricType::kInfo ? "_info" : "";
  sample_ = std::string(name) + suffix;
  family_ = format_ == MetricsFormat::kOpenMetrics ? std::string(name) : sample_;
  text_ += fmt::format("# HELP {} {}\n", family_, escaped(help, format_ == MetricsFormat::kOpenMetrics));
  text_ += fmt::format("# TYPE {} {}\n", family_, type_name(type, format_));
  if (!unit.empty() && format_ == MetricsFormat::kOpenMetrics)
    text_ += fmt::format("# UNIT {} {}\n", family_, unit);
}

void MetricsText::sample(uint64_t value, Labels labels) {
  line(sample_, labels, std::to_string(value));
}
void MetricsText::sample(double value, Labels labels) {
  line(sample_, labels, number(value));
}

void MetricsText::histogram(std::span<const double> bounds, std::span<const uint64_t> counts, double sum) {
  uint64_t up_to_here = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    up_to_here += counts[i];
    std::string bound = i < bounds.size() ? number(bounds[i]) : "+Inf";
    if (i < bounds.size() && bound.find_first_of(".e") == std::string::npos)
      bound += ".0";  // as OpenMetrics writes bounds
    line(family_ + "_bucket", {{"le", bound}}, std::to_string(up_to_here));
  }
  line(family_ + "_sum", {}, number(sum));
  line(family_ + "_count", {}, std::to_string(up_to_here));
}

void MetricsText::line(std::string_view name, Labels labels, std::string_view value) {
  text_ += name;
  char before = '{';
  for (const auto& [key, text] : labels) {
    text_ += fmt::format("{}{}=\"{}\"", before, key, escaped(text, true));
    before = ',';
  }
  if (labels.size() > 0) text_ += '}';
  text_ += fmt::format(" {}\n", value);
}

std::string MetricsText::finish() {
  if (format_ == MetricsFormat::kOpenMetrics) text_ += "# EOF\n";
  return std::move(text_);
}

std::string_view content_type_of(MetricsFormat format) {
  return format == MetricsFormat::kOpenMetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                               : "text/plain; version=0.0.4; charset=utf-8";
}

MetricsFormat format_accepted(std::string_view accept) {
  return accept.find("application/openmetrics-text") != std::string_view::npos ? MetricsFormat::kOpenMetrics
                                                                               : MetricsFormat::kPrometheus;
}

}  // namespace bulkhead
