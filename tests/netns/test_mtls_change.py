"""What changes under `mtls: relay` while connections live: policy is withdrawn, begins to ask for mTLS, or doesn't fit the certificates."""
import contextlib
import time

from harness import DB
from mtls_case import Links, TwoGateways
from mtls_site import SEGMENTS
from relay_site import Listener
from tls_wire import RST, segments
from traffic import TcpClient, new_mark

PORT = 7000
POLICY = f"policies: [{{name: calls, from: web, to: db, allow: [tcp/{PORT}], mtls: relay}}]\n"
PLAIN = POLICY.replace(", mtls: relay", "")
NONE = "policies: []\n"
ELSEWHERE = SEGMENTS.replace("corp.example/web/", "corp.example/elsewhere/")


def echo(peer, _):
    while received := peer.recv(65536):
        peer.sendall(received)


class Change:
    """The cases; subclasses name the mode."""

    policy = POLICY

    def setUp(self):
        super().setUp()
        self.server = self.enterContext(Listener(self.place.db, PORT, echo))

    def revoked(self, gateway):
        """A connection of each family lives while policy is withdrawn at a gateway."""
        with self.policy_back(gateway):
            for host in (DB.address, DB.address6):
                with self.subTest(host=host):
                    self.cut(host, gateway)

    def cut(self, host, gateway):
        mark = new_mark()
        with Links(self.place) as links, TcpClient(self.place.web, host, PORT) as client:
            self.assertEqual(client.ask(mark), mark)
            gateway.reload("rules.yaml", NONE)
            with self.assertRaises(ConnectionResetError):  # by its next packet
                client.ask(mark)
            self.assert_within(3, lambda: any(isinstance(e, ConnectionResetError) for e in self.server.errors), "the server saw no reset")
            for either in (self.a, self.b):  # the TLS connection's ends
                self.assert_within(3, lambda: self.metric(either, "bulkhead_relay_connections") == 0, "a relay's legs live on")
            self.server.errors.clear()
        self.assert_private(links, mark)
        self.assertTrue(any(s.flags & RST and PORT in s.ends for s in segments(links.between(gateway.name))), "no reset between")
        self.logged(gateway, "revoke", dst=host)
        gateway.reload("rules.yaml", POLICY)

    @contextlib.contextmanager
    def policy_back(self, *gateways, file="rules.yaml", text=POLICY):
        try:
            yield
        finally:
            for gateway in gateways:
                gateway.write_policy(file, text + "\n# as it was\n")
            time.sleep(0.3)

    def test_revoking_at_the_clients_gateway_resets_all_four_ends(self):
        self.revoked(self.a)

    def test_revoking_at_the_servers_gateway_resets_all_four_ends(self):
        self.revoked(self.b)

    def test_policy_that_begins_to_ask_for_mtls_cuts_the_plain_connection(self):
        plain, sealed = new_mark(), new_mark()
        with self.policy_back(self.a, self.b):
            for gateway in (self.a, self.b):
                gateway.reload("rules.yaml", PLAIN)
            with Links(self.place) as before:
                client = self.enterContext(TcpClient(self.place.web, DB.address, PORT))
                self.assertEqual(client.ask(plain), plain)
            self.assert_in_clear(before, plain)
            with client:
                with Links(self.place) as links:
                    for gateway in (self.a, self.b):
                        gateway.reload("rules.yaml", POLICY)
                    with self.assertRaises(ConnectionResetError):
                        client.ask(sealed)
                        client.ask(sealed)
                self.assertEqual([frame for _, frame in links.between() if sealed in frame], [])
        self.logged(self.a, "revoke", reason="mtls_required")
        with Links(self.place) as links, TcpClient(self.place.web, DB.address, PORT) as client:
            self.assertEqual(client.ask(sealed), sealed)
        self.assert_private(links, sealed)

    def assert_in_clear(self, links, mark):
        """Which is also to say that assert_no_clear() would notice, by the mark and by what isn't TLS."""
        self.assertTrue(any(mark in frame for _, frame in links.between()))
        for looked_for in (mark, new_mark()):
            with self.assertRaises(AssertionError):
                self.assert_no_clear(links, looked_for)

    def test_identity_that_does_not_fit_its_segment_is_denied_with_both_in_the_log(self):
        """M16: a good certificate of another segment than the one that policy has for the address."""
        mark = new_mark()
        with self.policy_back(self.b, file="segments.yaml", text=SEGMENTS):
            self.b.reload("segments.yaml", ELSEWHERE)
            with Links(self.place) as links, self.assertRaises(OSError):
                with TcpClient(self.place.web, DB.address, PORT) as client:
                    client.ask(mark)
            failed = self.logged(self.b, "mtls_failed", reason="identity_mismatch")[-1]
            self.assertEqual((failed["src_svid"], failed["dst_svid"]), ("spiffe://corp.example/web/relay", "spiffe://corp.example/db/relay"))
        self.assert_no_clear(links, mark)
        self.assertFalse(any(mark in frame for _, frame in links.outer("db")))
        with TcpClient(self.place.web, DB.address, PORT) as client:
            self.assertEqual(client.ask(mark), mark)


class Wire(Change, TwoGateways):
    mode = "wire"


class Route(Change, TwoGateways):
    mode = "route"
