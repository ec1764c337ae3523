// `bulkhead svid init`, `mint`, `rotate` and `revoke`: a small site's own authority.
#include "cli/svid.h"

#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/clock.h"
#include "base/printable.h"
#include "cli/table.h"
#include "config/policy.h"
#include "contract/host_lock.h"
#include "svid/authority_files.h"
#include "svid/file.h"
#include "svid/svid_files.h"
#include "svid/verify.h"

namespace bulkhead {
namespace {

struct Options {
  std::string authority, out, trust_domain, id, name, life = "24h", who;
  bool all = false, json = false;
};

/// Holds a directory until it goes; a second command waits a while. Makes it where there is none.
Expected<Fd> hold(const std::string& directory, Secrecy secrecy) {
  if (auto made = make_directory(directory, secrecy); !made) return std::unexpected(made.error());
  return lock_byte(directory + "/.lock", 0, std::chrono::seconds(30));
}

/// Both directories of a command, held, and the authority.
struct Workplace {
  Fd authority_lock, out_lock;
  AuthorityFiles authority;
};

Expected<Workplace> open_workplace(const Options& options) {
  // Not made where there is none: the answer is then that there is no authority.
  if (!is_there(options.authority)) return std::unexpected(AuthorityFiles::open(options.authority).error());
  auto authority_lock = hold(options.authority, Secrecy::kPrivate);
  if (!authority_lock) return std::unexpected(authority_lock.error());
  auto authority = AuthorityFiles::open(options.authority);
  if (!authority) return std::unexpected(authority.error());
  auto out_lock = hold(options.out, Secrecy::kPublic);
  if (!out_lock) return std::unexpected(out_lock.error());
  return Workplace{std::move(*authority_lock), std::move(*out_lock), std::move(*authority)};
}

std::string end_of(X509* certificate) {
  auto end = wall_time_of(X509_get0_notAfter(certificate));
  return end ? to_string(*end) : "an instant that can't be read";
}

// --- init

Expected<AuthorityFiles> create(const Options& options, const TrustDomain& domain) {
  auto lock = hold(options.authority, Secrecy::kPrivate);
  if (!lock) return std::unexpected(lock.error());
  return AuthorityFiles::create(options.authority, domain, wall_now());
}

ExitCode init(const Options& options) {
  auto domain = parse_trust_domain(options.trust_domain);
  if (!domain) return complain("svid init", "--trust-domain: " + domain.error().message, ExitCode::kUsage);
  auto made = create(options, *domain);
  if (!made) return complain("svid init", made.error());
  X509* ca = made->authority().certificate();
  Json json{{"trust_domain", domain->name()},
            {"authority", options.authority},
            {"serial", serial_of(ca)},
            {"not_after", end_of(ca)}};
  print(options.json
            ? json_line(json)
            : fmt::format("{} is the authority of {} until {}; keep it where no workload can read it\n",
                          printable(options.authority), domain->name(), end_of(ca)));
  return ExitCode::kSuccess;
}

// --- mint

/// What --id, --name and --for say.
struct Order {
  SpiffeId id;
  std::string name;
  std::chrono::seconds life;
};

Expected<Order> read_order(const Options& options) {
  auto id = parse_workload_id(options.id);
  if (!id) return with_context(id.error(), "--id");
  auto name = options.name.empty() ? default_name(*id) : Expected<std::string>(options.name);
  if (!name) return std::unexpected(name.error());
  if (auto right = check_identity_name(*name); !right) return with_context(right.error(), "--name");
  auto life = parse_duration(options.life);
  if (!life) return with_context(life.error(), "--for");
  return Order{std::move(*id), std::move(*name), std::chrono::duration_cast<std::chrono::seconds>(*life)};
}

Expected<SvidIdentity> mint(const Options& options, const Order& order) {
  auto place = open_workplace(options);
  if (!place) return std::unexpected(place.error());
  auto identity = place->authority.mint(order.id, wall_now(), order.life);
  if (!identity) return identity;
  // Whom to trust comes first: who has an identity has that too.
  if (auto published = place->authority.publish(options.out); !published)
    return std::unexpected(published.error());
  if (auto written = write_identity(options.out, order.name, *identity); !written)
    return std::unexpected(written.error());
  return identity;
}

ExitCode mint(const Options& options) {
  auto order = read_order(options);
  if (!order) return complain("svid mint", order.error().message, ExitCode::kUsage);
  auto identity = mint(options, *order);
  if (!identity) return complain("svid mint", identity.error());
  std::string path = options.out + "/svids/" + order->name;
  Json json{{"id", order->id.text()},
            {"name", order->name},
            {"certificate", path + ".pem"},
            {"key", path + ".key"},
            {"serial", serial_of(identity->leaf())},
            {"not_after", end_of(identity->leaf())}};
  print(options.json ? json_line(json)
                     : fmt::format("{} is {} until {}\n", printable(path) + ".pem", order->id.text(),
                                   end_of(identity->leaf())));
  return ExitCode::kSuccess;
}

// --- rotate

std::string_view name_of(Rotation rotation) {
  switch (rotation) {
    case Rotation::kRenewed:
      return "renewed";
    case Rotation::kFresh:
      return "fresh";
    case Rotation::kRevoked:
      return "revoked";
    case Rotation::kForeign:
      return "foreign";
  }
  return "";
}

/// What became of the identities of a directory.
struct Rotated {
  struct Row {
    std::string name, id, result, not_after;
  };
  std::vector<Row> rows;
  std::vector<Error> errors;
};

void rotate_one(const Options& options, const Workplace& place, const NamedIdentity& old, Rotated& rotated) {
  auto done = place.authority.rotate(options.out, old.name, old.identity, options.all, wall_now());
  if (!done) return rotated.errors.push_back(done.error());
  auto now = read_identity(options.out, old.name);
  if (!now) return rotated.errors.push_back(now.error());
  rotated.rows.push_back(
      {old.name, old.identity.id.text(), std::string(name_of(*done)), end_of(now->leaf())});
}

Expected<Rotated> rotate_all(const Options& options) {
  auto place = open_workplace(options);
  if (!place) return std::unexpected(place.error());
  if (auto renewed = place->authority.renew_crl(wall_now()); !renewed)
    return std::unexpected(renewed.error());
  if (auto published = place->authority.publish(options.out); !published)
    return std::unexpected(published.error());
  IdentityFiles files = read_identity_files(options.out);
  Rotated rotated{{}, std::move(files.errors)};
  for (const NamedIdentity& old : files.identities) rotate_one(options, *place, old, rotated);
  return rotated;
}

ExitCode rotate(const Options& options) {
  auto rotated = rotate_all(options);
  if (!rotated) return complain("svid rotate", rotated.error());
  Json list = Json::array();
  Table table({{"NAME"},
               {"ID", Align::kLeft, 20},
               {"RESULT", Align::kLeft, 7, false},
               {"UNTIL", Align::kLeft, 20, false}});
  for (const auto& [name, id, result, not_after] : rotated->rows) {
    list.push_back({{"name", name}, {"id", id}, {"result", result}, {"not_after", not_after}});
    table.add({name, id, result, not_after});
  }
  for (const Error& error : rotated->errors) complain("svid rotate", error);
  Screen screen = standard_output();
  print(options.json ? json_line({{"identities", std::move(list)}})
                     : table.render(screen.width, screen.colour));
  return rotated->errors.empty() ? ExitCode::kSuccess : ExitCode::kNo;
}

// --- revoke

Expected<std::vector<X509Ptr>> revoke_all(const Options& options) {
  auto place = open_workplace(options);
  if (!place) return std::unexpected(place.error());
  auto revoked = place->authority.revoke(options.who, wall_now());
  if (!revoked) return revoked;
  if (auto published = place->authority.publish(options.out); !published)
    return std::unexpected(published.error());
  return revoked;
}

ExitCode revoke(const Options& options) {
  auto revoked = revoke_all(options);
  if (!revoked) return complain("svid revoke", revoked.error());
  Json list = Json::array();
  std::string text;
  for (const X509Ptr& one : *revoked) {
    list.push_back({{"serial", serial_of(one.get())}, {"not_after", end_of(one.get())}});
    text += fmt::format("{} is revoked; it would have ended {}\n", serial_of(one.get()), end_of(one.get()));
  }
  print(options.json ? json_line({{"revoked", std::move(list)}}) : text);
  return ExitCode::kSuccess;
}

// --- the command line

using Carry = ExitCode (*)(const Options&);

CLI::App* add(CLI::App& group, Task& chosen, const std::shared_ptr<Options>& options, Carry carry,
              const char* name, const char* what, const std::string& example) {
  CLI::App* command = add_command(group, name, what, "bulkhead svid " + std::string(name) + " " + example);
  command->add_option("--authority", options->authority, "The authority's own directory")
      ->required()
      ->type_name("DIR");
  command->add_flag("--json", options->json, "Print a JSON object");
  command->callback([options, carry, &chosen] { chosen = [options, carry] { return carry(*options); }; });
  return command;
}

void add_out(CLI::App* command, const std::shared_ptr<Options>& options) {
  command->add_option("--out", options->out, "The directory of bundles/, crls/ and svids/")
      ->required()
      ->type_name("DIR");
}

}  // namespace

void add_svid(CLI::App& app, Task& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* group = add_command(app, "svid", "Mint, show and verify workloads' certificates (X.509-SVIDs)",
                                "bulkhead svid verify --svids /etc/bulkhead/svid peer.pem");
  group->require_subcommand(1);

  CLI::App* init_command = add(*group, chosen, options, init, "init", "Make an authority for a trust domain",
                               "--authority /root/ca --trust-domain corp.example");
  init_command->add_option("--trust-domain", options->trust_domain, "Whose IDs it will vouch for")
      ->required()
      ->type_name("NAME");

  CLI::App* mint_command =
      add(*group, chosen, options, mint, "mint", "Give a workload a key and an SVID",
          "--authority /root/ca --id spiffe://corp.example/web/7 --out /etc/bulkhead/svid");
  mint_command->add_option("--id", options->id, "spiffe://TRUST-DOMAIN/PATH")->required()->type_name("ID");
  add_out(mint_command, options);
  mint_command->add_option("--name", options->name, "The files' name; the ID's path otherwise")
      ->type_name("NAME");
  mint_command->add_option("--for", options->life, "How long it is good: 24h unless written")
      ->type_name("DURATION");

  CLI::App* rotate_command =
      add(*group, chosen, options, rotate, "rotate", "Renew the SVIDs whose life is half over",
          "--authority /root/ca --out /etc/bulkhead/svid");
  add_out(rotate_command, options);
  rotate_command->add_flag("--all", options->all, "All of the authority's, however fresh");

  CLI::App* revoke_command =
      add(*group, chosen, options, revoke, "revoke", "Revoke a workload's SVIDs, or one of them",
          "--authority /root/ca --out /etc/bulkhead/svid spiffe://corp.example/web/7");
  add_out(revoke_command, options);
  revoke_command->add_option("who", options->who, "Its ID (all of its SVIDs), or one's serial")
      ->required()
      ->type_name("ID|SERIAL");

  add_svid_show(*group, chosen);
  add_svid_verify(*group, chosen);
}

}  // namespace bulkhead
