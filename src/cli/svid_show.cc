// `bulkhead svid show` and `verify`.
#include <filesystem>
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/clock.h"
#include "cli/svid.h"
#include "cli/table.h"
#include "config/policy.h"
#include "svid/describe.h"
#include "svid/file.h"
#include "svid/pem.h"
#include "svid/svid_files.h"
#include "svid/verify.h"

namespace bulkhead {
namespace {

struct Options {
  std::string path, svids, pattern;
  bool json = false;
};

/// Null for an empty text.
Json text_or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json to_json(const CertificateFacts& facts) {
  return {{"id", text_or_null(facts.uri)},
          {"subject", facts.subject},
          {"issuer", facts.issuer},
          {"serial", facts.serial},
          {"not_before", to_string(facts.not_before)},
          {"not_after", to_string(facts.not_after)},
          {"key", facts.key},
          {"ca", facts.is_ca},
          {"sha256", facts.sha256}};
}

Json to_json(const CrlFacts& facts) {
  return {{"issuer", facts.issuer},
          {"last_update", to_string(facts.last_update)},
          {"next_update", to_string(facts.next_update)},
          {"revoked", facts.revoked}};
}

Column instant(const char* title) {
  return {title, Align::kLeft, 20, false};
}

/// A table, and a blank line after it; nothing where it has no row.
std::string rendered(const Table& table) {
  Screen screen = standard_output();
  return table.rows() == 0 ? "" : table.render(screen.width, screen.colour) + "\n";
}

// --- show FILE

struct FileContent {
  std::vector<X509Ptr> certificates;
  std::vector<X509CrlPtr> crls;
};

Expected<FileContent> read_content(const std::string& path) {
  auto text = read_whole(path, kMaxCrlFileBytes);
  if (!text) return std::unexpected(text.error());
  FileContent content;
  auto certificates = certificates_from_pem(*text);
  if (certificates) {
    content.certificates = std::move(*certificates);
    return content;
  }
  auto crls = crls_from_pem(*text);
  if (!crls) return with_context(certificates.error(), path);
  content.crls = std::move(*crls);
  return content;
}

Json to_json(const FileContent& content) {
  Json certificates = Json::array(), crls = Json::array();
  for (const X509Ptr& one : content.certificates) certificates.push_back(to_json(describe(one.get())));
  for (const X509CrlPtr& one : content.crls) crls.push_back(to_json(describe(one.get())));
  return {{"certificates", std::move(certificates)}, {"crls", std::move(crls)}};
}

std::string to_text(const FileContent& content) {
  Table certificates({{"ID"},
                      {"SUBJECT"},
                      {"ISSUER"},
                      {"SERIAL"},
                      {"KEY", Align::kLeft, 6, false},
                      instant("FROM"),
                      instant("UNTIL")});
  for (const X509Ptr& one : content.certificates) {
    CertificateFacts facts = describe(one.get());
    certificates.add({facts.uri, facts.subject, facts.issuer, facts.serial, facts.key,
                      to_string(facts.not_before), to_string(facts.not_after)});
  }
  Table crls({{"CRL OF"}, {"REVOKED", Align::kRight}, instant("FROM"), instant("NEXT")});
  for (const X509CrlPtr& one : content.crls) {
    CrlFacts facts = describe(one.get());
    crls.add({facts.issuer, std::to_string(facts.revoked), to_string(facts.last_update),
              to_string(facts.next_update)});
  }
  return rendered(certificates) + rendered(crls);
}

ExitCode show_file(const Options& options) {
  auto content = read_content(options.path);
  if (!content) return complain("svid show", content.error());
  print(options.json ? json_line(to_json(*content)) : to_text(*content));
  return ExitCode::kSuccess;
}

// --- show DIR

struct DirectoryContent {
  TrustFiles trust;
  IdentityFiles own;
};

/// "good", or the fault that a peer which trusts this directory's bundles would find.
std::string state_of(const SvidIdentity& identity, const TrustStore& trust) {
  X509Stack above = stack_of(identity.chain.data() + 1, identity.chain.data() + identity.chain.size());
  auto svid = verify_svid(identity.leaf(), above.get(), trust, wall_now());
  return svid ? "good" : std::string(name_of(svid.error()));
}

Json identities_json(const DirectoryContent& content) {
  Json list = Json::array();
  for (const auto& [name, identity] : content.own.identities) {
    Json one{{"name", name}, {"state", state_of(identity, content.trust.trust)}};
    one.update(to_json(describe(identity.leaf())));
    list.push_back(std::move(one));
  }
  return list;
}

Json bundles_json(const TrustStore& trust) {
  Json list = Json::array();
  for (const auto& [domain, bundle] : trust.bundles()) {
    Json authorities = Json::array(), crls = Json::array();
    for (const X509Ptr& one : bundle->authorities) authorities.push_back(to_json(describe(one.get())));
    for (const X509CrlPtr& one : bundle->crls) crls.push_back(to_json(describe(one.get())));
    list.push_back({{"trust_domain", domain.name()},
                    {"authorities", std::move(authorities)},
                    {"crls", std::move(crls)}});
  }
  return list;
}

std::string to_text(const DirectoryContent& content) {
  Table identities(
      {{"NAME"}, {"ID", Align::kLeft, 20}, {"SERIAL"}, instant("UNTIL"), {"STATE", Align::kLeft, 4, false}});
  for (const auto& [name, identity] : content.own.identities) {
    CertificateFacts facts = describe(identity.leaf());
    identities.add(
        {name, facts.uri, facts.serial, to_string(facts.not_after), state_of(identity, content.trust.trust)});
  }
  Table authorities({{"TRUST DOMAIN"}, {"CA"}, {"SERIAL"}, instant("UNTIL")});
  Table crls({{"TRUST DOMAIN"}, {"CRL OF"}, {"REVOKED", Align::kRight}, instant("NEXT")});
  for (const auto& [domain, bundle] : content.trust.trust.bundles()) {
    for (const X509Ptr& one : bundle->authorities) {
      CertificateFacts facts = describe(one.get());
      authorities.add({domain.name(), facts.subject, facts.serial, to_string(facts.not_after)});
    }
    for (const X509CrlPtr& one : bundle->crls) {
      CrlFacts facts = describe(one.get());
      crls.add({domain.name(), facts.issuer, std::to_string(facts.revoked), to_string(facts.next_update)});
    }
  }
  return rendered(identities) + rendered(authorities) + rendered(crls);
}

ExitCode show_directory(const Options& options) {
  DirectoryContent content{read_trust_files(options.path), read_identity_files(options.path)};
  Json errors = Json::array();
  for (const auto* from : {&content.trust.errors, &content.own.errors})
    for (const Error& error : *from) {
      errors.push_back(error.message);
      complain("svid show", error);
    }
  bool right = errors.empty();
  print(options.json ? json_line({{"identities", identities_json(content)},
                                  {"bundles", bundles_json(content.trust.trust)},
                                  {"errors", std::move(errors)}})
                     : to_text(content));
  return right ? ExitCode::kSuccess : ExitCode::kNo;
}

ExitCode show(const Options& options) {
  std::error_code error;
  return std::filesystem::is_directory(options.path, error) ? show_directory(options) : show_file(options);
}

// --- verify

/// The first certificate of a file, verified with the rest of it.
std::expected<VerifiedSvid, SvidFault> judge(const std::vector<X509Ptr>& chain, const TrustStore& trust) {
  X509Stack above = stack_of(chain.data() + 1, chain.data() + chain.size());
  return verify_svid(chain.front().get(), above.get(), trust, wall_now());
}

Json to_json(const std::expected<VerifiedSvid, SvidFault>& svid, bool meant) {
  if (!svid)
    return {{"id", nullptr},
            {"fault", name_of(svid.error())},
            {"help", help_of(svid.error())},
            {"meant", false},
            {"expires", nullptr},
            {"serial", nullptr},
            {"sha256", nullptr}};
  return {{"id", svid->id.text()},
          {"fault", nullptr},
          {"help", nullptr},
          {"meant", meant},
          {"expires", to_string(svid->expires)},
          {"serial", svid->serial},
          {"sha256", to_hex(svid->sha256)}};
}

ExitCode verify(const Options& options) {
  auto pattern = options.pattern.empty() ? std::optional<SpiffePattern>() : std::nullopt;
  if (!options.pattern.empty()) {
    auto read = parse_spiffe_pattern(options.pattern);
    if (!read) return complain("svid verify", "--id: " + read.error().message, ExitCode::kUsage);
    pattern = std::move(*read);
  }
  auto chain = read_certificates(options.path, kMaxBundleFileBytes);
  if (!chain) return complain("svid verify", chain.error());
  TrustFiles files = read_trust_files(options.svids);
  for (const Error& error : files.errors) complain("svid verify", error);
  auto svid = judge(*chain, files.trust);
  bool meant = svid && (!pattern || pattern->matches(svid->id));
  if (options.json)
    print(json_line(to_json(svid, meant)));
  else if (meant)
    print(svid->id.text() + "\n");
  if (!svid)
    return complain("svid verify",
                    fmt::format("{}: {}: {}", options.path, name_of(svid.error()), help_of(svid.error())),
                    ExitCode::kNo);
  if (!meant)
    return complain("svid verify",
                    fmt::format("{}: it is {}, not {}", options.path, svid->id.text(), pattern->text()),
                    ExitCode::kNo);
  return ExitCode::kSuccess;
}

}  // namespace

void add_svid_show(CLI::App& group, Task& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(group, "show", "What certificates, CRLs or a whole directory of SVIDs say",
                                  "bulkhead svid show /etc/bulkhead/svid");
  command->add_option("path", options->path, "A PEM file, or the directory of bundles/, crls/ and svids/")
      ->required()
      ->type_name("FILE|DIR");
  command->add_flag("--json", options->json, "Print a JSON object");
  command->callback([options, &chosen] { chosen = [options] { return show(*options); }; });
}

void add_svid_verify(CLI::App& group, Task& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(group, "verify", "Whether a certificate proves an identity, and whose",
                                  "bulkhead svid verify --svids /etc/bulkhead/svid peer.pem");
  command->add_option("--svids", options->svids, "The directory of bundles/ and crls/ to trust")
      ->required()
      ->type_name("DIR");
  command->add_option("file", options->path, "PEM: the leaf, then the CAs above it")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--id", options->pattern, "Exit 1 unless it is this ID, or with /* at the end one below")
      ->type_name("PATTERN");
  command->add_flag("--json", options->json, "Print a JSON object");
  command->callback([options, &chosen] { chosen = [options] { return verify(*options); }; });
}

}  // namespace bulkhead
