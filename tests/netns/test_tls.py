"""mtls: end_to_end between programs that speak TLS in earnest: what passes, what is refused, and what the gateway says of it."""
import contextlib
import hashlib
import json
import socket
import ssl
import subprocess
import threading
import time

from harness import DB, EndToEnd
from traffic import Capture, can_exchange_udp, new_mark

POLICY = """
policies:
  - {name: encrypted, from: web, to: db, allow: [tcp/8443, udp/8443], mtls: end_to_end, sni: [db.corp.example, "*.apps.example"]}
  - {name: in-clear, from: web, to: db, allow: [tcp/8000]}
"""
NAME = "db.corp.example"
LOSSY = "table inet lossy {" + "".join(
    f"chain {hook} {{ type filter hook {hook} priority 0; tcp dport 8443 numgen random mod 100 < 10 drop; tcp sport 8443 numgen random mod 100 < 10 drop; }}; "
    for hook in ("input", "output")) + "}"
NGINX = """
daemon off; pid {0}/nginx.pid; user nobody nogroup; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
  server {{
    listen 8443 ssl; listen [::]:8443 ssl; ssl_protocols {1};
    ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem;
    location / {{ return 200 "served\\n"; }}
  }}
}}
"""


class Tls:
    """Certificates of a site, and programs that use them."""

    def __init__(self, site):
        self.site, self.directory = site, site.directory / "tls"
        self.directory.mkdir()
        self.cert, self.key = self.directory / "cert.pem", self.directory / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=workload", "-addext", f"subjectAltName=DNS:{NAME},DNS:*.apps.example",
                        "-keyout", self.key, "-out", self.cert], check=True, capture_output=True)
        for path in (self.directory, self.cert, self.key):
            path.chmod(0o755)

    @contextlib.contextmanager
    def s_server(self, *words):
        """`openssl s_server` that wants a client's certificate, too."""
        server = self.site.db.popen("openssl", "s_server", "-accept", "8443", "-cert", self.cert, "-key", self.key, "-Verify", "1",
                                    "-CAfile", self.cert, "-rev", "-quiet", *words)
        try:
            self._wait_listening()
            yield server
        finally:
            server.kill()
            server.wait()

    def _wait_listening(self):
        end = time.monotonic() + 10
        while "8443" not in self.site.db.run("ss", "-Htln").stdout:
            if time.monotonic() > end:
                raise AssertionError("nothing listens on port 8443")
            time.sleep(0.05)

    def s_client(self, *words, name=NAME, address=DB.address):
        """What `openssl s_client` prints that says hello and waits a second for an answer."""
        names = ["-servername", name] if name else ["-noservername"]
        host = f"[{address}]" if ":" in address else address
        return self.site.web.run("sh", "-c", '(echo hello; sleep 1) | exec openssl s_client "$@"', "s_client", "-quiet", "-no_ign_eof",
                                 "-connect", f"{host}:8443", *names, "-cert", self.cert, "-key", self.key, "-CAfile", self.cert, *words, check=False)

    @contextlib.contextmanager
    def nginx(self, protocols="TLSv1.3"):
        (self.directory / "nginx.conf").write_text(NGINX.format(self.directory, protocols))
        server = self.site.db.popen("nginx", "-p", self.directory, "-e", self.directory / "error.log", "-c", self.directory / "nginx.conf")
        try:
            self._wait_listening()
            yield
        finally:
            server.terminate()
            server.wait()

    def curl(self, *words, name=NAME, scheme="https", address=DB.address):
        return self.site.web.run("curl", "-sS", "-m", "5", "--cacert", self.cert, "--resolve", f"{name}:8443:{address}", *words,
                                 f"{scheme}://{name}:8443/", check=False)

    def context(self, server):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.cert, self.key)
        context.load_verify_locations(self.cert)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    @contextlib.contextmanager
    def echo(self):
        """A server that sends back what it gets, to clients that show a certificate."""
        listener = self.site.db.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", 8443))
        listener.listen(64)
        context = self.context(server=True)

        def serve(connection):
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                while data := tls.recv(65536):
                    tls.sendall(data)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def connect(self, name=NAME, segment=None, timeout=10):
        """A client's connection, its certificate shown. `segment`: the most bytes of a TCP segment."""
        plain = self.site.web.socket(socket.AF_INET, socket.SOCK_STREAM)
        plain.settimeout(timeout)
        if segment:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        plain.connect((DB.address, 8443))
        return self.context(server=False).wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False)


