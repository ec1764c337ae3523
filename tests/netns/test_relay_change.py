"""A relay whose SVIDs, trust, policy, link and process change under live connections."""
import os
import signal
import socket
import ssl
import subprocess
import time

import relay_contract as contract
import svids
from relay_contract import ENDED, ESTABLISHED, FAILED, ORIGINATE, TERMINATE
from relay_site import CLIENT, SERVER, USER, Listener, next_port
from test_relay_core import DB, ENDS, SEGMENTS, WEB, WORKLOADS, RelayTest, is_cut, is_reset, tls_context

AT_ONCE = 1.0  # seconds from a change to the end of what it forbids


class Withdrawn(RelayTest):
    """M12: each is the one thing that changes, and cuts one connection of two."""

    def setUp(self):
        super().setUp()
        self.other_web = self.authority.mint("web2", "web/2")

    def expect_cut(self, change, cut, kept, why):
        """`cut`, `kept`: (client, server, flow). The first is reset both ways within a second, the other lives."""
        c, s, flow = cut
        began = time.monotonic()
        change()
        proof = self.plane.proof(flow, ENDED)
        self.assertLess(time.monotonic() - began, AT_ONCE)
        self.assertEqual((proof.end, proof.detail), ("revoked", why))
        tls, plain = (c, s) if isinstance(c, ssl.SSLSocket) else (s, c)
        self.assertTrue(is_reset(plain))
        self.assertTrue(is_cut(tls))
        kept[0].sendall(b"still here")
        self.assertEqual(kept[1].recv(20), b"still here")

    def test_the_peers_svid_is_revoked(self):
        kept = self.open(TERMINATE, minted=self.other_web)
        cut = self.open(TERMINATE)
        crl = self.authority.revoke(self.web[0])
        self.expect_cut(lambda: self.hop.svids.revoked(self.authority, crl), cut, kept, f"{WEB}: revoked")

    def test_the_peers_trust_domain_is_removed(self):
        other = svids.Authority(self.site.directory / "other", "other.example")
        self.hop.svids.trust(other)
        self.hop.publish({**SEGMENTS, 100: ("web", ["spiffe://corp.example/web/*", "spiffe://other.example/web/*"], "")}, WORKLOADS)
        time.sleep(0.5)
        kept = self.open(TERMINATE)
        context = tls_context(False, self.authority, other.mint("web", "web/1"))
        cut = self.open_with(context)
        self.expect_cut(lambda: self.hop.svids.distrust(other), cut, kept, "spiffe://other.example/web/1: trust_domain_unknown")

    def open_with(self, context):
        """As open(TERMINATE), with a context of its own."""
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **ENDS)
        accepted = []
        with Listener(self.site.server, 7000, lambda peer, _: accepted.append(peer.dup())):
            tls = context.wrap_socket(self.site.connect(SERVER, 7000, port), suppress_ragged_eofs=False)
            self.addCleanup(tls.close)
            self.plane.proof(flow, ESTABLISHED)
            self.assert_soon(lambda: accepted)
        self.addCleanup(accepted[0].close)
        accepted[0].settimeout(5)
        return tls, accepted[0], flow

    def assert_soon(self, condition):
        end = time.monotonic() + 5
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)

    def test_policy_takes_the_peers_id_out_of_its_segment(self):
        kept = self.open(TERMINATE, minted=self.other_web, source=(100, 2))
        cut = self.open(TERMINATE, source=(100, 0))
        change = {**SEGMENTS, 100: ("web", ["spiffe://corp.example/web/2"], "")}
        self.expect_cut(lambda: self.hop.publish(change, {9: DB}), cut, kept, f"{WEB} does not belong to its segment any more")

    def test_the_own_svid_is_removed(self):
        kept = self.open(TERMINATE)
        cut = self.open(ORIGINATE)
        self.expect_cut(lambda: self.hop.svids.remove("web"), cut, kept, f"{WEB} is not the relay's to show any more")

    def test_policy_gives_the_workload_another_id(self):
        kept = self.open(TERMINATE)
        cut = self.open(ORIGINATE)
        change = {**WORKLOADS, 1: "spiffe://corp.example/web/new"}
        self.expect_cut(lambda: self.hop.publish(SEGMENTS, change), cut, kept, f"{WEB} is not the relay's to show any more")

    def test_hundreds_of_connections_within_a_second(self):
        with Listener(self.site.server, 7000, lambda peer, _: peer.recv(1)):
            flows = []
            for _ in range(250):
                port = next_port()
                flows.append(self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **ENDS))
                tls = tls_context(False, self.authority, self.web).wrap_socket(self.site.connect(SERVER, 7000, port))
                self.addCleanup(tls.close)
            self.assert_soon(lambda: sum(p.moment == ESTABLISHED for p in self.plane.proofs) == len(flows))
            crl = self.authority.revoke(self.web[0])
            before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            self.hop.svids.revoked(self.authority, crl)
            for flow in flows:
                self.assertEqual(self.plane.proof(flow, ENDED).end, "revoked")
            last = max(self.plane.proof(flow, ENDED).time_ns for flow in flows)
            self.assertLess(last - before, AT_ONCE * 1e9)


