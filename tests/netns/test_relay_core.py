"""The relay by itself: TLS on the one side, plain on the other, with the client's and the server's own addresses on both."""
import contextlib
import hashlib
import os
import pathlib
import socket
import ssl
import struct
import threading
import time
import unittest

import relay_contract as contract
import svids
from relay_contract import ENDED, ESTABLISHED, FAILED, ORIGINATE, TERMINATE
from relay_site import CLIENT, CLIENT6, RELAY, SERVER, SERVER6, Listener, RelaySite, next_port

WEB, DB = "spiffe://corp.example/web/1", "spiffe://corp.example/db/9"
SEGMENTS = {100: ("web", ["spiffe://corp.example/web/*"], ""), 200: ("db", ["spiffe://corp.example/db/*"], "")}
WORKLOADS = {1: WEB, 9: DB}
_IGNORE_UNEXPECTED_EOF = 1 << 7  # SSL_OP_IGNORE_UNEXPECTED_EOF
ENDS = {"source": (100, 1), "destination": (200, 9)}


def own_client(server):
    return CLIENT6 if ":" in server else CLIENT


def tls_context(server_side, authority, minted=None):
    """A peer's: it verifies with the authority, not the host name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options &= ~_IGNORE_UNEXPECTED_EOF  # Python takes a FIN for close_notify otherwise
    context.load_verify_locations(authority.certificate)
    if minted:
        context.load_cert_chain(*minted)
    return context


def uri_of(tls):
    return [value for kind, value in tls.getpeercert()["subjectAltName"] if kind == "URI"]


def read_all(s):
    pieces = []
    while piece := s.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def is_reset(s):
    """Whether reading ends with a reset, and not with an end."""
    try:
        s.settimeout(5)
        while s.recv(65536):
            pass
        return False
    except ConnectionResetError:
        return True


def is_cut(tls):
    """Whether a TLS connection ends without close_notify: a reset, that is (Python's ssl says EOF to both)."""
    try:
        while tls.recv(65536):
            pass
        return False
    except (ssl.SSLEOFError, ConnectionResetError):
        return True


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


class RelayTest(unittest.TestCase):
    """One relay, an authority, and SVIDs of web and db at hand."""

    hops = ("r1",)
    options = ()

    def setUp(self):
        self.site = RelaySite(self.hops)
        self.addCleanup(self.site.close)
        self.hop = self.site.hops[0]
        self.authority = svids.Authority(self.site.directory / "ca")
        self.web, self.db = self.authority.mint("web", "web/1"), self.authority.mint("db", "db/9")
        for hop in self.site.hops:
            hop.svids.trust(self.authority)
            hop.svids.add("web", self.web)
            hop.svids.add("db", self.db)
            hop.start(*self.options)
            hop.publish(SEGMENTS, WORKLOADS)
        self.plane = self.hop.plane

    def tearDown(self):
        result = self._outcome.result
        if any(test is self for test, _ in result.failures + result.errors):  # what the relay said is part of what went wrong
            for hop in self.site.hops:
                print(hop.log.read_text()[-4000:])

    # --- both roles, as one: what is sent through on each side

    def open(self, role, server=SERVER, port=7000, minted=None, timeout=10, **changes):
        """(client's socket, server's socket, flow): TLS on the side that the role says, with the peer's SVID. The server's is a listener's."""
        client_port = next_port()
        announced = {**ENDS, **changes}
        flow = self.hop.announce(own_client(server), client_port, server, port, role, **announced)
        accepted = []
        arrived = threading.Event()

        def serve(peer, address):
            accepted.append((peer.dup(), address))
            arrived.set()

        with Listener(self.site.server, port, serve):
            c = self.site.connect(server, port, client_port, timeout)
            self.addCleanup(c.close)
            if role == TERMINATE:
                c = tls_context(False, self.authority, minted or self.web).wrap_socket(c, suppress_ragged_eofs=False)
                self.addCleanup(c.close)
            self.assertTrue(arrived.wait(timeout), "nobody came to the server")
            s, address = accepted[0]
            s.settimeout(timeout)
            self.addCleanup(s.close)
            self.assertEqual(address[:2], (f"::ffff:{CLIENT}" if server == SERVER else CLIENT6, client_port))
            if role == ORIGINATE:
                s = tls_context(True, self.authority, minted or self.db).wrap_socket(s, server_side=True, suppress_ragged_eofs=False)
                self.addCleanup(s.close)
        self.plane.proof(flow, ESTABLISHED)
        return c, s, flow

    @contextlib.contextmanager
    def nobody_is_cut(self, *standing):
        """Meanwhile connections of open() carry data all the time, and others open one after the other. Gives the list of the serial numbers
        of the certificates that those are shown, as it grows."""
        stop, failures, shown = threading.Event(), [], []

        def echo(c, s, _):
            while not stop.is_set():
                c.sendall(b"tick")
                assert s.recv(4) == b"tick", "it ended"

        def open_others():
            with Listener(self.site.server, 7001, lambda peer, _: peer.sendall(b"hi") or peer.recv(1)):
                while not stop.is_set():
                    port = next_port()
                    self.hop.announce(CLIENT, port, SERVER, 7001, TERMINATE, **ENDS)
                    with tls_context(False, self.authority, self.web).wrap_socket(self.site.connect(SERVER, 7001, port)) as tls:
                        assert tls.recv(2) == b"hi"
                        shown.append(tls.getpeercert()["serialNumber"])

        def told(what, function, *arguments):
            try:
                function(*arguments)
            except Exception as error:
                failures.append(f"{what}: {error!r}")

        threads = [threading.Thread(target=told, args=("a standing connection", echo, *one)) for one in standing]
        threads.append(threading.Thread(target=told, args=("a new connection", open_others)))
        for thread in threads:
            thread.start()
        try:
            yield shown
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])
        self.assertEqual([p for p in self.plane.proofs if p.end == "revoked"], [])

    def expect_reset(self, client_port, server=SERVER, port=7000):
        """A connection is accepted and reset, which may be seen already by who makes it."""
        try:
            with self.site.connect(server, port, client_port) as c:
                self.assertTrue(is_reset(c))
        except ConnectionResetError:
            pass


