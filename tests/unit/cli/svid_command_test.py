"""`bulkhead svid` as people and scripts run it, with OpenSSL's own tool as the other opinion. Usage:
svid_command_test.py PATH_OF_BULKHEAD"""

import json
import os
import pathlib
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest

BULKHEAD = os.path.abspath(sys.argv.pop(1))
WEB = "spiffe://corp.example/web/7"


def run(*arguments, **options):
    return subprocess.run([BULKHEAD, "svid", *map(str, arguments)], capture_output=True, text=True, timeout=60, **options)


def openssl(*arguments):
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60)


class Case(unittest.TestCase):
    """An authority of corp.example, and an empty directory to mint into."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = pathlib.Path(directory.name)
        self.ca, self.out = self.path / "ca", self.path / "svid"
        self.good("init", "--authority", self.ca, "--trust-domain", "corp.example")

    def good(self, *arguments):
        done = run(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def bad(self, code, says, *arguments):
        done = run(*arguments)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertIn(says, done.stderr)
        return done

    def mint(self, identity=WEB, *more):
        return json.loads(self.good("mint", "--authority", self.ca, "--id", identity, "--out", self.out, "--json", *more))

    def verify(self, *more, name="web-7"):
        return run("verify", "--svids", self.out, self.out / f"svids/{name}.pem", *more)

    def show(self):
        return json.loads(self.good("show", self.out, "--json"))


class Mint(Case):
    def test_openssl_verifies_what_is_minted(self):
        if not shutil.which("openssl"):
            self.skipTest("openssl isn't installed")
        minted = self.mint()
        bundle = self.out / "bundles/corp.example.pem"
        for purpose in ("sslserver", "sslclient"):
            done = openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile", bundle, minted["certificate"])
            self.assertEqual(done.returncode, 0, done.stderr)
        text = openssl("x509", "-in", minted["certificate"], "-noout", "-text").stdout
        for line in ("X509v3 Subject Alternative Name: critical\n                URI:" + WEB,
                     "X509v3 Basic Constraints: critical\n                CA:FALSE",
                     "X509v3 Key Usage: critical\n                Digital Signature\n",
                     "TLS Web Server Authentication, TLS Web Client Authentication", "ecdsa-with-SHA256", "prime256v1"):
            self.assertIn(line, text)
        text = openssl("x509", "-in", bundle, "-noout", "-text").stdout
        for line in ("CA:TRUE, pathlen:0", "Key Usage: critical\n                Certificate Sign, CRL Sign", "URI:spiffe://corp.example\n"):
            self.assertIn(line, text)
        self.assertEqual(openssl("pkey", "-in", minted["key"], "-noout", "-check").returncode, 0)

    def test_the_key_is_its_owners_alone(self):
        for key in (self.mint()["key"], self.ca / "ca.key"):
            self.assertEqual(stat.S_IMODE(os.stat(key).st_mode), 0o600)
            self.assertTrue(pathlib.Path(key).read_text().startswith("-----BEGIN PRIVATE KEY-----"))
        self.assertEqual(stat.S_IMODE(os.stat(self.ca).st_mode), 0o700)

    def test_json_has_the_promised_keys(self):
        minted = self.mint()
        self.assertEqual(list(minted), ["id", "name", "certificate", "key", "serial", "not_after"])
        self.assertEqual((minted["id"], minted["name"]), (WEB, "web-7"))
        self.assertEqual(list(json.loads(self.good("init", "--authority", self.path / "b", "--trust-domain", "b", "--json"))),
                         ["trust_domain", "authority", "serial", "not_after"])

    def test_what_is_wrong_on_the_command_line_is_usage(self):
        mint = ("mint", "--authority", self.ca, "--out", self.out)
        self.bad(2, "--id", *mint)
        self.bad(2, "'.' or '..'", *mint, "--id", "spiffe://corp.example/../x")
        self.bad(2, "names a trust domain", *mint, "--id", "spiffe://corp.example")
        self.bad(2, "--for: 'soon' isn't a duration", *mint, "--id", WEB, "--for", "soon")
        self.bad(2, "--name: '../x' can't be", *mint, "--id", WEB, "--name", "../x")
        self.bad(2, "--trust-domain", "init", "--authority", self.path / "b", "--trust-domain", "Corp")
        self.bad(2, "subcommand")
        self.bad(2, "Try: bulkhead svid mint --help", *mint, "--frobnicate")
        self.assertFalse(self.out.exists())

    def test_what_the_authority_will_not_do_is_no(self):
        mint = ("mint", "--authority", self.ca, "--out", self.out)
        self.bad(1, "no workload of this authority's trust domain", *mint, "--id", "spiffe://other.example/x")
        self.bad(1, "outlive its authority", *mint, "--id", WEB, "--for", "99999h")
        self.bad(1, "there is no authority in", "mint", "--authority", self.path / "none", "--out", self.out, "--id", WEB)
        self.bad(1, "holds an authority already", "init", "--authority", self.ca, "--trust-domain", "corp.example")
        self.assertFalse((self.path / "none").exists())

    def test_another_id_under_the_same_name_is_refused(self):
        self.mint()
        self.bad(1, f"is {WEB}'s; choose another --name", "mint", "--authority", self.ca, "--out", self.out, "--id", "spiffe://corp.example/web-7")
        self.assertEqual(self.verify().stdout, WEB + "\n")

    def test_help_has_an_example_for_each(self):
        for command in ("init", "mint", "rotate", "revoke", "show", "verify"):
            self.assertIn(f"Example: bulkhead svid {command}", self.good(command, "--help"))


class Verify(Case):
    def test_good_one_prints_its_id(self):
        self.mint()
        done = self.verify()
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, WEB + "\n", ""))

    def test_pattern_decides(self):
        self.mint()
        for pattern in (WEB, "spiffe://corp.example/web/*", "spiffe://corp.example/*"):
            self.assertEqual(self.verify("--id", pattern).returncode, 0)
        done = self.verify("--id", "spiffe://corp.example/db/*")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn(f"it is {WEB}, not spiffe://corp.example/db/*", done.stderr)
        self.assertEqual(self.verify("--id", "*").returncode, 2)

    def test_json_says_who_or_why_not(self):
        minted = self.mint()
        answer = json.loads(self.verify("--json").stdout)
        self.assertEqual(list(answer), ["id", "fault", "help", "meant", "expires", "serial", "sha256"])
        self.assertEqual((answer["id"], answer["fault"], answer["meant"], answer["serial"]), (WEB, None, True, minted["serial"]))
        os.unlink(self.out / "bundles/corp.example.pem")
        done = self.verify("--json")
        self.assertEqual(done.returncode, 1)
        answer = json.loads(done.stdout)
        self.assertEqual((answer["id"], answer["fault"], answer["meant"]), (None, "trust_domain_unknown", False))

    def test_another_authority_of_the_same_domain_is_not_trusted(self):
        self.mint()
        shutil.copytree(self.out, self.path / "old")
        self.good("init", "--authority", self.path / "second", "--trust-domain", "corp.example")
        self.good("mint", "--authority", self.path / "second", "--id", WEB, "--out", self.path / "new")
        done = run("verify", "--svids", self.out, self.path / "new/svids/web-7.pem")
        self.assertEqual(done.returncode, 1)
        self.assertIn("web-7.pem: chain_untrusted: no path leads to a CA", done.stderr)

    def test_certificates_that_openssl_made(self):
        """The CA signs for others with OpenSSL's tool; each differs from the first in one thing."""
        if not shutil.which("openssl"):
            self.skipTest("openssl isn't installed")
        self.mint()
        good = {"basicConstraints": "critical,CA:FALSE", "keyUsage": "critical,digitalSignature", "subjectAltName": f"URI:{WEB}",
                "authorityKeyIdentifier": "keyid:always"}
        key, request, config, certificate = (self.path / n for n in ("k", "r", "c", "leaf.pem"))

        def judged(extensions, *options, algorithm=("EC", "-pkeyopt", "ec_paramgen_curve:P-256")):
            openssl("genpkey", "-algorithm", *algorithm, "-out", key)
            config.write_text("[req]\ndistinguished_name=d\n[d]\n[x]\n" + "".join(f"{k}={v}\n" for k, v in extensions.items()))
            self.assertEqual(openssl("req", "-config", config, "-new", "-key", key, "-subj", "/CN=x", "-out", request).returncode, 0)
            done = openssl("x509", "-req", "-in", request, "-CA", self.ca / "ca.pem", "-CAkey", self.ca / "ca.key", "-set_serial", 7, "-days", 1,
                           "-extfile", config, "-extensions", "x", "-out", certificate, *options)
            self.assertEqual(done.returncode, 0, done.stderr)
            return json.loads(run("verify", "--svids", self.out, certificate, "--json").stdout)["fault"]

        self.assertIsNone(judged(good))
        for fault, change in (("uri_san_repeated", {"subjectAltName": f"URI:{WEB},URI:{WEB}8"}),
                              ("uri_san_missing", {"subjectAltName": "DNS:web.corp.example"}),
                              ("spiffe_id_invalid", {"subjectAltName": "URI:spiffe://corp.example/web/%37"}),
                              ("spiffe_id_without_path", {"subjectAltName": "URI:spiffe://corp.example"}),
                              ("leaf_is_ca", {"basicConstraints": "critical,CA:TRUE"}),
                              ("key_usage_not_critical", {"keyUsage": "digitalSignature"}),
                              ("key_usage_signs", {"keyUsage": "critical,digitalSignature,cRLSign"}),
                              ("extended_key_usage", {"extendedKeyUsage": "emailProtection"}),
                              ("critical_extension", {"1.3.6.1.4.1.55555.1": "critical,DER:0500"})):
            self.assertEqual(judged(good | change), fault)
        self.assertEqual(judged(good, "-sha1"), "signature_weak")
        self.assertEqual(judged(good, algorithm=("RSA", "-pkeyopt", "rsa_keygen_bits:1024")), "key_weak")
        self.assertIsNone(judged(good, algorithm=("RSA", "-pkeyopt", "rsa_keygen_bits:2048")))
        explicit = ("EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit")
        self.assertEqual(judged(good, algorithm=explicit), "key_weak")

    def test_file_that_is_no_certificate_is_told(self):
        self.mint()
        self.bad(1, "holds no PEM block", "verify", "--svids", self.out, self.empty())
        self.bad(1, "No such file", "verify", "--svids", self.out, self.path / "none.pem")

    def empty(self):
        path = self.path / "empty.pem"
        path.touch()
        return path


