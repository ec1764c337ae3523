"""A relay that has its SVIDs from an agent of the SPIFFE Workload API, which is another implementation than ours."""
import json
import os
import pathlib
import signal
import subprocess
import time

import relay_contract as contract
import spiffe_agent
import svids
from harness import BUILD, DB as DB_HOST, EndToEnd
from mtls_site import MtlsGateway, MtlsSite
from relay_contract import ENDED, ESTABLISHED, FAILED, ORIGINATE, READY, STARTING, TERMINATE
from relay_site import AS_USER, CLIENT, SERVER, Listener, RelaySite, next_port
from spiffe_agent import der_of, raw_svid, response, svid
from test_relay_core import DB, ENDS, SEGMENTS, WEB, WORKLOADS, RelayTest, is_cut, is_reset, tls_context

FETCHER = BUILD / "dataplane" / "fetcher" / "bulkhead-svid-fetcher"
AT_ONCE = 1.0  # seconds from a message to the end of what it forbids
OTHER = "spiffe://other.example"
BOTH = {**SEGMENTS, 100: ("web", ["spiffe://corp.example/web/*", f"{OTHER}/web/*"], "")}


class WorkloadApiTest(RelayTest):
    """An agent, a fetcher and a relay, with SVIDs of web and db."""

    def setUp(self):
        self.site = RelaySite(self.hops)
        self.addCleanup(self.site.close)
        self.hop = self.site.hops[0]
        self.authority = svids.Authority(self.site.directory / "ca")
        self.bundle = der_of(self.authority.certificate)
        self.web, self.db = self.authority.mint("web", "web/1"), self.authority.mint("db", "db/9")
        self.agent_socket, self.said = self.site.directory / "agent.sock", self.site.directory / "said"
        self.svid_socket, self.fetcher_log = self.hop.directory / "svids.sock", self.site.directory / "fetcher.log"
        self.hop.svid_options = ("--svid-socket", str(self.svid_socket))
        self.hop.start()
        self.hop.publish(SEGMENTS, WORKLOADS)
        self.plane = self.hop.plane
        self.say()
        self.start_agent()
        self.start_fetcher()
        self.wait_for_sets(1)

    def tearDown(self):
        super().tearDown()
        if not self._outcome.success:
            print(self.fetcher_log.read_text()[-2000:])

    # --- processes

    def start_agent(self):
        self.agent_socket.unlink(missing_ok=True)
        self.agent = subprocess.Popen([spiffe_agent.__file__, self.agent_socket, self.said], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.addCleanup(self.end, self.agent)
        self.assertEqual(self.agent.stdout.readline(), b"serving\n")

    def start_fetcher(self):
        with open(self.fetcher_log, "a") as log:
            self.fetcher = subprocess.Popen([*AS_USER, FETCHER, "--agent", f"unix:{self.agent_socket}", "--relay", self.svid_socket],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(self.end, self.fetcher)

    @staticmethod
    def end(process):
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()

    # --- what the agent says

    def own(self, web=True, db=True):
        return [svid(spiffe_id, minted, self.bundle) for wanted, spiffe_id, minted in ((web, WEB, self.web), (db, DB, self.db)) if wanted]

    def say(self, message=None):
        """From now on the agent says this, to all that listen."""
        fresh = self.said.with_suffix(".new")
        fresh.write_bytes(self.message() if message is None else message)
        os.rename(fresh, self.said)

    def message(self, **more):
        return response(self.own(), **more)

    # --- what comes of it

    def wait_for_log(self, line, times=1, log=None):
        log = log or self.hop.log
        end = time.monotonic() + 10
        while log.read_text().count(line) < times:
            self.assertLess(time.monotonic(), end, f"{line!r} isn't in {log.read_text()}")
            time.sleep(0.01)

    def wait_for_sets(self, times, line="the agent has 2 SVIDs"):
        """Until the relay took so many, and works by the last."""
        self.wait_for_log(line, times)
        time.sleep(0.3)

    def expect_cut(self, change, cut, kept, why):
        """`cut`, `kept`: (client, server, flow). The first is reset both ways within a second, the other lives."""
        began = time.monotonic()
        change()
        proof = self.plane.proof(cut[2], ENDED)
        self.assertLess(time.monotonic() - began, AT_ONCE)
        self.assertEqual((proof.end, proof.detail), ("revoked", why))
        if kept:
            self.expect_alive(kept)

    def expect_alive(self, connection):
        connection[0].sendall(b"still here")
        self.assertEqual(connection[1].recv(20), b"still here")

    def open_with(self, authority, minted):
        """As open(TERMINATE), with a peer of another authority."""
        context = tls_context(False, self.authority, minted)
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **{**ENDS, "source": (100, 0)})
        with Listener(self.site.server, 7000, lambda peer, _: peer.recv(1)):
            tls = context.wrap_socket(self.site.connect(SERVER, 7000, port), suppress_ragged_eofs=False)
            self.addCleanup(tls.close)
            self.plane.proof(flow, ESTABLISHED)
        return tls, None, flow


class FirstSet(WorkloadApiTest):
    def test_both_roles_show_what_the_agent_has(self):
        for role, own in ((TERMINATE, DB), (ORIGINATE, WEB)):
            connection = self.open(role)
            self.expect_alive(connection)
            self.assertEqual(self.plane.proof(connection[2], ESTABLISHED).own_id, own)

    def test_the_fetcher_has_next_to_no_rights(self):
        status = pathlib.Path(f"/proc/{self.fetcher.pid}/status").read_text()
        for line in ("NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"):
            self.assertIn(line, status)
        self.assertEqual(os.stat(f"/proc/{self.fetcher.pid}/mem").st_uid, 0)  # root's: it isn't dumpable

    def test_the_fetcher_is_refused_all_that_it_may_not(self):
        done = subprocess.run([*AS_USER, FETCHER, "--agent", f"unix:{self.agent_socket}", "--relay", self.svid_socket, "--check-confinement"],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("connect elsewhere: Operation not permitted\n", done.stdout)
        self.assertNotIn("NOT REFUSED", done.stdout)

    def test_the_relay_links_no_grpc(self):
        maps = pathlib.Path(f"/proc/{self.hop.process.pid}/maps").read_text()
        self.assertIn("libprotobuf-lite", maps)
        self.assertNotIn("grpc", maps)

    def test_somebody_else_has_nothing_to_say(self):
        """Not even root."""
        kept = self.open(TERMINATE)
        with contract.socket.socket(contract.socket.AF_UNIX, contract.socket.SOCK_SEQPACKET) as s:
            s.connect(str(self.svid_socket))
            withdraw = contract._HEADER.pack(contract._CONTRACT_VERSION, 37, 32, 0) + (0).to_bytes(8, "little") + (1).to_bytes(4, "little") + bytes(4)
            try:
                s.send(withdraw)
            except (BrokenPipeError, ConnectionResetError):
                pass
            self.wait_for_log("somebody else than the relay's own user offered SVIDs")
        time.sleep(0.5)
        self.expect_alive(kept)
        self.open(ORIGINATE)


class Rotation(WorkloadApiTest):
    def test_every_second_under_load_nobody_is_cut(self):
        """One connection of each role carries data all the time, others open one after the other, while both SVIDs change."""
        with self.nobody_is_cut(self.open(TERMINATE), self.open(ORIGINATE)) as shown:
            for number in range(8):
                began = time.monotonic()
                self.db = self.authority.mint(f"db-{number}", "db/9")
                self.web = self.authority.mint(f"web-{number}", "web/1")
                self.say()
                time.sleep(max(0, began + 1 - time.monotonic()))
        self.assertGreaterEqual(len(set(shown)), 8)


class Withdrawal(WorkloadApiTest):
    def test_of_one_svid_ends_its_connections(self):
        kept, cut = self.open(TERMINATE), self.open(ORIGINATE)
        self.expect_cut(lambda: self.say(response(self.own(web=False))), cut, kept, f"{WEB} is not the relay's to show any more")
        self.assertTrue(is_reset(cut[0]))
        self.assertTrue(is_cut(cut[1]))

    def test_of_all_ends_all(self):
        """PermissionDenied (§5.2.1), and a new set afterwards."""
        one, other = self.open(TERMINATE), self.open(ORIGINATE)
        self.said.unlink()
        self.agent.kill()  # the stream ends; the next is refused
        self.agent.wait()
        self.start_agent()
        for connection in (one, other):
            self.assertEqual(self.plane.proof(connection[2], ENDED).end, "revoked")
        self.wait_for_log("the agent grants no SVID any more: none is in force")
        self.wait_for_log("grants this user no SVID (code 7, no identity issued); register it there", log=self.fetcher_log)
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, 7000, ORIGINATE, **ENDS)
        self.expect_reset(port)
        self.assertEqual(self.plane.proof(flow, FAILED).end, "svid_missing")
        self.say()
        self.wait_for_sets(2)
        self.open(ORIGINATE)

    def test_in_the_middle_of_a_stream(self):
        one = self.open(TERMINATE)
        self.expect_cut(self.said.unlink, one, None, f"{WEB}: trust_domain_unknown")

    def test_of_a_peer_by_crl(self):
        second = self.authority.mint("web2", "web/2")
        kept, cut = self.open(TERMINATE, minted=second, source=(100, 0)), self.open(TERMINATE)
        crl = der_of(self.authority.revoke(self.web[0]))
        self.expect_cut(lambda: self.say(self.message(crls=[crl])), cut, kept, f"{WEB}: revoked")


class Bundles(WorkloadApiTest):
    def test_another_ca_ends_those_of_the_old_one(self):
        """Both CAs first, as a rotation does; then the new one alone."""
        fresh = svids.Authority(self.site.directory / "fresh")
        cut = self.open(TERMINATE)
        old = self.bundle
        self.bundle = old + der_of(fresh.certificate)
        self.say()
        self.wait_for_sets(2)
        kept = self.open_with(fresh, fresh.mint("web", "web/3"))
        self.expect_alive(cut)
        self.bundle = der_of(fresh.certificate)
        self.expect_cut(self.say, cut, None, f"{WEB}: chain_untrusted")
        self.assertEqual([p for p in self.plane.proofs if p.flow_id == kept[2] and p.moment == ENDED], [])

    def test_a_federated_one_comes_and_goes(self):
        other = svids.Authority(self.site.directory / "other", "other.example")
        self.hop.publish(BOTH, WORKLOADS)
        kept = self.open(TERMINATE)
        self.say(self.message(federated={OTHER: der_of(other.certificate)}))
        self.wait_for_sets(1, "the agent has 2 SVIDs and 2 trust domains")
        cut = self.open_with(other, other.mint("web", "web/1"))
        self.expect_cut(self.say, cut, kept, f"{OTHER}/web/1: trust_domain_unknown")

    def test_a_foreign_one_that_is_wrong_leaves_out_that_domain_alone(self):
        self.db = self.authority.mint("db-again", "db/9")
        self.say(self.message(federated={OTHER: b"\x30\x03abc"}))
        self.wait_for_log("not trusted: the bundle of other.example: certificate 1 can't be read as DER")
        self.wait_for_sets(2, "the agent has 2 SVIDs and 1 trust domains")
        self.open(TERMINATE)


class Large(WorkloadApiTest):
    """A set of thousands takes seconds to read, but only once."""

    def test_no_heartbeat_is_late_and_the_next_set_works_at_once(self):
        self.web = self.authority.mint("web-again", "web/1")
        many = [svid(WEB, self.web, self.bundle)] * 2000
        kept, cut = self.open(ORIGINATE), self.open(TERMINATE)
        self.hop.heard()
        beats = [time.monotonic()]
        self.say(response([*self.own(), *many]))
        while self.hop.log.read_text().count("the agent has 2 SVIDs") < 2:
            self.hop.heartbeats.recv(100)
            beats.append(time.monotonic())
        self.assertGreater(beats[-1] - beats[0], 0.5, "too little to tell")
        self.assertLess(max(later - earlier for earlier, later in zip(beats, beats[1:])), 0.25)  # or the relay counts as gone
        self.expect_cut(lambda: self.say(response([*self.own(db=False), *many])), cut, kept, f"{DB} is not the relay's to show any more")


class Away(WorkloadApiTest):
    def test_agent_killed_and_back(self):
        kept, cut = self.open(TERMINATE), self.open(ORIGINATE)
        self.agent.kill()
        self.agent.wait()
        self.wait_for_log("can't be heard", log=self.fetcher_log)
        time.sleep(2)
        self.expect_alive(kept)
        self.expect_alive(cut)
        self.open(TERMINATE)  # what it said last is in force
        self.say(response(self.own(web=False)))
        self.start_agent()
        self.assertEqual(self.plane.proof(cut[2], ENDED, timeout=8).end, "revoked")
        self.expect_alive(kept)
        self.say()
        self.wait_for_sets(2)

    def test_fetcher_killed_and_back(self):
        kept, cut = self.open(TERMINATE), self.open(ORIGINATE)
        self.end(self.fetcher)
        self.say(response(self.own(web=False)))
        time.sleep(1)
        self.expect_alive(kept)
        self.expect_alive(cut)
        self.start_fetcher()
        self.assertEqual(self.plane.proof(cut[2], ENDED).end, "revoked")
        self.expect_alive(kept)

    def test_a_relay_isn_t_ready_before_the_first_set(self):
        """So that new connections wait, and none is refused for want of an SVID that is on its way."""
        self.end(self.fetcher)
        self.hop.stop(signal.SIGKILL)
        self.hop.start()
        self.plane = self.hop.plane
        self.hop.publish(SEGMENTS, WORKLOADS)
        time.sleep(0.3)
        self.assertEqual(self.hop.heard()[0], STARTING)
        self.start_fetcher()
        self.wait_for_sets(1)
        self.assertEqual(self.hop.heard()[0], READY)
        self.open(TERMINATE)

    def test_a_relay_that_is_started_again_has_its_svids_while_the_agent_is_away(self):
        self.end(self.agent)
        self.hop.stop(signal.SIGKILL)
        self.hop.start()
        self.plane = self.hop.plane
        self.hop.publish(SEGMENTS, WORKLOADS)
        self.wait_for_sets(1)
        self.open(TERMINATE)


class Malformed(WorkloadApiTest):
    """Each changes nothing, and the log says what is wrong with it."""

    def test_sets_that_are_wrong(self):
        standing = [self.open(TERMINATE), self.open(ORIGINATE)]
        chain, key = der_of(self.db[0]), der_of(self.db[1])
        junk = bytes(range(1, 200))
        for message, why in (
                (response([raw_svid(DB, chain, der_of(self.web[1]), self.bundle)]),
                 f"SVID 1 of 1 ('{DB}'): x509_svid: the private key isn't the first certificate's"),
                (response([]), "it holds no SVID"),
                (b"\xff" * 100, "it isn't an X509SVIDResponse"),
                (response([raw_svid(DB, junk, key, self.bundle)]), "x509_svid: certificate 1 can't be read as DER"),
                (response([raw_svid(DB, chain + junk, key, self.bundle)]), "x509_svid: certificate 2 can't be read as DER"),
                (response([raw_svid(DB, chain, junk, self.bundle)]), "x509_svid_key: can't be read as DER of a PKCS#8 key"),
                (response([raw_svid(DB, chain, key, junk)]), "the bundle of corp.example: certificate 1 can't be read as DER"),
                (response([raw_svid(DB, chain, key, b"")]), "the bundle of corp.example: holds no certificate"),
                (response([raw_svid(WEB, chain, key, self.bundle)]), f"x509_svid: its certificate is of {DB}"),
                (response([raw_svid("", chain, key, self.bundle)]), "spiffe_id: "),
                (response([*self.own(), raw_svid(DB, b"", key, self.bundle)]), "SVID 3 of 3 "),
                (self.message(crls=[junk]), "crl 1: can't be read as DER of a CRL"),
                (response([raw_svid(DB, chain * 100, key, self.bundle)]), "chain_too_"),
                (bytes(33 << 20), "")):
            with self.subTest(why=why or len(message)):
                before = self.hop.log.read_text()
                heard = self.fetcher_log.read_text()
                self.say(message)
                if why:
                    self.wait_for_log("what the agent sent changes nothing: ", before.count("changes nothing: ") + 1)
                    self.assertIn(why, self.hop.log.read_text()[len(before):])
                else:  # it never gets to the relay
                    self.wait_for_log("can't be heard", heard.count("can't be heard") + 1, self.fetcher_log)
                self.say()
                self.wait_for_log("the agent has 2 SVIDs", before.count("the agent has 2 SVIDs") + 1)
                time.sleep(0.15)  # the relay writes 20 lines a second, and only counts others
        for connection in standing:
            self.expect_alive(connection)
        self.assertEqual([p for p in self.plane.proofs if p.moment == ENDED], [])


    def test_a_relay_that_is_slow_gets_the_latest_alone(self):
        """So that no more than one message is on its way, however many come."""
        cut = self.open(ORIGINATE)
        before = self.hop.log.read_text().count("the agent has")
        self.hop.process.send_signal(signal.SIGSTOP)
        for number in range(6):
            self.db = self.authority.mint(f"db-{number}", "db/9")
            self.say(response(self.own(web=number < 5)))
            time.sleep(0.2)
        self.hop.process.send_signal(signal.SIGCONT)
        self.assertEqual(self.plane.proof(cut[2], ENDED).end, "revoked")
        self.assertLessEqual(self.hop.log.read_text().count("the agent has") - before, 2)


class Wrong(WorkloadApiTest):
    def test_a_relay_of_another_user_gets_no_keys(self):
        """The path is open to others here; a fetcher asks who listens."""
        self.end(self.fetcher)
        self.hop.stop(signal.SIGKILL)
        self.svid_socket.unlink()
        with contract.socket.socket(contract.socket.AF_UNIX, contract.socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(self.svid_socket))
            os.chmod(self.svid_socket, 0o777)
            listener.listen()
            listener.settimeout(5)
            self.start_fetcher()
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(5)
                self.assertEqual(peer.recv(100), b"")
        self.wait_for_log("private keys go to no other user than this", log=self.fetcher_log)

    def test_usage(self):
        for options, says in (((), "--agent unix:/PATH is missing"),
                              (("--agent", "/x"), "--agent unix:/PATH is missing"),
                              (("--agent", "unix:/x"), "--relay SOCKET is missing"),
                              (("--agent", "unix:/x", "--relay", "/y", "z"), "unexpected argument 'z'")):
            done = subprocess.run([*AS_USER, FETCHER, *options], capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, options)
            self.assertIn(says, done.stderr)
        done = subprocess.run([*AS_USER, FETCHER, "--agent", f"unix:/{'x' * 107}", "--relay", "/y"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("a socket's path has 1 to 107 bytes", done.stderr)
        done = subprocess.run([FETCHER, "--agent", "unix:/x", "--relay", "/y"], capture_output=True, text=True)
        self.assertIn("must not run as root", done.stderr)


class Gateways(EndToEnd):
    """Two whole gateways as `bulkhead run` starts them, each with an agent on its host."""

    policy = "policies: [{name: cache, from: web, to: db, allow: [tcp/6379], mtls: relay}]"

    def start(self, half, place, name):
        agent, said = half.directory / "agent.sock", half.directory / "said"
        minted = place.authority.mint(f"{name}-by-agent", f"{name}/relay")
        said.write_bytes(response([svid(f"spiffe://corp.example/{name}/relay", minted, der_of(place.authority.certificate))]))
        process = subprocess.Popen([spiffe_agent.__file__, agent, said], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.addCleanup(WorkloadApiTest.end, process)
        self.assertEqual(process.stdout.readline(), b"serving\n")
        half.svid_source = f'workload_api: "unix:{agent}"'
        gateway = MtlsGateway(half, self.policy).start()
        self.assert_within(10, lambda: "the agent has 1 SVIDs and 1 trust domains" in gateway.log(), gateway.log)
        time.sleep(0.3)
        return gateway

    def test_what_goes_between_them_shows_the_agents_svids(self):
        place = MtlsSite()
        self.addCleanup(place.close)
        place.db.popen("redis-server", "--port", "6379", "--bind", "0.0.0.0", "::", "--protected-mode", "no", "--save", "",
                       "--dir", place.directory)
        gateways = [self.start(place.a, place, "web"), self.start(place.b, place, "db")]
        self.assert_within(10, lambda: place.db.run("redis-cli", "ping", check=False).returncode == 0, "redis didn't start")
        done = place.web.run("redis-cli", "-h", DB_HOST.address, "SET", "key", "value", check=False, timeout=10)
        logs = "\n".join(gateway.log() for gateway in gateways)
        self.assertEqual(done.stdout.strip(), "OK", f"{done.stderr}\n{logs}")
        for gateway in gateways:
            def proofs():
                return [line for line in map(json.loads, gateway.flow_log.read_text().splitlines()) if line["event"] == "mtls"]
            self.assert_within(5, proofs, gateway.log)
            self.assertEqual((proofs()[0]["src_svid"], proofs()[0]["dst_svid"]),
                             ("spiffe://corp.example/web/relay", "spiffe://corp.example/db/relay"))
        self.kill_fetchers(gateways)
        done = place.web.run("redis-cli", "-h", DB_HOST.address, "GET", "key", check=False, timeout=10)
        self.assertEqual(done.stdout.strip(), "value", "\n".join(gateway.log() for gateway in gateways))

    def kill_fetchers(self, gateways):
        """Each is started again, and hands over what the agent has."""
        for gateway in gateways:
            sets = gateway.log().count("the agent has 1 SVIDs")
            pids = subprocess.run(["pgrep", "-f", f"bulkhead-svid-fetcher.*{gateway.site.directory}"], capture_output=True, text=True).stdout.split()
            self.assertEqual(len(pids), 1, gateway.log())
            os.kill(int(pids[0]), signal.SIGKILL)
            self.assert_within(10, lambda: gateway.log().count("the agent has 1 SVIDs") > sets, gateway.log)
            self.assertIn("the svid-fetcher died (killed by signal 9 (KILL)); starting it again in", gateway.log())