class Roles(RelayTest):
    def expect_exchange(self, role, server):
        c, s, flow = self.open(role, server)
        c.sendall(b"ask")
        self.assertEqual(s.recv(10), b"ask")
        s.sendall(b"answer")
        self.assertEqual(c.recv(10), b"answer")
        self.assertEqual(c.getpeername()[:2], (server, 7000))
        proof = self.plane.proof(flow, ESTABLISHED)
        own, peer = (WEB, DB) if role == ORIGINATE else (DB, WEB)
        self.assertEqual((proof.own_id, proof.peer_id, proof.role), (own, peer, role))
        self.assertEqual(proof.tls_version, 0x0304)
        self.assertIn(proof.cipher, (0x1301, 0x1302, 0x1303))
        fingerprints = {WEB: self.web, DB: self.db}
        for certificate, id in ((proof.own_certificate, own), (proof.peer_certificate, peer)):
            der = ssl.PEM_cert_to_DER_cert(pathlib.Path(fingerprints[id][0]).read_text())
            self.assertEqual(certificate, hashlib.sha256(der).hexdigest())
        self.assertEqual(uri_of(s if role == ORIGINATE else c), [own])
        plain, tls = (c, s) if role == ORIGINATE else (s, c)
        plain.shutdown(socket.SHUT_WR)
        self.assertEqual(tls.recv(10), b"")  # close_notify
        tls.unwrap()
        self.assertEqual(plain.recv(10), b"")
        ended = self.plane.proof(flow, ENDED)
        self.assertEqual((ended.end, ended.bytes_from_client, ended.bytes_from_server), ("closed", 3, 6))

    def test_originate_ipv4(self):
        self.expect_exchange(ORIGINATE, SERVER)

    def test_originate_ipv6(self):
        self.expect_exchange(ORIGINATE, SERVER6)

    def test_terminate_ipv4(self):
        self.expect_exchange(TERMINATE, SERVER)

    def test_terminate_ipv6(self):
        self.expect_exchange(TERMINATE, SERVER6)


