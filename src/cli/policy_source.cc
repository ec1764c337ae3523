#include "cli/policy_source.h"

#include "cli/console.h"

namespace bulkhead {

Expected<std::unique_ptr<ExplainablePolicy>> read_policy(const std::string& path,
                                                         const CompileTarget& target) {
  LoadedPolicy loaded = load_policy(path, wall_now());
  print_diagnostics(loaded.diagnostics);
  if (!loaded.policy) return fail(ErrorCode::kInvalid, "the policy in " + path + " has errors");
  return make_explainable(std::move(*loaded.policy), target, wall_as_boot);
}

}  // namespace bulkhead