class Threads(RelayTest):
    options = ("--threads", "3")

    def test_all_workers_serve_and_all_judge_again(self):
        connections = [self.open(TERMINATE) for _ in range(24)]
        for number, (c, s, _) in enumerate(connections):
            c.sendall(b"%02d" % number)
            self.assertEqual(s.recv(2), b"%02d" % number)
        self.assertEqual(len(os.listdir(f"/proc/{self.hop.process.pid}/task")), 4)
        self.hop.publish({**SEGMENTS, 100: ("web", [], "")}, {9: DB})
        for _, _, flow in connections:
            self.assertEqual(self.plane.proof(flow, ENDED).end, "revoked")


class Resumption(RelayTest):
    """M11: a session is taken up only while its peer would be let in anew."""

    def connect(self, context, session=None):
        """(client's TLS socket, proof): the server says a word, so that tickets were read."""
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **ENDS)
        with Listener(self.site.server, 7000, lambda peer, _: peer.sendall(b"hello") or peer.recv(1)):
            tls = context.wrap_socket(self.site.connect(SERVER, 7000, port), session=session, suppress_ragged_eofs=False)
            self.addCleanup(tls.close)
            self.assertEqual(tls.recv(5), b"hello")
            return tls, self.plane.proof(flow, ESTABLISHED)

    def test_a_resumed_connection_has_proof_of_both_identities(self):
        context = tls_context(False, self.authority, self.web)
        first, proof = self.connect(context)
        self.assertEqual(proof.resumed, 0)
        second, again = self.connect(context, first.session)
        self.assertTrue(second.session_reused)
        self.assertEqual((again.resumed, again.peer_id, again.own_id, again.peer_certificate),
                         (1, WEB, DB, proof.peer_certificate))

    def test_after_revocation_it_is_refused(self):
        context = tls_context(False, self.authority, self.web)
        first, _ = self.connect(context)
        self.hop.svids.revoked(self.authority, self.authority.revoke(self.web[0]))
        time.sleep(0.5)
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **ENDS)
        with self.assertRaises((ssl.SSLError, ConnectionResetError)):
            context.wrap_socket(self.site.connect(SERVER, 7000, port), session=first.session, suppress_ragged_eofs=False).recv(1)
        proof = self.plane.proof(flow, FAILED)
        self.assertEqual((proof.end, proof.detail), ("svid_refused", "revoked"))

    def test_after_a_change_of_policy_it_is_refused(self):
        context = tls_context(False, self.authority, self.web)
        first, _ = self.connect(context)
        self.hop.publish({**SEGMENTS, 100: ("web", [], "")}, {9: DB})
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **{**ENDS, "source": (100, 0)})
        with self.assertRaises((ssl.SSLError, ConnectionResetError)):
            context.wrap_socket(self.site.connect(SERVER, 7000, port), session=first.session, suppress_ragged_eofs=False).recv(1)
        self.assertEqual(self.plane.proof(flow, FAILED).end, "identity_mismatch")

    def test_under_another_identity_it_is_a_full_handshake(self):
        """A ticket of the identity before its rotation can't be read."""
        context = tls_context(False, self.authority, self.web)
        first, _ = self.connect(context)
        self.hop.svids.add("db", self.authority.mint("db-again", "db/9"))
        time.sleep(0.5)
        second, proof = self.connect(context, first.session)
        self.assertFalse(second.session_reused)
        self.assertEqual(proof.resumed, 0)


class Rotation(RelayTest):
    def test_under_load_nobody_is_cut_and_new_connections_show_the_new_one(self):
        """One connection carries data all the time, others open one after the other, while the SVID changes ten times."""
        with self.nobody_is_cut(self.open(TERMINATE)) as shown:
            for number in range(10):
                self.hop.svids.add("db", self.authority.mint(f"db-{number}", "db/9"))
                time.sleep(0.3)
        self.assertGreaterEqual(len(set(shown)), 8)


