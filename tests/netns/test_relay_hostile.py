"""Peers that break TLS and X.509 in many ways: each is shut out for its own reason, reaches nobody, and costs nobody else anything."""
import base64
import concurrent.futures
import contextlib
import os
import queue
import socket
import ssl
import subprocess
import threading
import time

import svids
from hostile_svids import CERTIFICATES, GOOD, HUGE, Forge, context
from relay_contract import ENDED, ESTABLISHED, FAILED, ORIGINATE, TERMINATE
from relay_site import CLIENT, SERVER, Listener, next_port
from test_relay_core import ENDS, SEGMENTS, WEB, WORKLOADS, RelayTest
from tls_seal import ALERT, CHANGE_CIPHER_SPEC, DATA, HANDSHAKE, HEARTBEAT, Sealer, handshake, record

PORTS = {TERMINATE: 7100, ORIGINATE: 7101}  # the server's: where the relay speaks plain to it, and where TLS
ROLES = (TERMINATE, ORIGINATE)
NOTHING = (b"", True)  # what the plain side hears of them: a reset


def until_closed(s):
    """(what came, whether it ended with a reset, or a failure of TLS's). Raises TimeoutError where it doesn't end."""
    s.settimeout(5)
    came = b""
    try:
        while piece := s.recv(65536):
            came += piece
        return came, False
    except TimeoutError:
        raise
    except OSError:
        return came, True


# --- hostile peers: functions of (their socket, whether they are the server), that return once it is closed

def shows(contexts):
    """Shakes hands with one of (a client's context, a server's)."""
    def act(s, server_side):
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            with contexts[server_side].wrap_socket(s, server_side=server_side, suppress_ragged_eofs=False) as tls:
                until_closed(tls)
    return act


def says(content, ends=False):
    """Says that in place of its hello; `ends`: and that there is no more."""
    def act(s, server_side):
        if server_side:
            s.recv(65536)
        with contextlib.suppress(ConnectionError):
            s.sendall(content)
            if ends:
                s.shutdown(socket.SHUT_WR)
        until_closed(s)
    return act


def greets(contexts, carry=socket.socket.sendall):
    """Says hello by TLS as it should be, in flights that `carry(socket, bytes)` sends."""
    def act(s, server_side):
        incoming, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = contexts[server_side].wrap_bio(incoming, out, server_side)
        for step in (tls.do_handshake, lambda: tls.write(b"hello"), tls.unwrap):
            while True:
                try:
                    step()
                except ssl.SSLWantReadError:
                    carry(s, out.read())
                    incoming.write(s.recv(65536))
                else:
                    break
        carry(s, out.read())
    return act


def in_single_bytes(s, content):
    """Each byte in a segment of its own, and in clear also in a record of its own."""
    size = 5 + int.from_bytes(content[3:5], "big")
    if content[:1] == bytes([HANDSHAKE]):
        content = b"".join(record(HANDSHAKE, bytes([byte])) for byte in content[5:size]) + content[size:]
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in content:
        s.sendall(bytes([byte]))


def client_hello():
    """The ClientHello of a real client, in its record."""
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context(False).wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