class Ends(RelayTest):
    """M15: what ends one leg ends the other in the same way."""

    def tls_and_plain(self, role):
        c, s, flow = self.open(role)
        return (c, s, flow) if role == TERMINATE else (s, c, flow)

    def test_half_close_of_the_plain_side(self):
        """After it is done it still hears what the TLS side says."""
        for role in (ORIGINATE, TERMINATE):
            with self.subTest(role=role):
                tls, plain, flow = self.tls_and_plain(role)
                plain.sendall(b"all of it")
                plain.shutdown(socket.SHUT_WR)
                self.assertEqual(read_all(tls), b"all of it")
                tls.sendall(b"late" * 1000)
                tls.unwrap()
                self.assertEqual(read_all(plain), b"late" * 1000)
                self.assertEqual(self.plane.proof(flow, ENDED).end, "closed")

    def test_half_close_of_the_tls_side(self):
        """Its close_notify is a FIN to the plain side, whose words still arrive. Python's ssl reads no more after its own close_notify: openssl
        does."""
        for role in (ORIGINATE, TERMINATE):
            with self.subTest(role=role):
                tls, plain, flow = self.tls_and_plain(role)
                plain.settimeout(5)
                tls.settimeout(0.2)
                tls.sendall(b"done")
                with self.assertRaises((TimeoutError, ssl.SSLError)):
                    tls.unwrap()  # close_notify is sent; the other one doesn't come yet
                self.assertEqual(read_all(plain), b"done")
                time.sleep(0.2)
                self.assertEqual([p for p in self.plane.proofs if p.flow_id == flow and p.moment == ENDED], [])
                plain.sendall(b"heard")
                plain.close()
                self.assertEqual(self.plane.proof(flow, ENDED).end, "closed")

    def test_tls_that_ends_without_close_notify_is_no_clean_end(self):
        for role in (ORIGINATE, TERMINATE):
            with self.subTest(role=role):
                tls, plain, flow = self.tls_and_plain(role)
                plain.sendall(b"go on")
                self.assertEqual(tls.recv(5), b"go on")  # and the session's tickets before it: what is unread would be a reset
                tls.sendall(b"half of")
                self.assertEqual(plain.recv(7), b"half of")
                socket.socket(fileno=tls.detach()).close()  # FIN alone
                self.assertTrue(is_reset(plain))
                self.assertEqual(self.plane.proof(flow, ENDED).end, "truncated")

    def test_reset_of_the_plain_side(self):
        for role, end in ((ORIGINATE, "client_reset"), (TERMINATE, "server_reset")):
            with self.subTest(role=role):
                tls, plain, flow = self.tls_and_plain(role)
                reset(plain)
                self.assertTrue(is_cut(tls))
                self.assertEqual(self.plane.proof(flow, ENDED).end, end)

    def test_reset_of_the_tls_side(self):
        for role, end in ((ORIGINATE, "server_reset"), (TERMINATE, "client_reset")):
            with self.subTest(role=role):
                tls, plain, flow = self.tls_and_plain(role)
                reset(socket.socket(fileno=tls.detach()))
                self.assertTrue(is_reset(plain))
                self.assertEqual(self.plane.proof(flow, ENDED).end, end)

    def test_reset_while_nobody_reads(self):
        """A side whose words wait because the other doesn't take them is heard when it resets."""
        tls, plain, flow = self.tls_and_plain(ORIGINATE)
        plain.setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:
                plain.send(b"x" * 65536)
                time.sleep(0.002)
        reset(plain)
        self.assertEqual(self.plane.proof(flow, ENDED).end, "client_reset")

    def test_the_servers_refusal_reaches_the_client(self):
        """Nobody listens: the relay accepted the client already, and resets it."""
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, 7999, ORIGINATE, **ENDS)
        self.expect_reset(port, port=7999)
        proof = self.plane.proof(flow, FAILED)
        self.assertEqual((proof.end, proof.detail), ("connect_failed", "Connection refused"))


