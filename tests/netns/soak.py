#!/usr/bin/python3 -B
"""Real traffic and hostile packets through a live gateway, its policy changed meanwhile.

    tests/netns/soak.py [--seconds N] [--build DIR]     (default: 600 seconds; needs root)

Fails where a connection of the well-behaved fails, where a plane's resident memory at the end is more than 4 MiB over what it was after
a fifth of the time (two minutes of ten), or where at the end the packets don't add up exactly.
"""
import argparse
import itertools
import os
import pathlib
import random
import re
import socket
import sys
import threading
import time

import net
from frames import ACK, FIN, RST, SYN, frame, icmp, ip, is_v4, tcp, udp

GROWTH_KIB = 4096
SHARE = "max_flows_per_identity: 8192"  # half of the table: what is closed stays for minutes, and the well-behaved close nine a second
PLANES = ("bulkhead-dataplane", "bulkhead-controlplane")
HOSTILE_REASONS = "policy_denied", "tcp_no_state", "l4_checksum", "icmp_unrelated"
POLICY = """
policies:
  - {{name: web-calls-db, from: web, to: db, allow: [tcp/7000, udp/7000]}}
  - {{name: app-calls-db, from: app, to: db, allow: [tcp/7010, udp/7010, udp/{}, icmp/echo, icmp6/echo]}}
"""


class Loop:
    """A thread that calls a function again and again, with a pause. A context manager."""

    def __init__(self, pause, function, *arguments):
        self._pause, self._function, self._arguments = pause, function, arguments
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.done, self.failed = 0, []

    def _run(self):
        while not self._stop.is_set():
            try:
                self._function(*self._arguments)
                self.done += 1
            except (OSError, AssertionError) as error:
                self.failed.append(f"{type(error).__name__}: {error}")
            self._stop.wait(self._pause)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def hostile_frames(rng, source, destination, to_mac, from_mac):
    """Packets that policy allows and denies, in and out of order, half of them with a byte or two that are wrong."""
    while True:
        ports = rng.randrange(1024, 65536), rng.choice([7010, 7010, 7011])
        number = rng.getrandbits(16)
        kind = rng.randrange(5)
        if kind < 2:
            payload, proto = tcp(source, destination, ports, rng.getrandbits(32), rng.getrandbits(32), rng.choice([SYN, SYN, ACK, FIN | ACK, RST]), 1000), 6
        elif kind == 2:
            payload, proto = udp(source, destination, ports, rng.randbytes(rng.randrange(1200))), 17
        else:
            query = (8, 0) if is_v4(source) else (128, 0)
            error = (3, 3) if is_v4(source) else (1, 4)
            quoted = ip(destination, source, 17, udp(destination, source, ports, bytes(8)))
            payload, proto = icmp(source, destination, *(query if kind == 3 else error), rng.getrandbits(32), quoted), 1 if is_v4(source) else 58
        packet = bytearray(frame(ip(source, destination, proto, payload, number), to_mac, from_mac))
        for _ in range(rng.choice([0, 0, 1, 2])):
            packet[rng.randrange(6, min(len(packet), 80))] = rng.getrandbits(8)
        yield bytes(packet)


def send_burst(raw, frames):
    for content in itertools.islice(frames, 100):
        try:
            raw.send(content)
        except BlockingIOError:
            pass


def exchange(traffic, namespace, host):
    with traffic.TcpClient(namespace, host, 7000, timeout=20) as client:
        for size in (1, 20_000, 60_000):
            assert len(client.ask(b"x" * size)) == size
    assert traffic.can_exchange_udp(namespace, host, 7000, timeout=2, tries=5), f"no answer from {host} over UDP"


def resident_kib(gateway):
    """By plane; hugepages are none of it."""
    sizes = {}
    for program in PLANES:
        status = pathlib.Path(f"/proc/{gateway.process_ids(program)[0]}/status").read_text()
        sizes[program] = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])
    return sizes