class HostileTest(RelayTest):
    """Hostile peers beside a connection that stands all the while. Both segments have any web workload, so that nothing else is wrong with them."""

    def setUp(self):
        super().setUp()
        other = svids.Authority(self.site.directory / "other", "other.example")
        self.hop.svids.trust(other)
        self.hop.publish({**SEGMENTS, 200: ("db", ["spiffe://corp.example/*"], "")}, WORKLOADS)
        time.sleep(0.5)  # until it has read the other bundle
        self.forge = Forge(self.site.directory / "forge", {"corp.example": self.authority, "other.example": other})
        self.standing = self.open(TERMINATE)
        self.welcome, self.strangers, self.heard = set(), [], queue.Queue()
        self.acts, self.done = queue.Queue(), queue.Queue()
        self.listeners = [self.enterContext(Listener(self.site.server, PORTS[role], serve))
                          for role, serve in ((TERMINATE, self._serve_plain), (ORIGINATE, self._serve_tls))]

    def tearDown(self):
        super().tearDown()
        self.assertEqual(self.strangers, [], "the server was connected though the client wasn't authenticated")
        self.assertEqual([listener.errors for listener in self.listeners], [[], []])

    def _serve_plain(self, peer, address):
        if address[1] not in self.welcome:
            self.strangers.append(address)
        self.heard.put(until_closed(peer))

    def _serve_tls(self, peer, _):
        self.done.put(self.acts.get(timeout=5)(peer, True))

    def attack(self, role, act, enters=False):
        """(flow, what the plain side heard) of a connection whose peer on the TLS side is `act`. `enters`: it has a good SVID, and reaches the
        plain side."""
        port = next_port()
        if enters:
            self.welcome.add(port)
        if role == ORIGINATE:
            self.acts.put(act)
        flow = self.hop.announce(CLIENT, port, SERVER, PORTS[role], role, **ENDS)
        heard = NOTHING
        with contextlib.suppress(ConnectionResetError), self.site.connect(SERVER, PORTS[role], port) as c:
            heard = act(c, False) if role == TERMINATE else until_closed(c)
        if role == ORIGINATE:
            self.done.get(timeout=5)
        elif enters:
            heard = self.heard.get(timeout=5)
        return flow, heard or NOTHING

    def expect(self, what, end, details, act, enters=False):
        """It ends so where the relay is the server, and where it is the client, and others are served meanwhile. `details`: of both, or of each;
        None: not tried."""
        for role, detail in zip(ROLES, (details, details) if isinstance(details, str) else details):
            if detail is None:
                continue
            with self.subTest(what, role=role):
                flow, heard = self.attack(role, act, enters)
                proof = self.plane.proof(flow, ENDED if enters else FAILED)
                self.assertEqual((proof.end, proof.detail, heard), (end, detail, NOTHING))
                self.expect_others_served()

    def expect_others_served(self):
        c, s, _ = self.standing
        c.sendall(b"?")
        self.assertEqual(s.recv(1), b"?")

    def expect_greeting(self, act):
        for role in ROLES:
            with self.subTest(role=role):
                flow, heard = self.attack(role, act, enters=True)
                self.assertEqual(self.plane.proof(flow, ESTABLISHED).peer_id, WEB)
                self.assertEqual((self.plane.proof(flow, ENDED).end, heard), ("closed", (b"hello", False)))

    def sealing(self, write, then=until_closed):
        """Shakes hands, says the pieces that `write(sealer)` makes, and goes on with `then(its TLS socket)`, which can't say more."""
        def act(s, server_side):
            made = context(server_side, self.web)
            made.keylog_filename = str(self.site.directory / "keys")
            if server_side:
                made.num_tickets = 0
            with made.wrap_socket(s, server_side=server_side, suppress_ragged_eofs=False) as tls:
                with contextlib.suppress(ConnectionError), socket.socket(fileno=os.dup(tls.fileno())) as bare:
                    bare.settimeout(10)
                    for piece in write(Sealer(tls, made.keylog_filename, server_side)):
                        bare.sendall(piece)
                return then(tls)
        return act

    def contexts(self, wrong):
        made = self.forge.make(**wrong)
        return [context(server_side, made) for server_side in (False, True)]


class Certificates(HostileTest):
    """M2 to M9, and M14."""

    def test_each_is_refused_for_what_is_wrong_with_it(self):
        for row, what, fault, wrong in CERTIFICATES:
            self.expect(f"{row} {what}", "svid_refused", fault, shows(self.contexts(wrong)))

    def test_one_of_a_megabyte_is_not_read(self):
        self.expect("M14 1 MB", "handshake_failed", "excessive message size", shows(self.contexts(HUGE)))

    def test_good_ones_are_taken(self):
        """Made as those, with nothing wrong; within the skew of clocks, too."""
        for good in GOOD:
            self.expect_greeting(greets(self.contexts(good)))


