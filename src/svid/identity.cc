#include "svid/identity.h"

#include "svid/certificate.h"
#include "svid/verify.h"

namespace bulkhead {

Expected<SvidIdentity> make_identity(std::vector<X509Ptr> chain, EvpPkeyPtr key) {
  ErrorMark mark;
  auto refused = [](SvidFault fault) {
    return fail(ErrorCode::kInvalid,
                "every peer would refuse this certificate: " + std::string(name_of(fault)) + ", " +
                    std::string(help_of(fault)) + "; have it issued anew");
  };
  if (chain.empty()) return refused(SvidFault::k_certificate_missing);
  X509Stack intermediates = stack_of(chain.data() + 1, chain.data() + chain.size());
  if (auto fault = check_chain_size(chain.front().get(), intermediates.get())) return refused(*fault);
  auto id = check_leaf(chain.front().get());
  if (!id) return refused(id.error());
  if (!key || X509_check_private_key(chain.front().get(), key.get()) != 1)
    return fail(ErrorCode::kInvalid,
                "the private key isn't the first certificate's; put the leaf first, and the key "
                "that it was issued for");
  return SvidIdentity{std::move(*id), std::move(chain), std::move(key)};
}

}  // namespace bulkhead