class Revoke(Case):
    def revoke(self, who):
        return json.loads(self.good("revoke", "--authority", self.ca, "--out", self.out, "--json", who))["revoked"]

    def test_revoked_by_id_and_openssl_agrees(self):
        minted = self.mint()
        self.assertEqual([one["serial"] for one in self.revoke(WEB)], [minted["serial"]])
        done = self.verify()
        self.assertEqual(done.returncode, 1)
        self.assertIn(": revoked: ", done.stderr)
        if shutil.which("openssl"):
            done = openssl("verify", "-crl_check", "-CAfile", self.out / "bundles/corp.example.pem", "-CRLfile", self.out / "crls/corp.example.pem",
                           minted["certificate"])
            self.assertIn("certificate revoked", done.stderr)

    def test_revoked_by_serial_leaves_the_next(self):
        first = self.mint()
        shutil.copy(first["certificate"], self.path / "first.pem")
        self.mint()
        self.revoke(first["serial"])
        self.assertEqual(self.verify().returncode, 0)
        self.assertIn("revoked", run("verify", "--svids", self.out, self.path / "first.pem").stderr)

    def test_directory_that_is_new_gets_the_crl_too(self):
        self.mint()
        self.revoke(WEB)
        self.good("mint", "--authority", self.ca, "--id", "spiffe://corp.example/db", "--out", self.path / "other")
        self.assertEqual((self.path / "other/crls/corp.example.pem").read_text(), (self.out / "crls/corp.example.pem").read_text())

    def test_unknown_one_is_no(self):
        self.mint()
        self.bad(1, "has issued no SVID with the ID or serial 'spiffe://corp.example/web'", "revoke", "--authority", self.ca, "--out", self.out,
                 "spiffe://corp.example/web")


