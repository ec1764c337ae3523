#include "cli/policy_source.h"

#include "cli/console.h"
#include "config/policy_on_gateway.h"

namespace bulkhead {

Expected<std::unique_ptr<ExplainablePolicy>> read_policy(const std::string& path,
                                                         const DataplaneSettings& gateway) {
  LoadedPolicy loaded = load_policy(path, wall_now());
  check_on_gateway(loaded, gateway);
  print_diagnostics(loaded.diagnostics);
  if (!loaded.policy) return fail(ErrorCode::kInvalid, "the policy in " + path + " has errors");
  return make_explainable(std::move(*loaded.policy), target_of(gateway), wall_as_boot);
}

}  // namespace bulkhead
