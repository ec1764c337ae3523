#!/usr/bin/python3 -B
"""What is large under `mtls: relay`, through two gateways:

- both gateways' SVIDs rotated every second under load, and no connection lost. In the end the first one is revoked: what has lived on it since
  ends, and what is opened then, by a later one, doesn't.
- thousands of connections at once, and the memory that each takes of either relay;
- a transfer each way: what arrives has the SHA-256 of what was sent.

    tests/netns/mtls_soak.py [--gigabytes N] [--connections N] [--seconds N] [--mode wire|route] [--build DIR]     (needs root)

Fails where any of this doesn't hold, or where at the end the packets don't add up exactly.
"""
import argparse
import contextlib
import itertools
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import time

import net
from soak import Loop

ECHO, IDLE = 7001, 7002
_LIVING = 8          # connections that live through all rotations
_STAY = 10           # seconds that the many stay
_FLOWS = 65536
_DESCRIPTORS = 200   # that aren't the connections'


def tried(function):
    """(what it says is wrong, what it tells)."""
    try:
        return function()
    except (OSError, AssertionError, subprocess.SubprocessError) as error:
        return [f"{type(error).__name__}: {error}"], []


def moved(site, size, host, to_server):
    import mtls_transfer
    began = time.monotonic()
    seen = mtls_transfer.transfer(site, host, size, to_server)
    seconds = time.monotonic() - began
    words = f"{'to' if to_server else 'from'} {host}: {seen.received[0]:,} bytes, SHA-256 {seen.received[1]}"
    same = seen.received == seen.sent and seen.received[0] == size
    return [] if same else [f"{words}, but sent were {seen.sent}"], [f"{words}, {seconds:.1f} s, {seen.received[0] * 8e-6 / seconds:,.0f} Mbit/s"]