class Restart(RelayTest):
    def test_kill_9_and_a_new_process_in_the_same_namespaces(self):
        c, s, _ = self.open(ORIGINATE)
        plain, tls = c, s
        self.hop.stop(signal.SIGKILL)
        self.assertTrue(is_cut(tls))
        self.assertTrue(is_reset(plain))  # a FIN would look like a clean end
        self.hop.start()
        self.assertEqual(self.hop.plane.generation, 0)
        self.assertEqual(self.hop.heard()[0], contract.STARTING)
        self.expect_reset(next_port())
        self.plane = self.hop.plane
        self.hop.publish(SEGMENTS, WORKLOADS)
        time.sleep(0.1)
        self.assertEqual(self.hop.heard(), (contract.READY, 0))
        c, s, _ = self.open(TERMINATE)
        c.sendall(b"again")
        self.assertEqual(s.recv(5), b"again")

    def test_the_link_goes_and_comes_back(self):
        _, _, flow = self.open(TERMINATE)
        self.hop.take_link()
        self.assertEqual(self.plane.proof(flow, ENDED).end, "link_lost")
        self.hop.give_link()
        time.sleep(0.3)
        self.assertEqual(self.hop.heard(), (contract.STARTING, 0))  # what generation 1 means the next dataplane says
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **ENDS)
        self.expect_reset(port)
        self.assertEqual(self.plane.proof(flow, FAILED).end, "generation_unknown")
        self.hop.publish(SEGMENTS, WORKLOADS)
        time.sleep(0.3)
        self.assertEqual(self.hop.heard(), (contract.READY, 0))
        c, s, _ = self.open(TERMINATE)
        c.sendall(b"again")
        self.assertEqual(s.recv(5), b"again")

    def test_somebody_reconfigures_the_link(self):
        """Set down and up, another MAC, ARP on: it is put right while connections live."""
        c, s, _ = self.open(TERMINATE)
        self.hop.in_relay("ip", "link", "set", "relay0", "arp", "on", "address", "02:00:00:00:00:77")
        self.hop.in_relay("ip", "link", "set", "relay0", "down")
        time.sleep(0.3)
        c.settimeout(15)
        s.settimeout(15)
        c.sendall(b"again")
        self.assertEqual(s.recv(5), b"again")
        self.open(ORIGINATE)

    def test_terminating_the_relay_ends_its_connections(self):
        _, s, _ = self.open(TERMINATE)
        self.hop.stop()
        self.assertTrue(is_reset(s))
        self.assertEqual(self.hop.process.returncode, 0)

    def test_the_control_plane_may_end_it(self):
        self.plane.shutdown()
        self.assertEqual(self.hop.process.wait(timeout=5), 0)


class Control(RelayTest):
    def test_one_control_plane_at_a_time_and_the_next_is_told_what_is_in_force(self):
        with self.assertRaisesRegex(contract.Refused, "a control plane is attached"):
            contract.ControlPlane(self.hop.socket)
        self.plane.close()
        self.hop.plane = None
        time.sleep(0.2)
        self.hop.attach()
        self.assertEqual((self.hop.plane.generation, self.hop.plane.state), (1, contract.READY))

    def test_identities_that_are_wrong_change_nothing(self):
        good = contract.identities(2, SEGMENTS, WORKLOADS)
        for content, generation, size, why in (
                (good, 3, None, "of another generation than they were announced with"),
                (good[:-1], 2, None, "their size is not the one in their header"),
                (good, 2, len(good) + 1, "bytes that was announced with"),
                (contract.identities(2, SEGMENTS, {1: "not an ID"}), 2, None, "workload 1: ")):
            with self.subTest(why=why), self.assertRaisesRegex(contract.Refused, why):
                self.plane.publish(content, generation, size)
        self.open(TERMINATE)  # generation 1
        self.plane.publish(good, 2)

    def test_generations_that_begin_anew_are_taken_and_what_lives_is_judged_by_them(self):
        """Both planes are started again beside a relay that lives on."""
        self.plane.publish(contract.identities(7, SEGMENTS, WORKLOADS), 7)
        kept, cut = self.open(TERMINATE, source=(100, 1), generation=7), self.open(TERMINATE, source=(100, 0), generation=7)
        self.plane.close()
        self.hop.attach()
        self.plane = self.hop.plane
        self.plane.publish(contract.identities(1, {**SEGMENTS, 100: ("web", [], "")}, WORKLOADS), 1)
        self.assertEqual(self.plane.proof(cut[2], ENDED).end, "revoked")
        kept[0].sendall(b"still here")
        self.assertEqual(kept[1].recv(20), b"still here")
        self.open(TERMINATE, generation=1)
        for generation in (2, 7):  # of before, or yet to come: they stand for nothing
            port = next_port()
            flow = self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **{**ENDS, "generation": generation})
            self.expect_reset(port)
            self.assertEqual(self.plane.proof(flow, FAILED).end, "generation_unknown")

    def test_what_is_no_message_ends_the_channel_and_not_the_relay(self):
        for packet in (b"x", b"\0" * 64, contract._HEADER.pack(1, 32, 16, 0), contract._HEADER.pack(1, 33, 32, 0) + b"\1" * 16):
            self.plane.send_raw(packet)
            self.plane.close()
            time.sleep(0.1)
            self.hop.attach()
            self.plane = self.hop.plane
        self.open(TERMINATE)

    def test_other_users_are_refused(self):
        """The relay's own, too: whoever took it over is nobody to the next one."""
        code = "import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\ns.connect(sys.argv[1])"
        self.plane.close()
        self.hop.plane = None
        os.chmod(self.hop.directory, 0o755)
        for user in (1234, USER):
            said = subprocess.run(["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "/usr/bin/python3", "-c", code,
                                   self.hop.socket], capture_output=True, text=True, timeout=10).stderr
            self.assertIn("PermissionError", said)
        self.hop.attach()

    def test_proofs_wait_for_a_control_plane(self):
        self.plane.close()
        self.hop.plane = None
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, 7999, ORIGINATE, **ENDS)
        self.expect_reset(port, port=7999)
        self.hop.attach()
        self.assertEqual(self.hop.plane.proof(flow, FAILED).end, "connect_failed")
