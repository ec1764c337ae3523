"""The relay against other people's TLS, and against another relay."""
import hashlib
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import threading
import time

import net
import relay_contract as contract
from relay_contract import ENDED, ESTABLISHED, FAILED, ORIGINATE, TERMINATE
from relay_site import CLIENT, CLIENT6, SERVER, SERVER6, Listener, next_port
from test_relay_core import DB, ENDS, WEB, RelayTest, own_client, read_all, tls_context, uri_of
from traffic import Capture

NGINX = """daemon off; pid {0}/nginx.pid; error_log {0}/error.log; user root;
events {{ worker_connections 64; }}
http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
  server {{ {1} location / {{ return 200 "hello $ssl_client_s_dn $ssl_client_verify"; }} location /big {{ alias {0}/big; }} }} }}
"""


class Peers(RelayTest):
    def nginx(self, listen):
        directory = self.site.directory / "nginx"
        directory.mkdir()
        (directory / "big").write_bytes(os.urandom(8 << 20))
        (directory / "nginx.conf").write_text(NGINX.format(directory, listen))
        process = self.site.server.popen("nginx", "-c", directory / "nginx.conf", "-e", directory / "error.log")
        self.addCleanup(lambda: (process.terminate(), process.wait()))
        end = time.monotonic() + 5
        while not (directory / "nginx.pid").exists():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)
        return (directory / "big").read_bytes()

    def curl(self, url, role, server, port, *options):
        client_port = next_port()
        flow = self.hop.announce(own_client(server), client_port, server, port, role, **ENDS)
        done = self.site.client.run("curl", "--silent", "--show-error", "--max-time", "20", "--local-port", client_port, *options, url)
        return done.stdout, flow

    def test_curl_that_speaks_plain_to_nginx_that_wants_certificates(self):
        big = self.nginx(f"listen 7443 ssl; listen [::]:7443 ssl; ssl_certificate {self.db[0]}; ssl_certificate_key {self.db[1]}; "
                         f"ssl_client_certificate {self.authority.certificate}; ssl_verify_client on; ssl_protocols TLSv1.3;")
        for server in (SERVER, SERVER6):
            host = f"[{server}]" if ":" in server else server
            said, flow = self.curl(f"http://{host}:7443/", ORIGINATE, server, 7443)
            self.assertIn("SUCCESS", said)
            # nginx answers the close_notify of a client that is done with a bare FIN: for who still listened that would be a cut.
            self.assertIn(self.plane.proof(flow, ENDED).end, ("closed", "truncated"))
        target = self.site.directory / "got"
        self.curl(f"http://{SERVER}:7443/big", ORIGINATE, SERVER, 7443, "--output", target)
        self.assertEqual(hashlib.sha256(target.read_bytes()).hexdigest(), hashlib.sha256(big).hexdigest())

    def test_curl_with_a_certificate_to_nginx_that_speaks_plain(self):
        self.nginx("listen 7080; listen [::]:7080;")
        options = ("--cacert", self.authority.certificate, "--cert", self.web[0], "--key", self.web[1], "--insecure")  # no host name in there
        said, flow = self.curl(f"https://{SERVER}:7080/", TERMINATE, SERVER, 7080, *options)
        self.assertIn("hello", said)
        self.assertEqual(self.plane.proof(flow, ESTABLISHED).peer_id, WEB)

    def openssl(self, namespace, *command):
        process = subprocess.Popen(["ip", "netns", "exec", namespace.name, "openssl", *map(str, command)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stdout.close(), process.stdin.close()))
        return process

    def test_openssl_s_client(self):
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **ENDS)
        with Listener(self.site.server, 7000, lambda peer, _: peer.sendall(read_all(peer)[::-1])):
            process = self.openssl(self.site.client, "s_client", "-connect", f"{SERVER}:7000", "-bind", f"{CLIENT}:{port}", "-CAfile",
                                   self.authority.certificate, "-cert", self.web[0], "-key", self.web[1], "-verify_return_error", "-brief",
                                   "-no_ign_eof")
            said, _ = process.communicate(b"drawer\n", timeout=10)
        self.assertIn(b"TLSv1.3", said)
        self.assertIn(b"Verification: OK", said)
        self.assertEqual(self.plane.proof(flow, ENDED).bytes_from_client, 7)

    def test_openssl_s_server(self):
        process = self.openssl(self.site.server, "s_server", "-accept", "7000", "-CAfile", self.authority.certificate, "-cert", self.db[0],
                               "-key", self.db[1], "-Verify", "2", "-verify_return_error", "-tls1_3", "-rev", "-quiet")
        time.sleep(0.5)
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, 7000, ORIGINATE, **ENDS)
        with self.site.connect(SERVER, 7000, port) as c:
            c.sendall(b"drawer\n")
            self.assertEqual(c.recv(10), b"reward\n")
            self.assertEqual(self.plane.proof(flow, ESTABLISHED).peer_id, DB)
        self.assertIsNone(process.poll())

    def test_early_data_is_not_taken(self):
        """M10: the session that s_client keeps allows none, and what it would send early never reaches the server."""
        session, early = self.site.directory / "session", self.site.directory / "early"
        early.write_bytes(b"too early")
        heard = []

        def serve(peer, _):
            peer.sendall(b"hello")
            heard.append(read_all(peer))

        common = ("-CAfile", self.authority.certificate, "-cert", self.web[0], "-key", self.web[1], "-brief", "-no_ign_eof")
        with Listener(self.site.server, 7000, serve):
            for extra in (("-sess_out", session), ("-sess_in", session, "-early_data", early)):
                port = next_port()
                flow = self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **ENDS)
                process = self.openssl(self.site.client, "s_client", "-connect", f"{SERVER}:7000", "-bind", f"{CLIENT}:{port}", *common,
                                       *extra)
                time.sleep(0.5)
                said, _ = process.communicate(b"late\n", timeout=10)
                self.plane.proof(flow, ENDED)
        self.assertTrue(session.exists(), said)
        self.assertEqual(heard[0], b"late\n")
        for words in heard:
            self.assertNotIn(b"early", words)


