// An authority in a directory, and what it hands out.
//
//     DIR/ca.pem, DIR/ca.key    the CA and its key
//     DIR/crl.pem               its CRL, once something was revoked
//     DIR/issued/SERIAL.pem     each SVID that hasn't expired, so that it can be revoked by its ID
//
// Whoever changes either directory holds their locks (svid.cc of the command takes them).
#pragma once

#include <string>

#include "svid/authority.h"

namespace bulkhead {

/// What happened to one identity of a directory on rotation.
enum class Rotation : uint8_t {
  kRenewed,
  kFresh,    ///< not half over
  kRevoked,  ///< stays revoked
  kForeign,  ///< another authority's
};

class AuthorityFiles {
 public:
  /// Makes the directory, which nobody else can read, and a new authority in it.
  /// Errors: kExists: there is an authority; as the operating system says. Cut short, there is none.
  static Expected<AuthorityFiles> create(const std::string& directory, const TrustDomain& domain,
                                         WallTime now);
  /// Errors name the file.
  static Expected<AuthorityFiles> open(const std::string& directory);

  const Authority& authority() const { return authority_; }
  /// Null: nothing was ever revoked.
  X509_CRL* crl() const { return crl_.get(); }

  /// As Authority::mint, recorded before anybody has it. Forgets what has expired.
  Expected<SvidIdentity> mint(const SpiffeId& id, WallTime now, std::chrono::seconds life) const;

  /// Revokes each SVID that is recorded, hasn't expired, and has this ID or serial (hexadecimal).
  /// Output: those, with the ones that were revoked before.
  /// Errors: kNotFound: none; a record that can't be read, since it may be one that is meant.
  Expected<std::vector<X509Ptr>> revoke(std::string_view id_or_serial, WallTime now);

  /// Makes a new CRL in place of one that is half over.
  Expected<> renew_crl(WallTime now);

  /// Sees to it that `out` trusts this authority and honours its CRL. What else is in the two files stays.
  Expected<> publish(const std::string& out) const;

  /// Mints anew, for a life as long as before, what of `out` is half over (`all`: whatever it is).
  Expected<Rotation> rotate(const std::string& out, const std::string& name, const SvidIdentity& old,
                            bool all, WallTime now) const;

 private:
  AuthorityFiles(std::string directory, Authority authority)
      : directory_(std::move(directory)), authority_(std::move(authority)) {}
  /// What was issued and hasn't expired; records of the rest are removed.
  Expected<std::vector<X509Ptr>> recorded(WallTime now) const;

  std::string directory_;
  Authority authority_;
  X509CrlPtr crl_;
};

/// Writes OUT/svids/NAME.pem and .key in place of what is there. Cut short at any point, the one or the other
/// identity is there, whole: for a moment NAME.key holds both keys.
/// Errors: kExists: the name has an identity of another ID.
Expected<> write_identity(const std::string& out, const std::string& name, const SvidIdentity& identity);

/// The name that an ID gets: its path, with '-' for '/'. kInvalid where that begins with a dot.
Expected<std::string> default_name(const SpiffeId& id);
/// kInvalid for what can't be NAME: letters, digits, '.', '-' and '_', and no dot in front.
Expected<> check_identity_name(const std::string& name);

}  // namespace bulkhead
