// What the SPIFFE Workload API's agent said, as SVIDs ready for use.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "dataplane/relay/policy.h"

namespace bulkhead {

/// Identities by SHA-256 of the X509SVIDs that they were read from. Each message repeats what hasn't changed,
/// and reading one takes a millisecond.
using KnownSvids = std::map<std::array<uint8_t, 32>, std::shared_ptr<const SvidIdentity>>;

struct SvidResponse {
  std::shared_ptr<const SvidSet> set;
  KnownSvids read;              ///< for the next one
  std::vector<Error> left_out;  ///< foreign trust domains and CRLs that count for nothing, and why
};

/// Reads an X509SVIDResponse (SPIFFE Workload API §5): all that there is now.
/// Input:  `known` as it was read from the message before.
/// Output: each SVID, and each trust domain, its own and foreign ones, with its bundle. CRLs, which
/// are sent for no domain in particular, bind in foreign domains whose CAs signed them, and in the SVIDs' own
/// domains unless a foreign domain's self-signed CA signed them and no own CA that is known did.
/// Errors: kInvalid, naming the SVID and the field: no message; no SVID; a mandatory field that is empty
/// (§4.5); what isn't DER; a leaf that peers would refuse, of another ID, or of another key; an own bundle
/// that can't vouch, or two that differ; what is no CRL; one of an own CA that can't be honoured. What is
/// wrong with a foreign domain's bundle leaves out that domain alone, and with a CRL of nobody's that CRL, so
/// that no other domain can keep this one from rotating. Thread: any.
Expected<SvidResponse> read_svid_response(std::string_view bytes, const KnownSvids& known = {});

}  // namespace bulkhead
