"""THC's firewall6 (atk6-firewall6) through a gateway: ways to slip IPv6 past a filter, towards a port that policy allows and one that it denies."""
import contextlib
import shutil
import socket
import subprocess
import unittest

from harness import DB, WEB, EndToEnd
from traffic import Capture, TcpEcho, UdpEcho

POLICY = """
policies:
  - {name: web-calls-db, from: web, to: db, allow: [tcp/7000, udp/7000, icmp6/echo]}
"""
CASES = range(1, 39)
TRUSTED_PORTS = 20, 21, 22, 25, 53, 80, 111, 123, 179, 443, 8080  # case 39: plain packets from these; the tool waits four seconds for each
EXTENSIONS = {0, 43, 60}  # hop-by-hop, routing, destination options
FRAGMENT, TCP, UDP, ICMPV6 = 44, 6, 17, 58
IPV6, ARP = b"\x86\xdd", b"\x08\x06"


def upper_protocol(frame):
    """What an IPv6 frame carries behind its extension headers; of a fragment, what its header says."""
    proto, at = frame[20], 54
    while (proto in EXTENSIONS or proto == FRAGMENT) and at + 8 <= len(frame):
        proto, at = frame[at], at + (8 if proto == FRAGMENT else (frame[at + 1] + 1) * 8)
    return proto


@unittest.skipUnless(shutil.which("atk6-firewall6"), "atk6-firewall6 isn't installed (package thc-ipv6)")
class Firewall6(EndToEnd):
    def setUp(self):
        self.place = self.site()
        for port in (7000, 7001):
            self.place.enter(TcpEcho(self.place.db, port))
            self.place.enter(UdpEcho(self.place.db, port))
        self.gw = self.gateway(self.place, POLICY)
        web = self.place.web
        self.assert_within(10, lambda: web.run("ping", "-c", "1", "-W", "1", DB.address6, check=False).returncode == 0, "no way to db")
        self.assert_within(10, lambda: "fe80::" in web.run("ip", "-6", "addr", "show", "dev", "eth0", "scope", "link", "-tentative").stdout,
                           "no link-local address")

    def attack(self, port, cases, *words):
        """What the tool says of each case, all of them at once, and the frames of web's that arrived."""
        with Capture(self.place.db) as arriving:
            running = [self.place.web.popen("atk6-firewall6", *words, "eth0", DB.address6, port, case, stdout=subprocess.PIPE, text=True)
                       for case in cases]
            self.send_from_trusted_ports(port, socket.SOCK_DGRAM if "-u" in words else socket.SOCK_STREAM)
            said = [process.communicate(timeout=60)[0] for process in running]
        for one in said:
            self.assertIn("Starting firewall6", one)
        web = bytes.fromhex(WEB.mac.replace(":", ""))
        return said, [frame for _, frame in arriving.frames() if frame[6:12] == web]

    def send_from_trusted_ports(self, port, kind):
        for source in TRUSTED_PORTS:
            with self.place.web.socket(socket.AF_INET6, kind) as s:
                s.setblocking(False)
                s.bind(("::", source))
                with contextlib.suppress(BlockingIOError):
                    s.connect((DB.address6, port))
                if kind == socket.SOCK_DGRAM:
                    s.send(b"plain")

    def expect_nothing_denied(self, protocol, *words):
        said, frames = self.attack(7001, CASES, *words)
        for one in said:
            self.assertNotIn("received", one)
        arrived = {upper_protocol(f) if f[12:14] == IPV6 else f[12:14] for f in frames}
        self.assertNotIn(protocol, arrived)
        self.assertLessEqual(arrived, {ICMPV6, ARP})  # pings are allowed
        drops = self.gw.drops()
        for reason in ("policy_denied", "ipv6_header_chain", "ip_malformed"):
            self.assertGreater(drops.get(reason, 0), 0, drops)

    def test_towards_an_allowed_port_plain_packets_are_answered(self):
        said, frames = self.attack(7000, [1, 2])
        for one in said:
            self.assertIn("TCP-SYN-ACK received", one)
        self.assertIn(TCP, {upper_protocol(f) for f in frames})

    def test_towards_a_denied_tcp_port_nothing_arrives(self):
        self.expect_nothing_denied(TCP)

    def test_towards_a_denied_udp_port_nothing_arrives(self):
        self.expect_nothing_denied(UDP, "-u")