def resident_kib(gateway):
    status = pathlib.Path(f"/proc/{gateway.process_ids('bulkhead-relay')[0]}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])


def connections(gateway):
    text = gateway.site.gateway_ns.run("curl", "-s", "http://127.0.0.1:9464/metrics").stdout
    return int(re.search(r"^bulkhead_relay_connections (\d+)", text, re.MULTILINE)[1])


def many(site, gateways, wanted, load):
    """All from one client's address, established and then idle."""
    from harness import DB, WEB
    before = [resident_kib(gateway) for gateway in gateways]
    words = (f"client_ns={site.web.name}", f"server_ns={site.db.name}", f"from={WEB.address}", f"to={DB.address}", f"port={IDLE}", f"backend={IDLE}")
    began = time.monotonic()
    with subprocess.Popen([load, "mode=idle", *words, f"connections={wanted}", f"seconds={_STAY}"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True) as process:
        try:
            while any(connections(gateway) < wanted for gateway in gateways):
                assert process.poll() is None and time.monotonic() < began + 300, f"not {wanted:,}: {[connections(g) for g in gateways]}"
                time.sleep(0.2)
            seconds = time.monotonic() - began
            taken = [resident_kib(gateway) - kib for gateway, kib in zip(gateways, before)]
            seen = json.loads(process.communicate(timeout=60)[0] or "{}")
        finally:
            process.kill()
    wrong = [] if seen.get("done") == wanted and seen["failed"] == 0 else [f"of {wanted:,} connections: {seen or 'one was lost'}"]
    return wrong, [f"{wanted:,} connections at once, after {seconds:.1f} s",
                   *(f"relay {gateway.name}: {kib / wanted:.1f} KiB each, {kib:,} KiB in all" for gateway, kib in zip(gateways, taken))]


class Rotation:
    """Both gateways' SVIDs, each time new keys and certificates."""

    def __init__(self, site):
        self._site, self._numbers, self._due = site, itertools.count(), time.monotonic()
        self.first = None

    def turn(self):
        """Once a second, where the machine can make certificates that fast."""
        number = next(self._numbers)
        fresh = [(half, name, self._site.authority.mint(f"{name}-{number}", f"{name}/relay"))
                 for half, name in ((self._site.a, "web"), (self._site.b, "db"))]
        time.sleep(max(0, self._due - time.monotonic()))
        self._due = max(self._due + 1, time.monotonic())
        for half, name, minted in fresh:
            half.svids.add(name, minted)
        self.first = self.first or fresh[0][2][0]

    def revoke_first(self):
        self._site.b.svids.revoked(self._site.authority, self._site.authority.revoke(self.first))


def ask_new(site, hosts):
    from traffic import TcpClient
    with TcpClient(site.web, next(hosts), ECHO, timeout=10) as client:
        client.ask(b"x" * 10_000)


def rotated(site, seconds):
    from harness import DB
    from traffic import TcpClient, TcpEcho
    hosts, rotation = itertools.cycle((DB.address, DB.address6)), Rotation(site)
    with TcpEcho(site.db, ECHO), contextlib.ExitStack() as stack:
        rotation.turn()
        time.sleep(1)
        living = [stack.enter_context(TcpClient(site.web, next(hosts), ECHO, timeout=10)) for _ in range(_LIVING)]
        loops = [Loop(0.02, client.ask, b"y" * 10_000) for client in living] + [Loop(0.02, ask_new, site, hosts)]
        rotations = Loop(0, rotation.turn)
        with contextlib.ExitStack() as running:
            for loop in (*loops, rotations):
                running.enter_context(loop)
            time.sleep(seconds)
        wrong = [f"lost: {failure}" for loop in (*loops, rotations) for failure in loop.failed]
        wrong += ["a client did nothing" for loop in loops if loop.done == 0]
        if rotations.done < seconds / 3:
            wrong.append(f"{rotations.done} rotations are too few to mean anything")
        rotation.revoke_first()
        time.sleep(2)
        wrong += ["a connection outlived its certificate's revocation" for client in living if answers(client)]
        ask_new(site, hosts)
        return wrong, [f"{rotations.done} rotations of both SVIDs in {seconds} s: {_LIVING} connections lived through all, with "
                       f"{sum(loop.done for loop in loops[:-1]):,} exchanges; {loops[-1].done:,} others were opened"]


def answers(client):
    try:
        return client.ask(b"still here") == b"still here"
    except OSError:
        return False


def possible(wanted):
    """Connections that the limit on open files allows: each is two descriptors of a relay, and of the load."""
    return min(wanted, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _DESCRIPTORS) // 2)


def start(gateway):
    """With room for all: a connection through the relay is two flows, one segment's members open them all, and what is closed stays for minutes."""
    text = gateway.config_text(dataplane=f"max_flows_per_identity: {_FLOWS}")
    gateway.config_file.write_text(text.replace("max_flows: 16384", f"max_flows: {_FLOWS}").replace("memory_mib: 321", "memory_mib: 512"))
    return gateway.start()


def soak(arguments, build):
    """What is wrong."""
    import mtls_site  # it looks for the build that the environment names
    import mtls_transfer
    from harness import DB
    size = int(arguments.gigabytes * 10**9)
    ports = f"[tcp/{mtls_transfer.PORT}, tcp/{ECHO}, tcp/{IDLE}]"
    policy = f"policies: [{{name: large, from: web, to: db, allow: {ports}, mtls: relay}}]\n"
    wanted = possible(arguments.connections)
    if wanted < arguments.connections:
        print(f"{wanted:,} connections, not {arguments.connections:,}: the limit on open files allows no more (ulimit -Hn)", flush=True)
    site, wrong = mtls_site.MtlsSite(arguments.mode), []
    try:
        gateways = [start(mtls_site.MtlsGateway(half, policy)) for half in (site.a, site.b)]
        for step in (lambda: rotated(site, arguments.seconds),
                     lambda: many(site, gateways, wanted, build / "tests" / "perf" / "tls_load"),
                     lambda: moved(site, size, DB.address, False), lambda: moved(site, size, DB.address6, True)):
            failed, told = tried(step)
            print(*told, *(f"FAIL {line}" for line in failed), sep="\n", flush=True)
            wrong += failed
        for gateway in gateways:
            for line in gateway.conservation_in_the_end(30):
                print(f"FAIL {gateway.name}: {line}")
                wrong.append(line)
        if wrong:
            print(*(f"{gateway.name}: {gateway.log()[-4000:]}" for gateway in gateways), sep="\n")
    finally:
        site.close()
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=pathlib.Path(__file__).resolve().parents[2] / "build" / "release", type=pathlib.Path)
    parser.add_argument("--gigabytes", type=float, default=10, help="each way (10)")
    parser.add_argument("--connections", type=int, default=10_000, help="at once (10000)")
    parser.add_argument("--seconds", type=int, default=60, help="of rotations (60)")
    parser.add_argument("--mode", choices=("wire", "route"), default="wire")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("the soak needs root", file=sys.stderr)
        return 2
    build = arguments.build.resolve()
    os.environ["BULKHEAD_BUILD"] = str(build)
    os.umask(0o022)  # what it writes is read by the unprivileged control plane
    net.remove_leftovers()
    with net.hugepages_restored():
        wrong = soak(arguments, build)
    print("failed" if wrong else "passed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
