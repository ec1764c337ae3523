#!/usr/bin/python3 -B
"""The same random packets through Bulkhead and through Linux's connection tracking, packet for packet.

    tests/netns/differential.py [--seeds N] [--first SEED] [--packets N]

Linux is a router in a namespace: nftables accepts `ct state established,related` and, as new, what Bulkhead's policy allows. Bulkhead is
`replay` in route mode, with the same addresses. Whoever passes a packet must pass the same bytes; where one passes it and the other doesn't,
an entry of DIVERGENCES (divergences.py) must say why. Needs root.
"""
import argparse
import collections
import json
import os
import pathlib
import socket
import sys
import tempfile
import time

import net
from divergences import Knowledge, Seen, explain, learn
from frames import frame, number_of
from streams import CLIENTS, ROUTERS, SERVERS, stream
from traffic import read_pcap, write_pcap

BUILD = pathlib.Path(os.environ.get("BULKHEAD_BUILD", pathlib.Path(__file__).resolve().parents[2] / "build" / "release"))
GATEWAY_MACS = {"left": "02:00:00:00:01:fe", "right": "02:00:00:00:02:fe"}
HOST_MACS = {"left": "02:00:00:00:01:01", "right": "02:00:00:00:02:01"}
HOSTS = {"left": [*CLIENTS, ROUTERS[1]], "right": [*SERVERS, ROUTERS[0]]}
NUMBER = {"left": 1, "right": 2}
START_NS, STEP_NS = 1_700_000_000_000_000_000, 1_000_000

POLICY = """
segments:
  web: {tag: 100, members: [10.1.0.0/24, "fd00:1::/64"]}
  db: {tag: 200, members: [10.2.0.0/24, "fd00:2::/64"]}
policies: [{name: open, from: web, to: db, allow: [tcp/80, udp/53, icmp/echo, icmp6/echo]}]
"""
RULES = """
table inet filter {
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "left" tcp dport 80 ct state new accept
    iifname "left" udp dport 53 ct state new accept
    iifname "left" icmp type echo-request ct state new accept
    iifname "left" icmpv6 type echo-request ct state new accept
  }
}
"""
SYSCTLS = {"ipv4.ip_forward": 1, "ipv6.conf.all.forwarding": 1, "netfilter.nf_conntrack_tcp_be_liberal": 0, "netfilter.nf_conntrack_tcp_loose": 0,
           "netfilter.nf_conntrack_checksum": 1, "ipv4.conf.all.send_redirects": 0}


def framed(packet):
    side = "left" if packet.from_client else "right"
    return side, frame(packet.ip, GATEWAY_MACS[side], HOST_MACS[side])


class LinuxRouter:
    """A router in a namespace of its own, between two ends in another. A context manager."""

    def __init__(self):
        prefix = net.next_prefix()
        self.router, self.ends = net.Namespace(prefix + "router"), net.Namespace(prefix + "ends")
        try:
            for side in GATEWAY_MACS:
                self._link(side)
            self.router.run("nft", RULES)
            for key, value in SYSCTLS.items():
                self.router.set_sysctl(key, value)
        except BaseException:
            self.__exit__()
            raise

    def _link(self, side):
        net.connect_veth(self.ends, side, self.router, side, HOST_MACS[side], GATEWAY_MACS[side])
        for family, bits in ((0, 24), (1, 64)):
            own = f"10.{NUMBER[side]}.0.254" if family == 0 else f"fd00:{NUMBER[side]}::fe"
            self.router.run("ip", "addr", "add", f"{own}/{bits}", "dev", side, *(["nodad"] if family else []))
        for pair in HOSTS[side]:
            for address in pair:
                self.router.run("ip", "neigh", "add", address, "lladdr", HOST_MACS[side], "dev", side, "nud", "permanent")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.router.close()
        self.ends.close()

    def pass_on(self, packets):
        """The frames that came out, by the number of what went in."""
        sockets = {side: self.ends.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) for side in GATEWAY_MACS}
        for side, s in sockets.items():
            s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
            s.bind((side, 3))                              # ETH_P_ALL
            s.setblocking(False)
        sent, out = {}, {}
        cpus = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cpus)})  # on one CPU everything stays in order
        try:
            for packet in packets:
                side, sent[packet.number] = framed(packet)
                sockets[side].send(sent[packet.number])
            time.sleep(0.2)
        finally:
            os.sched_setaffinity(0, cpus)
        for side, s in sockets.items():
            for came in received(s):
                number = number_of(came)
                if number in sent and framed(packets[number - 1])[0] != side and came[6:12] == bytes.fromhex(GATEWAY_MACS[side].replace(":", "")):
                    out[number] = came
            s.close()
        return out