class Streams(RelayTest):
    AMOUNT = 1 << 30

    def pour(self, source, sink, amount):
        """(seconds, both digests) of `amount` random bytes."""
        block = os.urandom(1 << 20)
        sent, received = hashlib.sha256(), hashlib.sha256()

        def send():
            for number in range(amount >> 20):
                piece = number.to_bytes(4, "big") + block[4:]
                sent.update(piece)
                source.sendall(piece)

        began = time.monotonic()
        sender = threading.Thread(target=send)
        sender.start()
        left, buffer = amount, bytearray(1 << 18)
        while left:
            n = sink.recv_into(buffer)
            self.assertNotEqual(n, 0, f"{left} bytes are missing")
            received.update(memoryview(buffer)[:n])
            left -= n
        sender.join()
        return time.monotonic() - began, sent.hexdigest(), received.hexdigest()

    def expect_intact(self, role):
        c, s, flow = self.open(role, timeout=60)
        for source, sink in ((c, s), (s, c)):
            seconds, sent, received = self.pour(source, sink, self.AMOUNT // 2)
            self.assertEqual(sent, received)
            print(f"     {self.AMOUNT // 2 >> 20} MiB {'from' if source is c else 'to'} the client in {seconds:.1f} s, "
                  f"{self.hop.cpu_seconds():.1f} s of the relay's CPU since its start")
        self.assertLess(self.hop.cpu_seconds(), 10)  # wall time is the peers' and whoever else is at work here
        counted = self.plane.counters
        self.assertEqual((counted.failed, counted.lost), ([{}, {}], 0))

    def test_a_gigabyte_is_intact_originating(self):
        self.expect_intact(ORIGINATE)

    def test_a_gigabyte_is_intact_terminating(self):
        self.expect_intact(TERMINATE)

    def test_a_slow_reader_slows_its_writer(self):
        """Backpressure from end to end: what the relay keeps is bounded, and nothing is lost."""
        c, s, _ = self.open(ORIGINATE, timeout=60)
        c.setblocking(False)
        sent, quiet = 0, 0
        while quiet < 10:
            try:
                sent += c.send(b"x" * 65536)
                quiet = 0
            except BlockingIOError:
                quiet += 1
                time.sleep(0.1)
        time.sleep(1.2)
        self.assertLessEqual(self.plane.counters.memory, 1 << 20)
        s.settimeout(10)
        received = 0
        while received < sent:
            received += len(s.recv(65536))
        self.assertEqual(received, sent)


class Identity(RelayTest):
    """M1, M16: who may be at the other side, and who the relay itself is."""

    def expect_refused(self, role, minted, end, detail, **changes):
        """The peer shows `minted`; the plain side is reset, and the proof says why."""
        client_port = next_port()
        flow = self.hop.announce(CLIENT, client_port, SERVER, 7000, role, **{**ENDS, **changes})
        came = []

        def serve(peer, _):
            came.append(1)
            if role == ORIGINATE:
                context = tls_context(True, self.authority, minted)
                with context.wrap_socket(peer, server_side=True) as tls:
                    tls.recv(10)

        with Listener(self.site.server, 7000, serve):
            if role == ORIGINATE:
                self.expect_reset(client_port)
            else:
                with self.assertRaises((ssl.SSLError, ConnectionResetError, BrokenPipeError)):
                    with self.site.connect(SERVER, 7000, client_port) as c:
                        tls_context(False, self.authority, minted).wrap_socket(c, suppress_ragged_eofs=False).recv(10)
        proof = self.plane.proof(flow, FAILED)
        self.assertEqual((proof.end, proof.detail), (end, detail))
        if role == TERMINATE:
            self.assertEqual(came, [], "the server was connected before the client was authenticated")
        return proof

    def test_no_certificate(self):
        self.expect_refused(TERMINATE, None, "svid_missing_at_peer", "peer did not return a certificate")

    def test_a_certificate_of_another_authority(self):
        other = svids.Authority(self.site.directory / "other")
        minted = other.mint("web", "web/1")
        self.expect_refused(TERMINATE, minted, "svid_refused", "chain_untrusted")

    def test_an_unknown_trust_domain(self):
        other = svids.Authority(self.site.directory / "other", "other.example")
        self.expect_refused(TERMINATE, other.mint("web", "web/1"), "svid_refused", "trust_domain_unknown")

    def test_another_segments_identity(self):
        for role, minted, segment in ((TERMINATE, self.db, "web"), (ORIGINATE, self.web, "db")):
            with self.subTest(role=role):
                wrong = DB if minted is self.db else WEB
                proof = self.expect_refused(role, minted, "identity_mismatch", f"{wrong} is none of segment {segment}")
                self.assertEqual((proof.own_id, proof.peer_id), (WEB if role == ORIGINATE else DB, wrong))

    def test_the_relays_own_svid_is_missing(self):
        self.hop.svids.remove("db")
        end = time.monotonic() + 2
        time.sleep(0.5)
        self.assertLess(time.monotonic(), end)
        self.expect_refused(TERMINATE, self.web, "svid_missing", f"no SVID of {DB}")

    def test_policy_names_no_id_of_its_own(self):
        self.expect_refused(TERMINATE, self.web, "svid_missing", "policy names no SPIFFE ID for it", destination=(200, 0))

    def test_relay_id_stands_in_for_a_workload_without_one(self):
        self.hop.svids.add("relay", self.authority.mint("relay", "relay/db"))
        self.hop.publish({**SEGMENTS, 200: ("db", ["spiffe://corp.example/db/*"], "spiffe://corp.example/relay/db")}, WORKLOADS)
        time.sleep(0.5)
        c, s, flow = self.open(TERMINATE, destination=(200, 0))
        self.assertEqual(self.plane.proof(flow, ESTABLISHED).own_id, "spiffe://corp.example/relay/db")
        self.assertEqual(uri_of(c), ["spiffe://corp.example/relay/db"])

    def test_a_generation_that_is_not_known(self):
        self.expect_refused(TERMINATE, self.web, "generation_unknown", "generation 77", generation=77)

    def test_a_generation_that_comes_a_moment_later_is_waited_for(self):
        later = threading.Timer(0.3, self.hop.publish, (SEGMENTS, WORKLOADS))
        later.start()
        self.addCleanup(later.join)
        self.open(TERMINATE, generation=self.hop.generation + 1)

    def test_the_generation_before_is_known(self):
        self.hop.publish(SEGMENTS, WORKLOADS)
        self.open(TERMINATE, generation=1)
        self.hop.publish(SEGMENTS, WORKLOADS)
        self.expect_refused(TERMINATE, self.web, "generation_unknown", "generation 1", generation=1)

    def test_tls_1_2_is_refused(self):
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **ENDS)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with self.site.connect(SERVER, 7000, port) as c, self.assertRaises((ssl.SSLError, ConnectionResetError)):
            context.wrap_socket(c)
        proof = self.plane.proof(flow, FAILED)
        self.assertEqual((proof.end, proof.detail), ("handshake_failed", "unsupported protocol"))

    def test_plain_text_is_no_handshake(self):
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **ENDS)
        with self.site.connect(SERVER, 7000, port) as c:
            c.sendall(b"GET / HTTP/1.0\r\n\r\n")
            try:
                answer = c.recv(1000)  # an alert at most
            except ConnectionResetError:
                answer = b""
        self.assertIn(answer[:1], (b"", b"\x15"))
        self.assertEqual(self.plane.proof(flow, FAILED).end, "handshake_failed")