class Rotate(Case):
    def rotate(self, *more):
        answer = json.loads(self.good("rotate", "--authority", self.ca, "--out", self.out, "--json", *more))
        return {one["name"]: one["result"] for one in answer["identities"]}

    def test_only_what_is_half_over_unless_all(self):
        before = self.mint(WEB, "--for", "1s")
        self.mint("spiffe://corp.example/db")
        self.assertEqual(self.rotate(), {"db": "fresh", "web-7": "renewed"}, "a second after a minute of skew is more than half over")
        after = self.show()["identities"][1]
        self.assertNotEqual(after["serial"], before["serial"])
        self.assertEqual(self.rotate("--all"), {"db": "renewed", "web-7": "renewed"})
        self.assertEqual(self.verify(name="db").returncode, 0)

    def test_revoked_ones_stay(self):
        self.mint()
        self.good("revoke", "--authority", self.ca, "--out", self.out, WEB)
        self.assertEqual(self.rotate("--all"), {"web-7": "revoked"})
        self.assertEqual(self.verify().returncode, 1)

    def test_broken_identity_is_told_and_the_others_are_renewed(self):
        self.mint()
        self.mint("spiffe://corp.example/db")
        os.chmod(self.out / "svids/db.key", 0o644)
        done = self.bad(1, "chmod 600", "rotate", "--authority", self.ca, "--out", self.out, "--all", "--json")
        self.assertEqual([one["name"] for one in json.loads(done.stdout)["identities"]], ["web-7"])


