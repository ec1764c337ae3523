// Hostile YAML: policy and gateway loaders must refuse or accept within bounds, whatever the text.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "config/gateway.h"
#include "config/policy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace bulkhead;
  std::string text(reinterpret_cast<const char*>(bytes), size);
  // The directory doesn't exist, so that `members_file: NAME` opens nothing; an absolute path might.
  LoadedPolicy policy =
      load_policy_text({{"/nonexistent/fuzz.yaml", text}}, WallTime{1'800'000'000'000'000'000});
  if (policy.policy.has_value() == has_errors(policy.diagnostics)) std::abort();
  LoadedGateway gateway = load_gateway_text("/nonexistent/fuzz.yaml", text);
  if (gateway.config.has_value() == has_errors(gateway.diagnostics)) std::abort();
  for (const Diagnostic& diagnostic : policy.diagnostics) to_string(diagnostic);
  return 0;
}