HELLO = client_hello()
UNEXPECTED, BAD_MAC, CLOSED = "unexpected message", "decryption failed or bad record mac", "the peer closed the connection"
# What is said in place of a hello; why it ends, where the relay is the server and where it is the client.
HELLOS = (
    ("garbage", "wrong version number", says(b"\x80" * 4096)),
    ("plain text", "http request", says(b"GET / HTTP/1.0\r\n\r\n")),
    ("a record that is too long", "packet length too long", says(record(HANDSHAKE, b"", 0xFFFF) + bytes(70000))),
    ("empty records", "record too small", says(record(HANDSHAKE, b"") * 1000)),
    ("empty alerts", (UNEXPECTED, "invalid alert"), says(record(ALERT, b"") * 1000)),
    ("warnings", (UNEXPECTED, "too many warn alerts"), says(record(ALERT, b"\1\x5a") * 1000)),
    ("a failure", (UNEXPECTED, "sslv3 alert handshake failure"), says(record(ALERT, b"\2\x28"))),
    ("change_cipher_spec", UNEXPECTED, says(record(CHANGE_CIPHER_SPEC, b"\1") * 1000)),
    ("data", UNEXPECTED, says(record(DATA, b"too early"))),
    ("heartbeat", UNEXPECTED, says(record(HEARTBEAT, b"\1\x40\0"))),
    ("another message", UNEXPECTED, says(record(HANDSHAKE, handshake(20, bytes(32))))),
    ("M10 a request for a hello", (UNEXPECTED, None), says(record(HANDSHAKE, handshake(0, b"")))),
    ("half a header", CLOSED, says(HELLO[:3], ends=True)),
    ("half a hello", CLOSED, says(HELLO[:-20], ends=True)),
    ("a hello of nothing", ("length too short", UNEXPECTED), says(record(HANDSHAKE, handshake(1, b"")))),
    ("a hello that is too long", ("excessive message size", UNEXPECTED), says(record(HANDSHAKE, b"\1\xff\xff\xff") + bytes(70000))),
    ("M10 early data unannounced", (BAD_MAC, UNEXPECTED), says(HELLO + record(DATA, bytes(64)))),
)


class Handshakes(HostileTest):
    def test_what_is_none(self):
        for what, details, act in HELLOS:
            self.expect(what, "handshake_failed", details, act)

    def test_older_versions_and_null_suites(self):
        """M9."""
        for ciphers in ("ALL:@SECLEVEL=0", "eNULL:@SECLEVEL=0"):
            contexts = self.contexts({})
            for one in contexts:
                one.maximum_version = ssl.TLSVersion.TLSv1_2
                one.set_ciphers(ciphers)
            self.expect(f"TLS 1.2 {ciphers}", "handshake_failed", ("unsupported protocol", "tlsv1 alert protocol version"), shows(contexts))

    def test_single_bytes_are_put_together(self):
        self.expect_greeting(greets(self.contexts({}), in_single_bytes))

    def test_early_data_under_a_ticket_that_allows_none(self):
        """M10: the client's copy of the session says that it does."""
        session, early = self.site.directory / "session", self.site.directory / "early"
        early.write_bytes(b"too early")
        self.s_client("-sess_out", session)
        self.assertTrue(session.exists())
        session.write_text(allowing_early_data(session.read_text()))
        said, flow = self.s_client("-sess_in", session, "-early_data", early, enters=False)
        self.assertIn(b"Early data was rejected", said)
        proof = self.plane.proof(flow)
        self.assertEqual((proof.end, proof.detail), ("handshake_failed", "too much early data"))
        self.expect_others_served()

    def s_client(self, *options, enters=True):
        """(what it printed, flow) of openssl s_client, for long enough to be given tickets."""
        port = next_port()
        if enters:
            self.welcome.add(port)
        flow = self.hop.announce(CLIENT, port, SERVER, PORTS[TERMINATE], TERMINATE, **ENDS)
        process = self.site.client.popen("sh", "-c", 'sleep 0.5 | openssl s_client "$@"', "sh", "-connect", f"{SERVER}:{PORTS[TERMINATE]}", "-bind",
                                         f"{CLIENT}:{port}", "-cert", self.web[0], "-key", self.web[1], *options, stdout=subprocess.PIPE)
        return process.communicate(timeout=10)[0], flow


def der_size(der):
    """Of the element that `der` begins with: (header, content)."""
    if der[1] < 0x80:
        return 2, der[1]
    more = der[1] & 0x7F
    return 2 + more, int.from_bytes(der[2:2 + more], "big")


def allowing_early_data(pem):
    """The session with max_early_data in it: field 15 (openssl's ssl_asn1.c), which isn't there where it is 0."""
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    header, _ = der_size(der)
    fields, at = der[header:], 0
    while at < len(fields) and fields[at] < 0xAF:
        at += sum(der_size(fields[at:]))
    fields = fields[:at] + b"\xaf\x04\x02\x02\x40\x00" + fields[at:]
    return ssl.DER_cert_to_PEM_cert(b"\x30\x82" + len(fields).to_bytes(2, "big") + fields).replace("CERTIFICATE", "SSL SESSION PARAMETERS")


