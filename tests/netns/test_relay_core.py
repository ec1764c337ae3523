"""The relay by itself: TLS on the one side, plain on the other, with the client's and the server's own addresses on both."""
import hashlib
import os
import pathlib
import select
import signal
import socket
import ssl
import struct
import threading
import time
import unittest

import net
import relay_contract as contract
import svids
from relay_contract import ENDED, ESTABLISHED, FAILED, ORIGINATE, TERMINATE
from relay_site import CLIENT, CLIENT6, RELAY, SERVER, SERVER6, Listener, RelaySite, next_port
from traffic import Capture, family_of

WEB, DB = "spiffe://corp.example/web/1", "spiffe://corp.example/db/9"
SEGMENTS = {100: ("web", ["spiffe://corp.example/web/*"], ""), 200: ("db", ["spiffe://corp.example/db/*"], "")}
WORKLOADS = {1: WEB, 9: DB}
ENDS = {"source": (100, 1), "destination": (200, 9)}


def own_client(server):
    return CLIENT6 if ":" in server else CLIENT


def tls_context(server_side, authority, minted=None):
    """A peer's: it verifies with the authority, not the host name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
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
        if not self._outcome.success:  # what the relay said is part of what went wrong
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
                c = tls_context(False, self.authority, minted or self.web).wrap_socket(c)
                self.addCleanup(c.close)
            self.assertTrue(arrived.wait(timeout), "nobody came to the server")
            s, address = accepted[0]
            s.settimeout(timeout)
            self.addCleanup(s.close)
            self.assertEqual(address[:2], (f"::ffff:{CLIENT}" if server == SERVER else CLIENT6, client_port))
            if role == ORIGINATE:
                s = tls_context(True, self.authority, minted or self.db).wrap_socket(s, server_side=True)
                self.addCleanup(s.close)
        return c, s, flow


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
