"""mTLS between workloads that don't speak it: plain on the links to the workloads, TLS 1.3 with both identities between the gateways.

Clients and servers are the field's own and unmodified. What the uncontrolled link carries is put together from its frames: each
TCP stream there must be TLS records from its first byte to its last.
"""
import json
import pathlib
import pwd
import re
import subprocess
import time
import unittest

import mtls_servers
import mtls_transfer
from harness import DB, UNPRIVILEGED, WEB, EndToEnd, Gateway
from mtls_case import Links, TwoGateways
from mtls_servers import HTTP, IPERF, POSTGRES, REDIS
from mtls_site import RELAY_USER, SEGMENTS, TAGGED
from svids import SvidDirectory
from tls_wire import segment_of, vlan_of
from traffic import Capture, TcpClient, TcpEcho, new_mark, send_udp

ECHO = 7001
POLICY = f"""
    policies:
      - name: services
        from: web
        to: db
        allow: [{", ".join(f"tcp/{port}" for port in (HTTP, IPERF, POSTGRES, REDIS, mtls_transfer.PORT, ECHO))}, udp/{ECHO}]
        mtls: relay
"""
HOSTS = {"IPv4": (DB.address, WEB.address), "IPv6": (DB.address6, WEB.address6)}
LARGE = 10**9


def url(host, port, path):
    return f"http://[{host}]:{port}/{path}" if ":" in host else f"http://{host}:{port}/{path}"


class Carried:
    """The cases; subclasses name the mode."""

    policy = POLICY

    @classmethod
    def start_servers(cls):
        db, directory = cls.place.db, cls.place.directory
        mtls_servers.start_redis(db, directory)
        mtls_servers.start_nginx(db, directory)
        mtls_servers.start_iperf(db)
        if mtls_servers.POSTGRES_PROGRAMS:
            mtls_servers.start_postgres(db, directory)

    def each_family(self):
        """(db's address, web's, a mark) for both families, within captures of every link that are looked at afterwards."""
        for name, (host, own) in HOSTS.items():
            with self.subTest(name):
                mark = new_mark()
                with Links(self.place) as links:
                    yield host, own, mark
                    time.sleep(0.2)
                self.assert_private(links, mark)

    def ask(self, *command, timeout=20):
        done = self.place.web.run(*command, check=False, timeout=timeout)
        self.assertEqual(done.returncode, 0, f"{done.stdout}{done.stderr}\n{self.a.log()}\n{self.b.log()}")
        return done.stdout.strip()

    def test_redis_cli(self):
        for host, _, mark in self.each_family():
            self.assertEqual(self.ask("redis-cli", "-h", host, "SET", "key", mark.decode()), "OK")
            self.assertEqual(self.ask("redis-cli", "-h", host, "GET", "key"), mark.decode())

    def test_curl_and_the_server_sees_the_clients_own_address_and_port(self):
        for host, own, mark in self.each_family():
            answer = self.ask("curl", "-sS", "-w", "\n%{local_ip} %{local_port}", url(host, HTTP, mark.decode()))
            seen, local = answer.split("\n")
            self.assertEqual(seen, f"{local} /{mark.decode()}")
            self.assertEqual(local.split()[0], own)

    @unittest.skipUnless(mtls_servers.POSTGRES_PROGRAMS, "no PostgreSQL server is installed (Debian's package postgresql)")
    def test_psql(self):
        for host, own, mark in self.each_family():
            query = f"select host(inet_client_addr()), repeat('{mark.decode()}', 1000)"
            self.assertEqual(self.ask("psql", "-h", host, "-U", "postgres", "-AtX", "-c", query), f"{own}|{mark.decode() * 1000}")

    def test_iperf3_both_ways(self):
        for host, _ in HOSTS.values():
            for way in ([], ["-R"]):
                with self.subTest(host=host, way=way):
                    with Links(self.place) as links:
                        report = self.ask("iperf3", "-c", host, "-J", "-n", "12M", "--repeating-payload", *way, timeout=40)
                    end = json.loads(report)["end"]  # at which the receiver need not have all that has been sent
                    self.assertGreater(end["sum_received"]["bytes"], 1_000_000)
                    self.assert_private(links, b"0123456789" * 10, least=2)

    def test_sha256_of_a_large_transfer(self):
        moved = mtls_transfer.transfer(self.place, DB.address, LARGE, seconds=5)
        self.assertEqual(moved.received, moved.sent)
        self.assertGreater(moved.received[0], LARGE / 100)

    def test_both_gateways_prove_both_identities(self):
        for host, _, mark in self.each_family():
            self.ask("redis-cli", "-h", host, "SET", "key", mark.decode())
            for gateway, role in ((self.a, "originate"), (self.b, "terminate")):
                proof = self.logged(gateway, "mtls", relay_role=role, dst=host)[-1]
                self.assertEqual((proof["verified_by"], proof["tls_version"], proof["src_svid"], proof["dst_svid"]),
                                 ("gateway", "1.3", "spiffe://corp.example/web/relay", "spiffe://corp.example/db/relay"))

    def test_udp_under_the_rule_does_not_pass(self):
        mark = new_mark()
        with Links(self.place) as links, self.assert_drops(self.b), self.assert_drops(self.a, mtls_required=2):
            for host in (DB.address, DB.address6):
                send_udp(self.place.web, host, ECHO, [mark])
        self.assertEqual([frame for _, frame in links.between() if mark in frame], [])


class Wire(Carried, TwoGateways):
    mode = "wire"

    def test_vlan_is_carried_along(self):
        mark = new_mark()
        with self.place.tagged() as host, TcpEcho(self.place.db, ECHO), Links(self.place) as links:
            with TcpClient(self.place.web, host, ECHO) as client:
                self.assertEqual(client.ask(mark), mark)
            time.sleep(0.2)
        self.assert_private(links, mark)
        for frames in (links.between("a"), links.between("b"), links.outer("web"), links.outer("db")):
            ours = [frame for _, frame in frames if (segment := segment_of(frame)) and ECHO in segment.ends]
            self.assertEqual({vlan_of(frame) for frame in ours}, {TAGGED})

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


class Route(Carried, TwoGateways):
    mode = "route"


class Local(EndToEnd):
    """Both ends behind attached ports of one gateway: it is its own ground."""

    def test_attached_to_attached_stays_plain(self):
        place = self.site("wire")
        keys = SvidDirectory(place.directory / "svid", 1)
        gateway = Gateway(place, POLICY)
        gateway.config_file.write_text(gateway.config_text() + f"svid: {{directory: {keys.path}, user: {RELAY_USER}}}\n")
        gateway.write_policy("segments.yaml", SEGMENTS)
        gateway.start()
        self.addCleanup(self.assert_conserved, gateway)
        for host in (DB.address, DB.address6):
            mark = new_mark()
            with TcpEcho(place.db, ECHO), Capture(place.db) as arriving, TcpClient(place.web, host, ECHO) as client:
                self.assertEqual(client.ask(mark), mark)
                self.assert_within(2, lambda: arriving.marked(mark), "not in clear")
        self.assertFalse(gateway.drops().keys() & {"mtls_required", "relay_unavailable"})