class Announced(RelayTest):
    def test_a_connection_without_an_announcement_is_reset(self):
        self.expect_reset(next_port())
        time.sleep(1.1)
        self.assertEqual(self.plane.counters.unannounced, 1)

    def test_an_announcement_is_used_once(self):
        port = next_port()
        self.hop.announce(CLIENT, port, SERVER, 7999, ORIGINATE, **ENDS)
        for _ in range(2):
            self.expect_reset(port, port=7999)
        time.sleep(1.1)
        self.assertEqual(self.plane.counters.unannounced, 1)
        self.assertEqual(self.plane.counters.failed[0], {"connect_failed": 1})

    def test_workloads_cannot_announce(self):
        """From anywhere but the dataplane's own address and port it is nothing."""
        port = next_port()
        datagram = contract.announcement(CLIENT, port, SERVER, 7000, ORIGINATE)
        with self.site.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(datagram, (contract.RELAY, contract.PORT))
        self.expect_reset(port)
        with self.hop.router.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(datagram, (contract.RELAY, contract.PORT))  # the right address, another port
        self.expect_reset(port)
        time.sleep(1.1)
        self.assertEqual(self.plane.counters.unannounced, 2)
        self.assertEqual(self.plane.counters.announcements, 0)

    def test_a_malformed_announcement_is_counted(self):
        self.hop.heartbeats.sendto(b"x" * 80, (contract.RELAY, contract.PORT))
        time.sleep(1.2)
        self.assertEqual(self.plane.counters.wrong, 1)

    def test_heartbeats_say_state_and_connections(self):
        self.assertEqual(self.hop.heard(), (contract.READY, 0))
        self.open(TERMINATE)
        time.sleep(0.1)
        self.assertEqual(self.hop.heard(), (contract.READY, 1))
        began = time.monotonic()
        for _ in range(10):
            self.hop.heartbeats.recv(100)
        self.assertLess(time.monotonic() - began, 0.9)
        self.plane.drain()
        time.sleep(0.1)
        self.assertEqual(self.hop.heard(), (contract.DRAINING, 1))
        flow = self.hop.announce(CLIENT, port := next_port(), SERVER, 7000, ORIGINATE, **ENDS)
        self.expect_reset(port)
        self.assertEqual(self.plane.proof(flow, FAILED).end, "shutdown")