def soak(seconds):
    """What is wrong, and what happened, as lines."""
    import harness  # it looks for the build that the environment names
    import traffic
    site = harness.Site("route")
    try:
        for port in (7000, 7010):  # each its own: what a flood does to a listener's queue is the listener's affair
            for server in (traffic.TcpEcho, traffic.UdpEcho):
                site.enter(server(site.db, port))
        gateway = harness.Gateway(site, POLICY.format(7000), dataplane=SHARE).start()
        app, db, rng = harness.APP, harness.DB, random.Random(1)
        raw = site.app.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        raw.bind(("eth0", 0))
        raw.setblocking(False)
        ports = itertools.count(7001)
        hostile = [Loop(0.02, send_burst, raw, hostile_frames(rng, *ends, app.gateway_mac, app.mac)) for ends in
                   ((app.address, db.address), (app.address6, db.address6))]
        honest = [Loop(0.2, exchange, traffic, site.web, host) for host in (db.address, db.address6)]
        started = time.monotonic()
        for loop in hostile + honest:
            loop.__enter__()
        early = None
        while (elapsed := time.monotonic() - started) < seconds:
            time.sleep(min(5, seconds / 10))
            gateway.write_policy("rules.yaml", POLICY.format(7001 + next(ports) % 7))
            if early is None and elapsed >= seconds / 5:
                early = resident_kib(gateway)
        late = resident_kib(gateway)
        for loop in honest + hostile:
            loop.__exit__()
        return judge(gateway, honest, hostile, early, late)
    finally:
        site.close()


def judge(gateway, honest, hostile, early, late):
    wrong = [f"a well-behaved client failed: {failure}" for loop in honest for failure in loop.failed]
    wrong += ["a client did nothing" for loop in honest + hostile if loop.done == 0]
    wrong += [f"an attack failed: {failure}" for loop in hostile for failure in loop.failed[:1]]
    wrong += [f"no {reason} among the drops" for reason in HOSTILE_REASONS if not gateway.drops().get(reason)]
    if gateway.status()["generation"] < 3:
        wrong.append("its policy wasn't changed")
    for program in PLANES:
        if late[program] > early[program] + GROWTH_KIB:
            wrong.append(f"{program} grew from {early[program]:,} to {late[program]:,} KiB")
    end = time.monotonic() + 60
    while (unequal := gateway.broken_conservation()) and time.monotonic() < end:
        time.sleep(0.2)
    wrong += unequal
    terms = {name: int(n) for name, n in gateway.status()["conservation"].items()}
    told = [f"{sum(loop.done for loop in honest):,} exchanges, {100 * sum(loop.done for loop in hostile):,} hostile packets, generation {gateway.status()['generation']}",
            *(f"port {g['port']}: missed {g['missed']}" for g in gateway.ask("drops")["guards"]),
            *(f"{program}: {early[program]:,} KiB, then {late[program]:,} KiB" for program in PLANES),
            ", ".join(f"{name} {n:,}" for name, n in terms.items()),
            f"dropped for {', '.join(f'{reason} {n:,}' for reason, n in sorted(gateway.drops().items()))}"]
    return wrong, told


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", help="a build's directory (default: build/release)")
    parser.add_argument("--seconds", type=int, default=600)
    arguments = parser.parse_args()
    if arguments.seconds < 10:
        parser.error("--seconds: ten at least")
    if os.geteuid() != 0:
        print("the soak needs root", file=sys.stderr)
        return 2
    if arguments.build:
        os.environ["BULKHEAD_BUILD"] = os.path.abspath(arguments.build)
    os.umask(0o022)  # what it writes is read by the unprivileged control plane
    net.remove_leftovers()
    with net.hugepages_restored():
        wrong, told = soak(arguments.seconds)
    print(*told, *(f"FAIL {w}" for w in wrong), f"{arguments.seconds} s: {'failed' if wrong else 'passed'}", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
