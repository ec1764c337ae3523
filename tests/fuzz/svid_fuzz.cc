// Hostile SPIFFE IDs and certificates. Whatever a peer presents, it is only ever believed to be the one
// workload that the trusted CA signed for.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <openssl/err.h>

#include "svid/describe.h"
#include "svid/pem.h"
#include "svid/verify.h"
#include "tests/fuzz/svid_chain.h"

namespace bulkhead {
namespace {

constexpr WallTime kNow{1'800'000'000'000'000'000};

void must(bool holds) {
  if (!holds) std::abort();
}

const TrustStore& trusted() {
  static const TrustStore kTrust = [] {
    TrustBundle bundle{*certificates_from_pem(test::kRootPem), *crls_from_pem(test::kCrlPem)};
    TrustStore trust;
    must(trust.add(*parse_trust_domain("corp.example"), std::move(bundle)).has_value());
    return trust;
  }();
  return kTrust;
}

void judge_text(std::string_view text) {
  auto id = parse_spiffe_id(text);
  if (id) {
    must(id->text() == text && parse_trust_domain(id->trust_domain().name()).has_value());
    must("spiffe://" + id->trust_domain().name() + std::string(id->path()) == text);
    must(text.find('\0') == std::string_view::npos);
  }
  if (auto pattern = parse_spiffe_pattern(text)) {
    SpiffeId other = *parse_spiffe_id(test::kOnlyId);
    if (pattern->matches(other)) must(other.text().starts_with(text.substr(0, text.size() - 1)));
  }
}

/// DER, the leaf first.
X509Stack parsed(const uint8_t* at, const uint8_t* end) {
  X509Stack chain(sk_X509_new_null());
  while (at != end) {
    X509Ptr one(d2i_X509(nullptr, &at, end - at));
    if (!one) break;
    describe(one.get());
    sk_X509_push(chain.get(), one.release());
  }
  ERR_clear_error();
  return chain;
}

void judge_chain(const uint8_t* at, const uint8_t* end) {
  X509Stack chain = parsed(at, end);
  auto svid = verify_svid(sk_X509_value(chain.get(), 0), chain.get(), trusted(), kNow);
  if (svid) must(svid->id.text() == test::kOnlyId);
  must(ERR_peek_error() == 0);
}

}  // namespace
}  // namespace bulkhead

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size == 0) return 0;
  if (bytes[0] == 'i') bulkhead::judge_text({reinterpret_cast<const char*>(bytes + 1), size - 1});
  if (bytes[0] == 'c') bulkhead::judge_chain(bytes + 1, bytes + size);
  if (bytes[0] == 'p') {
    std::string_view text(reinterpret_cast<const char*>(bytes + 1), size - 1);
    bulkhead::certificates_from_pem(text), bulkhead::crls_from_pem(text), bulkhead::keys_from_pem(text);
  }
  return 0;
}