class Chain(RelayTest):
    """Two relays: plain to the first, TLS between them, plain from the second on."""
    hops = ("r1", "r2")

    def announce_both(self, server, port):
        client_port = next_port()
        flows = [hop.announce(own_client(server), client_port, server, port, role, **ENDS)
                 for hop, role in zip(self.site.hops, (ORIGINATE, TERMINATE))]
        return client_port, flows

    def expect_passage(self, server):
        client_port, flows = self.announce_both(server, 7000)
        secret, answer = b"the client's secret " * 500, b"the server's answer " * 500
        between = self.site.hops[1].router
        with Capture(between, "left") as there, Capture(between, "left", leaving=True) as back, \
                Listener(self.site.server, 7000, lambda peer, _: self.assertEqual(read_all(peer), secret) or peer.sendall(answer)) as listener:
            with self.site.connect(server, 7000, client_port) as c:
                c.sendall(secret)
                c.shutdown(socket.SHUT_WR)
                self.assertEqual(read_all(c), answer)
            proofs = [hop.plane.proof(flow, ENDED) for hop, flow in zip(self.site.hops, flows)]
        self.assertEqual(listener.errors, [])
        self.assertEqual([p.end for p in proofs], ["closed", "closed"])
        for proof in proofs:
            self.assertEqual((proof.bytes_from_client, proof.bytes_from_server), (len(secret), len(answer)))
        self.assertEqual((proofs[0].own_id, proofs[0].peer_id), (proofs[1].peer_id, proofs[1].own_id))
        self.assertEqual((proofs[0].own_id, proofs[0].peer_id), (WEB, DB))
        self.assertEqual(proofs[0].own_certificate, proofs[1].peer_certificate)
        frames = [f for capture in (there, back) for _, f in capture.frames()]
        self.assertGreater(sum(map(len, frames)), len(secret) + len(answer))
        for clear in (b"secret", b"answer"):
            self.assertEqual([f for f in frames if clear in f], [])
        self.expect_tls_only(frames, 54 if "." in server else 74)

    def expect_tls_only(self, frames, headers):
        """The first bytes of both directions are TLS handshake records (RFC 8446 5.1)."""
        firsts = {}
        for frame in frames:
            if len(frame) <= headers or frame[12:14] not in (b"\x08\x00", b"\x86\xdd"):
                continue
            ip = 14
            ipv4 = frame[12:14] == b"\x08\x00"
            if frame[ip + 9 if ipv4 else ip + 6] != 6:
                continue
            tcp = ip + 20 if ipv4 else ip + 40
            ends = frame[ip + 12:ip + 20] if ipv4 else frame[ip + 8:ip + 40]
            total = ip + int.from_bytes(frame[ip + 2:ip + 4], "big") if ipv4 else ip + 40 + int.from_bytes(frame[ip + 4:ip + 6], "big")
            payload = frame[tcp + (frame[tcp + 12] >> 4) * 4:total]
            if payload:
                firsts.setdefault(ends, payload[:3])
        self.assertEqual(len(firsts), 2)
        for first in firsts.values():
            self.assertIn(first, (b"\x16\x03\x01", b"\x16\x03\x03"))

    def test_ipv4(self):
        self.expect_passage(SERVER)

    def test_ipv6(self):
        self.expect_passage(SERVER6)

    def test_half_close_and_resets_go_through_both(self):
        for who in ("client", "server"):
            with self.subTest(reset_by=who):
                client_port, flows = self.announce_both(SERVER, 7000)
                accepted = []
                with Listener(self.site.server, 7000, lambda peer, _: accepted.append(peer.dup())):
                    c = self.site.connect(SERVER, 7000, client_port)
                    c.sendall(b"x")
                    for hop, flow in zip(self.site.hops, flows):
                        hop.plane.proof(flow, ESTABLISHED)
                    end = time.monotonic() + 5
                    while not accepted:
                        self.assertLess(time.monotonic(), end)
                        time.sleep(0.01)
                one, other = (c, accepted[0]) if who == "client" else (accepted[0], c)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.close()
                other.settimeout(5)
                with self.assertRaises(ConnectionResetError):
                    while other.recv(10):
                        pass
                other.close()
                for hop, flow in zip(self.site.hops, flows):
                    self.assertEqual(hop.plane.proof(flow, ENDED).end, f"{who}_reset")

    def test_a_relay_that_is_refused_resets_the_client(self):
        """The second relay doesn't trust the first's SVID any more: neither end is left with a connection."""
        self.site.hops[1].svids.revoked(self.authority, self.authority.revoke(self.web[0]))
        time.sleep(0.5)
        client_port, flows = self.announce_both(SERVER, 7000)
        self.expect_reset(client_port)
        proof = self.site.hops[1].plane.proof(flows[1], FAILED)
        self.assertEqual((proof.end, proof.detail), ("svid_refused", "revoked"))