# What comes once both ends are verified, as the peer's Sealer makes it; why it ends.
RECORDS = (
    ("M10 renegotiation asked for", UNEXPECTED, lambda s: s.seal(HANDSHAKE, handshake(0, b""))),
    ("M10 renegotiation", UNEXPECTED, lambda s: s.seal(HANDSHAKE, HELLO[5:])),
    ("M10 renegotiation in clear", "bad record type", lambda s: HELLO),
    ("garbage", "wrong version number", lambda s: b"\x80" * 4096),
    ("data in clear", BAD_MAC, lambda s: record(DATA, b"clear words for the other side")),
    ("a record that was changed", BAD_MAC, lambda s: s.seal(DATA, b"words")[:-1] + b"!"),
    ("a record that comes twice", BAD_MAC, lambda s: s.seal(HANDSHAKE, handshake(24, b"\0")) * 2),
    ("a record that is too long", "packet length too long", lambda s: record(DATA, b"", 0xFFFF) + bytes(70000)),
    ("more than a record holds", "data length too long", lambda s: s.seal(DATA, bytes(16385))),
    ("empty records", "record too small", lambda s: b"".join(s.seal(DATA, b"") for _ in range(1000))),
    ("empty records, padded", "record too small", lambda s: b"".join(s.seal(DATA, b"", 100) for _ in range(1000))),
    ("a record without a type", "bad record type", lambda s: s.seal(None, b"", 32)),
    ("heartbeat", "bad record type", lambda s: s.seal(HEARTBEAT, b"\1\x40\0")),
    ("change_cipher_spec", "bad record type", lambda s: record(CHANGE_CIPHER_SPEC, b"\1")),
    ("change_cipher_spec, sealed", "bad record type", lambda s: s.seal(CHANGE_CIPHER_SPEC, b"\1")),
    ("an empty message", "bad length", lambda s: s.seal(HANDSHAKE, b"")),
    ("a certificate", UNEXPECTED, lambda s: s.seal(HANDSHAKE, handshake(11, bytes(4)))),
    ("finished once more", UNEXPECTED, lambda s: s.seal(HANDSHAKE, handshake(20, bytes(48)))),
    ("a ticket that is too long", (UNEXPECTED, "excessive message size"),
     lambda s: s.seal(HANDSHAKE, b"\x04\xff\xff\xff") + s.seal(HANDSHAKE, bytes(16000)) * 5),
    ("a key update of no kind", "bad key update", lambda s: s.seal(HANDSHAKE, handshake(24, b"\2"))),
    ("data within a key update", "mixed handshake and non handshake data",
     lambda s: s.seal(HANDSHAKE, handshake(24, b"\0")[:3]) + s.seal(DATA, b"words")),
    ("a message behind a key update", "not on record boundary", lambda s: s.seal(HANDSHAKE, handshake(24, b"\0") * 2)),
    ("half an alert", "invalid alert", lambda s: s.seal(ALERT, b"\2")),
    ("a failure", "sslv3 alert handshake failure", lambda s: s.seal(ALERT, b"\2\x28")),
    ("warnings", "too many warn alerts", lambda s: b"".join(s.seal(ALERT, b"\1\x5a") for _ in range(1000))),
)


class Records(HostileTest):
    """Of peers whose SVIDs are good."""

    def test_what_breaks_the_rules(self):
        for what, details, write in RECORDS:
            self.expect(what, "tls_error", details, self.sealing(lambda sealer: [write(sealer)]), enters=True)

    def test_a_record_that_is_cut_off_is_no_end(self):
        act = self.sealing(lambda s: [s.seal(DATA, b"words")[:-1]], lambda tls: tls.shutdown(socket.SHUT_WR) or until_closed(tls))
        self.expect("half a record", "truncated", "unexpected eof while reading", act, enters=True)

    def test_thousands_of_key_updates_cost_no_memory(self):
        """M10: TLS allows them. Each asks for one in return; data after them is whole, both ways."""
        before = self.hop.memory_kib()
        for role in ROLES:
            with self.subTest(role=role):
                act = self.sealing(lambda s: [b"".join(s.key_update() for _ in range(5000)) + s.seal(DATA, b"hello") + s.seal(ALERT, b"\1\0")])
                flow, heard = self.attack(role, act, enters=True)
                self.assertEqual((self.plane.proof(flow, ENDED).end, heard), ("closed", (b"hello", False)))
                self.expect_others_served()
        self.assertLess(self.hop.memory_kib() - before, 1024)


