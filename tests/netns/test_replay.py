"""What replay says of recorded packets is what the gateway did with them: the same verdicts, and the same frames out, byte for byte."""
import collections
import json
import os
import shutil
import socket

from harness import BULKHEAD, DB, NOISE, WEB, EndToEnd
from traffic import Capture, TcpClient, TcpEcho, UdpEcho, can_connect, can_exchange_udp, new_mark, read_pcap, send_udp, write_pcap
import net

POLICY = """
policies:
  - {name: web-calls-db, from: web, to: db, allow: [tcp/7000, udp/7000, udp/7003, icmp/echo, icmp6/echo]}
  - {name: no-telnet, tier: guardrail, from: any, to: any, deny: [tcp/23, udp/23], on_deny: reject}
"""
ETHERNET = bytes.fromhex("ffffffffffff 020000000101")
ARP_REQUEST = ETHERNET + bytes.fromhex("0806 0001 0800 06 04 0001 020000000101 0a010005 000000000000 0a020006")
IP_WITHOUT_CHECKSUM = ETHERNET + bytes.fromhex("0800 45000026 00000000 40110000 0a010005 0a020006")


class Replay(EndToEnd):
    mode, changes = "wire", {}

    def setUp(self):
        self.place = self.site(self.mode)
        for context in (TcpEcho(self.place.db, 7000), UdpEcho(self.place.db, 7000), TcpEcho(self.place.web, 7000)):
            self.place.enter(context)
        self.gw = self.gateway(self.place, POLICY, **self.changes)

    def talk(self):
        """Something of everything: allowed, denied, rejected, spoofed, malformed, errors, both families, both directions."""
        web, db = self.place.web, self.place.db
        web.run("ip", "addr", "add", "10.2.0.77/32", "dev", "eth0")
        for host in (DB.address, DB.address6):
            with TcpClient(web, host, 7000) as client:
                for size in (1, 1000, 100_000):
                    self.assertEqual(len(client.ask(b"x" * size)), size)
            for _ in range(20):
                self.assertTrue(can_exchange_udp(web, host, 7000, tries=3))
            self.assertFalse(can_connect(web, host, 7001, timeout=0.3))
            self.assertFalse(can_connect(web, host, 23))
            send_udp(web, host, 23, [b"x" * 300] * 3)
            send_udp(web, host, 7003, [b"nobody listens"] * 3)  # answered by an ICMP error
            send_udp(web, host, 7000, [b"x" * 4000])            # in fragments
            send_udp(web, host, 7001, [b"x" * 4000])            # in fragments, and denied
            self.assertIn("2 received", web.run("ping", "-c", "2", "-i", "0.1", "-W", "2", host).stdout)
        self.assertFalse(can_connect(db, WEB.address, 7000, timeout=0.3))
        send_udp(web, DB.address, 7000, [new_mark()] * 5, source="10.2.0.77")
        with web.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
            raw.bind(("eth0", 0))
            for start in ARP_REQUEST, IP_WITHOUT_CHECKSUM:
                for end in range(15, 60):  # cut everywhere, or with noise behind it
                    raw.send((start + os.urandom(60))[:end])

    def record(self):
        """The talk's frames by workload, as sent and as received, and the drops that it caused."""
        directions = {(w.name, leaving): self.enterContext(Capture(getattr(self.place, w.name), leaving=leaving))
                      for w in self.place.workloads for leaving in (True, False)}
        before = self.gw.drops()
        self.talk()
        self.assert_conserved(self.gw)
        after = self.gw.drops()
        drops = {reason: after[reason] - before.get(reason, 0) for reason in after if after[reason] != before.get(reason, 0)}
        return {key: capture.frames() for key, capture in directions.items()}, drops

    def replay(self, name, ports):
        """Runs replay as nobody, on what the ports received; returns the verdict lines and the directory of what came out."""
        place = self.place.directory / name
        place.mkdir()
        shutil.chown(place, "nobody")
        bulkhead = shutil.copy(BULKHEAD, place)  # the build directory need not be nobody's to read
        arguments = [word for port in ports for word in ("--in", f"{port}={self.place.directory / port}.pcap")]
        net.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
                "--no-new-privs", bulkhead, "replay", "--config", self.gw.config_file, "--out", place / "out",
                "--verdicts", place / "verdicts", *arguments)
        return (place / "verdicts").read_bytes(), place / "out"

    def test_replay_agrees_with_the_live_gateway_and_with_itself(self):
        frames, drops = self.record()
        ports = [w.name for w in self.place.workloads]
        for port in ports:
            write_pcap(self.place.directory / f"{port}.pcap", frames[port, True])
        verdicts, out = self.replay("first", ports)

        lines = [json.loads(line) for line in verdicts.splitlines()]
        self.assertEqual(len(lines), sum(len(frames[port, True]) for port in ports))
        dropped = collections.Counter(line["reason"] for line in lines if line["verdict"] in ("drop", "reject"))
        for noise in NOISE:
            drops.pop(noise, None), dropped.pop(noise, None)
        self.assertEqual(dict(dropped), drops)
        for reason in ("policy_denied", "policy_explicit_deny", "spoofed_source", "arp_invalid", "ip_malformed", "ip_checksum"):
            self.assertIn(reason, drops)
        for port in ports:
            self.assertEqual(sorted(read_pcap(out / f"{port}.pcap")), sorted(frame for _, frame in frames[port, False]), port)

        again, out_again = self.replay("second", ports)
        self.assertEqual(again, verdicts)
        for port in ports:
            self.assertEqual((out_again / f"{port}.pcap").read_bytes(), (out / f"{port}.pcap").read_bytes())


class ReplayOfARouter(Replay):
    mode = "route"


class ReplayOfFourWorkers(Replay):
    """What four workers did, replay's one does."""
    changes = {"cores": "[0, 1]", "workers_a_core": 2}