class Show(Case):
    def test_directory_in_json(self):
        self.mint()
        self.good("revoke", "--authority", self.ca, "--out", self.out, WEB)
        self.mint("spiffe://corp.example/db")
        shown = self.show()
        self.assertEqual(list(shown), ["identities", "bundles", "errors"])
        self.assertEqual([(one["name"], one["id"], one["state"]) for one in shown["identities"]],
                         [("db", "spiffe://corp.example/db", "good"), ("web-7", WEB, "revoked")])
        [bundle] = shown["bundles"]
        self.assertEqual((bundle["trust_domain"], bundle["authorities"][0]["ca"], bundle["crls"][0]["revoked"]), ("corp.example", True, 1))
        self.assertEqual(list(shown["identities"][0]),
                         ["name", "state", "id", "subject", "issuer", "serial", "not_before", "not_after", "key", "ca", "sha256"])

    def test_text_fits_and_names_everybody(self):
        self.mint()
        done = run("show", self.out, env=os.environ | {"COLUMNS": "90"})
        self.assertTrue(all(len(line) <= 90 for line in done.stdout.splitlines()), done.stdout)
        self.assertIn("web-7", done.stdout)
        self.assertIn("corp.example", done.stdout)

    def test_file_of_certificates_or_crls(self):
        minted = self.mint()
        shown = json.loads(self.good("show", minted["certificate"], "--json"))
        self.assertEqual((shown["certificates"][0]["id"], shown["crls"]), (WEB, []))
        self.good("revoke", "--authority", self.ca, "--out", self.out, WEB)
        shown = json.loads(self.good("show", self.out / "crls/corp.example.pem", "--json"))
        self.assertEqual((shown["certificates"], shown["crls"][0]["revoked"]), ([], 1))
        self.bad(1, "is 'PRIVATE KEY'", "show", minted["key"])

    def test_what_is_wrong_in_a_directory_is_no(self):
        minted = self.mint()
        os.chmod(minted["key"], 0o640)
        done = self.bad(1, "chmod 600", "show", self.out, "--json")
        self.assertEqual(len(json.loads(done.stdout)["errors"]), 1)


class AtTheSameTime(Case):
    def test_commands_take_turns(self):
        commands = [subprocess.Popen([BULKHEAD, "svid", "mint", "--authority", self.ca, "--id", f"spiffe://corp.example/w/{i}", "--out", self.out],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for i in range(8)]
        for command in commands:
            _, errors = command.communicate(timeout=60)
            self.assertEqual(command.returncode, 0, errors)
        self.assertEqual([one["state"] for one in self.show()["identities"]], ["good"] * 8)

    def test_revocations_at_the_same_time_are_all_kept(self):
        for i in range(4):
            self.mint(f"spiffe://corp.example/w/{i}")
        commands = [subprocess.Popen([BULKHEAD, "svid", "revoke", "--authority", self.ca, "--out", self.out, f"spiffe://corp.example/w/{i}"],
                                     stdout=subprocess.DEVNULL) for i in range(4)]
        self.assertEqual([command.wait(timeout=60) for command in commands], [0] * 4)
        self.assertEqual([one["state"] for one in self.show()["identities"]], ["revoked"] * 4)

    def test_kill_in_the_middle_leaves_a_whole_state(self):
        self.mint()
        chance = random.Random(7)
        killed = 0
        for _ in range(40):
            command = subprocess.Popen([BULKHEAD, "svid", "rotate", "--all", "--authority", self.ca, "--out", self.out],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.005, 0.06))
            command.send_signal(signal.SIGKILL)
            killed += command.wait(timeout=60) == -signal.SIGKILL
            self.assertEqual([one["state"] for one in self.show()["identities"]], ["good"])
        self.assertGreater(killed, 0)
        self.good("rotate", "--all", "--authority", self.ca, "--out", self.out)
        key = (self.out / "svids/web-7.key").read_text()
        self.assertEqual(key.count("BEGIN PRIVATE KEY"), 1)

    def test_full_disk_leaves_the_old_state(self):
        """A limit on the size of files stands for the disk."""
        before = self.mint()
        for limit in (0, 300, 700):
            def small():
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

            done = run("rotate", "--all", "--authority", self.ca, "--out", self.out, preexec_fn=small)
            self.assertEqual(done.returncode, 1)
            self.assertIn("can't be written", done.stderr)
            [shown] = self.show()["identities"]
            self.assertEqual((shown["serial"], shown["state"]), (before["serial"], "good"))


if __name__ == "__main__":
    result = unittest.main(argv=[sys.argv[0], *sys.argv[1:]], exit=False).result
    failed, skipped = len(result.failures) + len(result.errors), len(result.skipped)
    print(f"{result.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)
