"""mTLS between workloads that don't speak it: plain on the links to the workloads, TLS 1.3 with both identities between the gateways."""
import json
import pathlib
import pwd
import re
import subprocess
import time

from harness import DB, UNPRIVILEGED, EndToEnd
from mtls_site import RELAY_USER, MtlsGateway, MtlsSite
from traffic import Capture

POLICY = """
    policies:
      - {name: cache, from: web, to: db, allow: [tcp/6379, tcp/5201], mtls: relay}
"""


class TwoGateways(EndToEnd):
    @classmethod
    def setUpClass(cls):
        cls.place = MtlsSite()
        cls.addClassCleanup(cls.place.close)
        cls.a = MtlsGateway(cls.place.a, POLICY, "127.0.0.1:9464").start()
        cls.b = MtlsGateway(cls.place.b, POLICY, "127.0.0.1:9464").start()
        cls.place.db.popen("redis-server", "--port", "6379", "--bind", "0.0.0.0", "::", "--protected-mode", "no", "--save", "",
                           "--dir", cls.place.directory)

    def setUp(self):
        self.assert_within(10, lambda: self.place.db.run("redis-cli", "ping", check=False).returncode == 0, "redis didn't start")

    def test_redis_is_plain_at_both_ends_and_tls_between(self):
        with Capture(self.place.mid, "toa") as between, Capture(self.place.mid, "tob") as back, Capture(self.place.db, "eth0") as inside:
            for host in (DB.address, DB.address6):
                done = self.place.web.run("redis-cli", "-h", host, "SET", "secret-key", "secret-value", check=False, timeout=10)
                self.assertEqual(done.stdout.strip(), "OK", f"{done.stderr}\n{self.a.log()}\n{self.b.log()}")
                time.sleep(0.1)
        carried = b"".join(frame for _, frame in between.frames() + back.frames())
        self.assertNotIn(b"secret", carried)
        self.assertIn(b"\x16\x03\x01", carried)  # a ClientHello's record
        self.assertIn(b"secret-value", b"".join(frame for _, frame in inside.frames()))
        for gateway, role in ((self.a, "originate"), (self.b, "terminate")):
            proofs = self.lines(gateway, "mtls")
            self.assertEqual([p["relay_role"] for p in proofs], [role, role])
            for proof in proofs:
                self.assertEqual((proof["verified_by"], proof["tls_version"], proof["src_svid"], proof["dst_svid"]),
                                 ("gateway", "1.3", "spiffe://corp.example/web/relay", "spiffe://corp.example/db/relay"))

    def test_only_the_control_plane_attaches_to_the_relay(self):
        """By its socket's owner and mode: in its own user namespace the relay knows nobody but itself."""
        directory = pathlib.Path(f"{self.a.socket}.tls")
        sock = directory / "relay"
        self.assertEqual((directory.stat().st_uid, directory.stat().st_mode & 0o777), (0, 0o755))
        self.assertEqual((sock.stat().st_uid, sock.stat().st_mode & 0o777), (pwd.getpwnam(UNPRIVILEGED).pw_uid, 0o600))
        code = "import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\ns.connect(sys.argv[1])"
        relay = pwd.getpwnam(RELAY_USER).pw_uid
        for user in (1234, relay):
            said = subprocess.run(["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "/usr/bin/python3", "-c", code, sock],
                                  capture_output=True, text=True, timeout=10).stderr
            self.assertIn("PermissionError", said)
        pid = re.search(r"attached to the mTLS relay \(pid (\d+)\)", self.a.log()).group(1)
        self.assertEqual([line.split() for line in pathlib.Path(f"/proc/{pid}/uid_map").read_text().splitlines()],
                         [[str(relay), str(relay), "1"]])

    def lines(self, gateway, event):
        """The flow log's lines of a kind, once there are some."""
        def those():
            return [line for line in map(json.loads, gateway.flow_log.read_text().splitlines()) if line["event"] == event]
        self.assert_within(5, those, lambda: f"no {event} in {gateway.flow_log.read_text()}")
        return those()