class EndToEndTls(EndToEnd):
    MODE = "wire"

    def setUp(self):
        self.place = self.site(self.MODE)
        self.tls = Tls(self.place)
        self.gw = self.gateway(self.place, POLICY, dataplane="timeouts: {closing: 1s}")

    def log_lines(self, event):
        if not self.gw.flow_log.exists():
            return []
        lines = [json.loads(line) for line in self.gw.flow_log.read_text().splitlines()]
        return [line for line in lines if line["event"] == event]

    def assert_refused(self, result):
        self.assertNotEqual(result.returncode, 0, result.stdout)
        self.assertRegex(result.stderr + result.stdout, r"(?i)reset by peer|errno=104|Connection reset")

    def test_openssl_on_both_ends_and_what_is_said_of_it(self):
        for address in (DB.address, DB.address6):
            with self.tls.s_server("-tls1_3"):
                self.assertIn("olleh", self.tls.s_client(address=address).stdout)
        self.assert_within(5, lambda: len(self.log_lines("close")) == 2, lambda: self.gw.flow_log.read_text())
        for event in ("verified", "close"):
            for line in self.log_lines(event):
                self.assertEqual({k: line[k] for k in ("mtls", "verified_by", "tls_version", "sni", "rule")},
                                 {"mtls": "end_to_end", "verified_by": "workloads", "tls_version": "1.3", "sni": NAME, "rule": "encrypted"})
                self.assertRegex(line["cipher"], r"^TLS_(AES|CHACHA20)")
        self.assertEqual(len(self.log_lines("verified")), 2)

    def test_a_server_that_asks_again_for_another_group(self):
        with self.tls.s_server("-tls1_3", "-groups", "P-384"), Capture(self.place.db) as seen:
            self.assertIn("olleh", self.tls.s_client("-groups", "X25519:P-384").stdout)
        hellos = [frame for _, frame in seen.frames() if b"\x16\x03\x03" in frame and NAME.encode() in frame]
        self.assertGreaterEqual(len(hellos), 1, "the second ClientHello has the later record version, so there was a HelloRetryRequest")

    def test_tls_1_2_is_refused_whoever_wants_it(self):
        with self.tls.s_server("-tls1_2"):
            self.assert_refused(self.tls.s_client())
            self.assert_refused(self.tls.s_client("-tls1_2"))
        with self.tls.nginx("TLSv1.2"):
            self.assert_refused(self.tls.curl())
        faults = [line["tls_fault"] for line in self.log_lines("revoke")]
        self.assert_within(3, lambda: len(self.log_lines("revoke")) == 3, lambda: str(faults))
        self.assertEqual({line["tls_fault"] for line in self.log_lines("revoke")},
                         {"the server does not choose TLS 1.3", "the client does not offer TLS 1.3"})

    def test_curl_and_nginx_by_name(self):
        with self.tls.nginx():
            for address in (DB.address, DB.address6):
                self.assertEqual(self.tls.curl(address=address).stdout, "served\n")
            self.assertEqual(self.tls.curl(name="a.apps.example").stdout, "served\n")
            self.assert_refused(self.tls.curl(name="a.b.apps.example"))
            self.assert_refused(self.tls.curl(name="mail.corp.example"))
            self.assert_refused(self.tls.curl(scheme="http"))
            self.assert_refused(self.tls.s_client(name=None))

    def test_protocols_that_begin_in_clear_are_refused_and_nothing_of_them_arrives(self):
        mark = new_mark()
        with self.place.db.socket(socket.AF_INET, socket.SOCK_STREAM) as listener, Capture(self.place.db) as at_db, Capture(self.place.web) as at_web:
            listener.bind(("", 8443))
            listener.listen(8)
            for greeting, first in ((b"220 " + mark, b""), (b"", b"EHLO " + mark), (b"", b"\0\0\0\x08\x04\xd2\x16\x2f" + mark), (b"", b"GET / " + mark)):
                with self.place.web.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
                    client.settimeout(3)
                    client.connect((DB.address, 8443))
                    server, _ = listener.accept()
                    with server:
                        server.settimeout(3)
                        client.send(first) if first else server.send(greeting)
                        for end in (client, server):
                            with self.assertRaises(ConnectionResetError):
                                end.recv(1)
            self.assertFalse(can_exchange_udp(self.place.web, DB.address, 8443))
        self.assertEqual(at_db.marked(mark) + at_web.marked(mark), [])
        self.assertGreaterEqual(self.gw.drops()["mtls_required"], 5)

    def test_python_and_much_data_in_small_segments_with_packets_lost_on_both_sides_of_the_gateway(self):
        self.place.web.run("nft", LOSSY)
        data = bytes(range(256)) * 512
        with self.tls.echo():
            for segment in (88, 200, 536, None):
                for _ in range(6):
                    with self.tls.connect(segment=segment, timeout=30) as client:
                        client.sendall(data)
                        got = b""
                        while len(got) < len(data):
                            got += client.recv(65536)
                        self.assertEqual(hashlib.sha256(got).digest(), hashlib.sha256(data).digest())
        self.assertEqual(len(self.log_lines("revoke")), 0, self.log_lines("revoke"))

    def test_flows_tell_what_is_verified_and_what_passes_in_clear(self):
        with self.tls.echo(), self.tls.connect(name="a.apps.example") as client, self.place.db.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            client.sendall(b"x")
            self.assertEqual(client.recv(1), b"x")
            listener.bind(("", 8000))
            listener.listen(1)
            with self.place.web.socket(socket.AF_INET, socket.SOCK_STREAM) as plain:
                plain.connect((DB.address, 8000))
                flows = {flow["service"]: flow for flow in self.gw.flows()}
                self.assertEqual([flows["tcp/8443"][key] for key in ("mtls", "verified_by", "tls_version", "sni", "state")],
                                 ["end_to_end", "workloads", "1.3", "a.apps.example", "established"])
                self.assertEqual(flows["tcp/8443"]["cipher"], client.cipher()[0])
                self.assertEqual([flows["tcp/8000"][key] for key in ("mtls", "verified_by", "tls_version", "cipher", "sni")], ["none", None, None, None, None])
                answer = self.gw.ask("flows", "--unencrypted")
                self.assertEqual([flow["service"] for flow in answer["flows"]], ["tcp/8000"])
                self.assertEqual(answer["clear_rules"], [{"rule": "in-clear", "tier": "segment", "from": "web", "to": "db", "services": ["tcp/8000"], "until_ns": None}])

    def test_a_change_of_names_cuts_who_has_another_and_nobody_else(self):
        with self.tls.echo(), self.tls.connect(name=NAME) as named, self.tls.connect(name="a.apps.example") as other:
            for client in (named, other):
                client.sendall(b"x")
                self.assertEqual(client.recv(1), b"x")
            self.gw.reload("rules.yaml", POLICY.replace(f"{NAME}, ", ""))
            with self.assertRaises((ConnectionResetError, ssl.SSLEOFError)):
                named.sendall(b"x")
                named.recv(1)
            other.sendall(b"y")
            self.assertEqual(other.recv(1), b"y")


class EndToEndTlsRouted(EndToEndTls):
    MODE = "route"