def received(s):
    """What has arrived at a packet socket, what it sent left out."""
    while True:
        try:
            content, address = s.recvfrom(65536)
        except BlockingIOError:
            return
        if address[2] != socket.PACKET_OUTGOING:
            yield content


class Replay:
    """Bulkhead on recorded packets, in a directory."""

    def __init__(self, directory):
        self.directory = directory
        (directory / "policy").mkdir()
        (directory / "policy" / "policy.yaml").write_text(POLICY)
        ports = "".join(
            f'    - {{name: {side}, mac: "{GATEWAY_MACS[side]}", addresses: [10.{NUMBER[side]}.0.254/24, "fd00:{NUMBER[side]}::fe/64"], neighbours: ['
            + ", ".join(f'{{address: "{a}", mac: "{HOST_MACS[side]}"}}' for pair in HOSTS[side] for a in pair) + "]}\n" for side in GATEWAY_MACS)
        (directory / "gateway.yaml").write_text(f"gateway: {{name: gw}}\ndataplane:\n  mode: route\n  ports:\n{ports}policy: policy/\n")

    def pass_on(self, packets):
        """The frames that came out and the verdicts, by the number of what went in."""
        recorded = {side: [] for side in GATEWAY_MACS}
        for packet in packets:
            side, content = framed(packet)
            recorded[side].append((START_NS + packet.number * STEP_NS, content))
        arguments = []
        for side, frames in recorded.items():
            write_pcap(self.directory / f"{side}.pcap", frames)
            arguments += ["--in", f"{side}={self.directory / side}.pcap"]
        net.run(BUILD / "src" / "cli" / "bulkhead", "replay", "--config", self.directory / "gateway.yaml", "--out", self.directory / "out",
                "--verdicts", self.directory / "verdicts", *arguments)
        verdicts = {v["packet"]: v for v in map(json.loads, (self.directory / "verdicts").read_text().splitlines())}
        frames = [f for side in GATEWAY_MACS for f in read_pcap(self.directory / "out" / f"{side}.pcap")]
        return {number_of(f): f for f in frames}, verdicts


def compare(seed, count):
    """(explained divergences by name, what nothing explains) of one stream."""
    packets = stream(seed, count)
    with tempfile.TemporaryDirectory(prefix=net.next_prefix()) as directory, LinuxRouter() as linux:
        through_linux = linux.pass_on(packets)
        through_bulkhead, verdicts = Replay(pathlib.Path(directory)).pass_on(packets)
    explained, wrong, talks = collections.Counter(), [], collections.defaultdict(Knowledge)
    for packet in packets:
        by_linux, by_bulkhead = through_linux.get(packet.number), through_bulkhead.get(packet.number)
        seen = Seen(packet, by_linux is not None, by_bulkhead is not None, verdicts[packet.number], talks[packet.talk])
        if by_linux and by_bulkhead and by_linux != by_bulkhead:
            wrong.append(f"seed {seed}, {seen}: the bytes differ")
        elif seen.differs:
            name = explain(seen)
            explained[name] += name is not None
            wrong += [] if name else [f"seed {seed}, {seen}"]
        explained["in step"] += seen.talk.apart is None
        learn(seen)
    return explained, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--packets", type=int, default=400, help="of each seed (at most 60,000)")
    arguments = parser.parse_args()
    net.remove_leftovers()
    total, failures = collections.Counter(), 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        explained, wrong = compare(seed, arguments.packets)
        total += explained
        failures += len(wrong)
        print(*wrong, sep="\n", end="\n" if wrong else "", flush=True)
    in_step = total.pop("in step")
    print(f"{arguments.seeds} seeds of {arguments.packets} packets, {in_step} of them where both know the same: {failures} divergences unexplained, "
          f"{sum(total.values())} explained")
    for name, count in total.most_common():
        print(f"  {count:6}  {name}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