TICKET = handshake(4, bytes(8) + b"\0" + b"\0\1x" + b"\0\0")  # RFC 8446 §4.6.1: without a lifetime, nonce or extension
# What never ends, in pieces: (what, the roles in which it may be said, a piece by the peer's Sealer).
FLOODS = (
    ("tickets", (ORIGINATE,), lambda s: s.seal(HANDSHAKE, TICKET * 800)),
    ("key updates", ROLES, lambda s: b"".join(s.key_update() for _ in range(50))),
    ("data by the byte", ROLES, lambda s: b"".join(s.seal(DATA, b"x") for _ in range(50))),
    ("padding", ROLES, lambda s: b"".join(s.seal(DATA, b"x", 16000) for _ in range(50))),
)


class Floods(HostileTest):
    """What TLS allows, or passes over, without end: others have their turn."""
    SECONDS, SLOWEST = 2, 1.5  # without turns: as long as the flood lasts

    def flood(self, what, role, act, enters):
        """The flow of `act`, which floods until `self.stop`; others are served all the while."""
        self.stop = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            flooding = pool.submit(self.attack, role, act, enters)
            slowest, end = 0, time.monotonic() + self.SECONDS
            try:
                while (began := time.monotonic()) < end:
                    self.expect_others_served()
                    slowest = max(slowest, time.monotonic() - began)
                    time.sleep(0.01)
            finally:
                self.stop.set()
            flow, _ = flooding.result()
        print(f"     {what}, role {role}: others waited for {slowest:.2f} s at most")
        self.assertLess(slowest, self.SLOWEST)
        return flow

    def until_stopped(self, make):
        while not self.stop.is_set():
            yield make()

    def test_under_good_keys(self):
        for what, roles, piece in FLOODS:
            for role in roles:
                with self.subTest(what, role=role):
                    self.flood(what, role, self.sealing(lambda sealer: self.until_stopped(lambda: piece(sealer)), lambda tls: None), enters=True)

    def test_requests_for_hellos(self):
        """M10: of a server that has shown no certificate. OpenSSL passes over them for as long as they come."""
        def act(s, _):
            s.recv(65536)
            with contextlib.suppress(ConnectionError):
                for piece in self.until_stopped(lambda: record(HANDSHAKE, handshake(0, b"")) * 1000):
                    s.sendall(piece)
        flow = self.flood("requests for hellos", ORIGINATE, act, enters=False)
        self.assertIn(self.plane.proof(flow, FAILED).end, ("handshake_failed", "handshake_timeout"))


class Thousands(HostileTest):
    MANY = 2000
    GROWTH_KIB = 1024

    def test_memory_stays_and_others_are_served(self):
        """Each kind in turn, some at a time, in both roles: a quarter of them first, then the others within the same memory."""
        acts = [act for _, details, act in HELLOS if isinstance(details, str)] + [shows(self.contexts(wrong)) for _, _, _, wrong in CERTIFICATES[::8]]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            def attack(numbers):
                for _ in pool.map(lambda n: self.attack(ROLES[n % 2], acts[n // 2 % len(acts)]), numbers):
                    pass
            began = time.monotonic()
            attack(range(self.MANY // 4))
            before = self.hop.memory_kib()
            attack(range(self.MANY // 4, self.MANY))
        grown = self.hop.memory_kib() - before
        print(f"     {self.MANY} in {time.monotonic() - began:.1f} s, {grown} KiB more of {before}")
        self.assertLess(grown, self.GROWTH_KIB)
        self.expect_others_served()
        self.expect_greeting(greets(self.contexts({})))
        time.sleep(1.2)  # counters come each second
        failed = self.plane.counters.failed
        self.assertEqual([sum(ends.values()) for ends in failed], [self.MANY // 2] * 2)
        self.assertLessEqual(set(failed[0]) | set(failed[1]), {"handshake_failed", "svid_refused"})
        self.assertEqual((self.plane.counters.live, self.plane.counters.opening), (1, 0))
