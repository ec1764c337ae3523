#include "dataplane/fastpath/quiescence.h"

#include <cstdlib>

#include "base/check.h"

namespace bulkhead {

std::unique_ptr<Quiescence> Quiescence::create(unsigned workers) {
  void* memory = std::aligned_alloc(RTE_CACHE_LINE_SIZE, rte_rcu_qsbr_get_memsize(workers));
  if (!memory) return nullptr;
  auto* variable = static_cast<rte_rcu_qsbr*>(memory);
  BULKHEAD_CHECK(rte_rcu_qsbr_init(variable, workers) == 0);
  for (unsigned worker = 0; worker < workers; ++worker)
    BULKHEAD_CHECK(rte_rcu_qsbr_thread_register(variable, worker) == 0);
  return std::unique_ptr<Quiescence>(new Quiescence(variable));
}

void Quiescence::Free::operator()(rte_rcu_qsbr* variable) const noexcept {
  std::free(variable);
}

}  // namespace bulkhead
