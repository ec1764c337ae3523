// What an agent of the SPIFFE Workload API may say. Whatever it is, what comes of it is whole: each identity
// with its key, each bundle one that can vouch, and OpenSSL's error queue as it was.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <openssl/err.h>

#include "dataplane/relay/svid_response.h"

namespace bulkhead {
namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

void judge(std::string_view bytes) {
  auto response = read_svid_response(bytes);
  must(ERR_peek_error() == 0);
  if (!response) return must(!response.error().message.empty());
  must(!response->set->own.empty());
  for (const auto& [id, identity] : response->set->own) {
    must(identity->id.text() == id && parse_workload_id(id).has_value());
    must(X509_check_private_key(identity->leaf(), identity->key.get()) == 1);
    must(response->set->trust->knows(identity->id.trust_domain()));
  }
  for (const auto& [domain, bundle] : response->set->trust->bundles()) must(!bundle->authorities.empty());
  ERR_clear_error();
}

}  // namespace
}  // namespace bulkhead

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  bulkhead::judge({reinterpret_cast<const char*>(bytes), size});
  return 0;
}
