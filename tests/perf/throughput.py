"""Rig R1: one worker, fed by net_pcap with infinite_rx, both directions of a wire; beside testpmd's macswap on the same devices and packets.

Each port's capture holds 131,072 data packets or more: as from a NIC, a packet isn't in the CPU's own cache when it comes, and macswap's figure, which
is the ceiling, doesn't depend on the number of flows.

What counts is what was sent. A looped capture repeats the handshakes of its TCP connections, too: their SYNs and SYN-ACKs come again on live
connections, and but for a few a second (RFC 5961) are dropped as tcp_out_of_window. They count against Bulkhead.

The worker has a core of its own; the other core runs the main thread, the control plane and this script, for both programs alike. Figures are
ratios to testpmd in the same run, alternating, median of the rounds with minimum and maximum.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(__file__))
import captures  # noqa: E402

POLICY_HEAD = """segments:
  web: {tag: 100, members: [10.1.0.0/16]}
  db: {tag: 200, members: [10.2.0.0/16]}
"""


def policy_text(rules: int) -> str:
    """`rules` rules of one port each; the flows go to ports 5000-5999, each under a rule of its own."""
    lines = [POLICY_HEAD]
    for n in range(3, 3 + max(0, rules // 1000)):
        lines.append(f"  other-{n}: {{tag: {300 + n}, members: [10.{n}.0.0/16]}}\n")
    lines.append("policies:\n")
    for n in range(1000):
        lines.append(f"  - {{name: r-{n}, from: web, to: db, allow: [tcp/{5000 + n}, udp/{5000 + n}]}}\n")
    for n in range(1000, rules):
        lines.append(f"  - {{name: r-{n}, from: other-{3 + n % max(1, rules // 1000)}, to: db, allow: [tcp/{1 + n % 60000}]}}\n")
    return "".join(lines)


# Beside the capture's own: rings, caches and what is in flight.
SPARE_BUFFERS = 65536
BUFFER_BYTES = 2432


def megabytes_of(buffers: int) -> int:
    return buffers * BUFFER_BYTES // (1 << 20) + 1


def reserve_hugepages(mib: int) -> None:
    """Raises what is reserved, for both programs in turn; never lowers it."""
    path = "/proc/sys/vm/nr_hugepages"
    with open(path) as pages:
        reserved = int(pages.read())
    with open("/proc/meminfo") as info:
        free = int(re.search(r"HugePages_Free:\s+(\d+)", info.read()).group(1))
    if free < mib // 2:
        with open(path, "w") as pages:
            pages.write(str(reserved + mib // 2 - free))


def gateway_memory(buffers: int, max_flows: int) -> int:
    """memory_mib: at most half of it is buffers; a flow takes up to 208 bytes in each of the two families' tables."""
    return 2 * megabytes_of(buffers) + max_flows * 2 * 208 // (1 << 20) + 256


def devices(left: str, right: str) -> tuple:
    return f"net_pcap0,rx_pcap={left},infinite_rx=1", f"net_pcap1,rx_pcap={right},infinite_rx=1"


def run_testpmd(left: str, right: str, buffers: int, seconds: float) -> float:
    """Packets a second that macswap forwards."""
    first, second = devices(left, right)
    command = ["dpdk-testpmd", "-l", "0,1", "--no-pci", "--in-memory", "-m", str(megabytes_of(buffers) + 256), f"--vdev={first}", f"--vdev={second}", "--",
               "--forward-mode=macswap", "--nb-cores=1", f"--total-num-mbufs={buffers}", "--burst=64", "--no-flush-rx", "-i"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    child.stdin.write("start\n")
    child.stdin.flush()
    time.sleep(3.0)
    child.stdin.write("clear port stats all\n")
    child.stdin.flush()
    begin = time.monotonic()
    time.sleep(seconds)
    child.stdin.write("show port stats all\nstop\nquit\n")
    child.stdin.flush()
    took = time.monotonic() - begin
    out, _ = child.communicate(timeout=30)
    received = [int(n) for n in re.findall(r"RX-packets:\s+(\d+)", out)]
    if len(received) < 2:
        raise RuntimeError("testpmd said:\n" + out)
    return sum(received[:2]) / took


class Bulkhead:
    """A gateway on the rig's devices."""

    def __init__(self, build: str, directory: str, left: str, right: str, rules: int, buffers: int, max_flows: int):
        first, second = devices(left, right)
        self.build = build
        self.socket = os.path.join(directory, "run", "control.sock")
        os.makedirs(os.path.join(directory, "policy"), exist_ok=True)
        os.chmod(directory, 0o755)
        with open(os.path.join(directory, "policy", "policy.yaml"), "w") as out:
            out.write(policy_text(rules))
        with open(os.path.join(directory, "gateway.yaml"), "w") as out:
            out.write(f"""gateway: {{name: bench}}
dataplane:
  cores: [1]
  memory_mib: {gateway_memory(buffers, max_flows)}
  buffers: {buffers}
  max_flows: {max_flows}
  mode: wire
  file_prefix: bench-{os.getpid()}
  ports:
    - {{name: left, device: "dpdk:{first}"}}
    - {{name: right, device: "dpdk:{second}"}}
  wires: [[left, right]]
  half_open: {{total: 1048576}}
policy: policy/
controlplane:
  user: nobody
  socket: {self.socket}
  metrics: "off"
  state: {directory}/state
""")
        self.log = open(os.path.join(directory, "log"), "w")
        self.child = subprocess.Popen([os.path.join(build, "src/cli/bulkhead"), "run", "--config", os.path.join(directory, "gateway.yaml")],
                                      stdout=self.log, stderr=self.log)

    def query(self, what: str) -> dict:
        out = subprocess.run([os.path.join(self.build, "src/cli/bulkhead"), what, "--socket", self.socket, "--json"], capture_output=True, text=True)
        return json.loads(out.stdout) if out.returncode == 0 else {}

    def wait_in_force(self) -> None:
        for _ in range(300):
            if int(self.query("status").get("generation", 0)) > 0:
                return
            time.sleep(0.1)
        raise RuntimeError("no policy came into force; log: " + open(self.log.name).read())

    def rate(self, seconds: float) -> dict:
        """Packets a second received and transmitted, over `seconds`."""
        before, begin = self.query("status")["conservation"], time.monotonic()
        time.sleep(seconds)
        after, took = self.query("status")["conservation"], time.monotonic() - begin
        return {k: (int(after[k]) - int(before[k])) / took for k in ("received", "transmitted", "dropped")}

    def drop_reasons(self) -> list:
        """What was dropped so far, most first: (reason, packets)."""
        drops = self.query("drops").get("drops", [])
        return sorted(((d["reason"], int(d["packets"])) for d in drops if int(d["packets"])), key=lambda d: -d[1])

    def stop(self) -> None:
        self.child.send_signal(signal.SIGTERM)
        self.child.wait(timeout=30)
        self.log.close()


def measure(arguments, flows: int, tcp_share: float) -> dict:
    with tempfile.TemporaryDirectory(prefix="bulkhead-bench-") as directory:
        left, right = os.path.join(directory, "left.pcap"), os.path.join(directory, "right.pcap")
        buffers = captures.make(left, right, flows, tcp_share, arguments.size) + SPARE_BUFFERS
        max_flows = max(65536, 2 * flows)
        reserve_hugepages(gateway_memory(buffers, max_flows) + 64)
        ours, theirs, others, drops, reasons = [], [], [], [], []

        def run(build: str) -> dict:
            nonlocal reasons
            gateway = Bulkhead(build, directory, left, right, arguments.rules, buffers, max_flows)
            try:
                gateway.wait_in_force()
                time.sleep(1.0)
                rate = gateway.rate(arguments.seconds)
                reasons = gateway.drop_reasons()
            finally:
                gateway.stop()
            return rate

        for _ in range(arguments.rounds):
            theirs.append(run_testpmd(left, right, buffers, arguments.seconds))
            if arguments.against:
                others.append(run(arguments.against)["transmitted"])
            rate = run(arguments.build)
            ours.append(rate["transmitted"])
            drops.append(rate["dropped"] / max(1.0, rate["received"]))
        ratios = [a / b for a, b in zip(ours, theirs)]
        against = {"against_mpps": statistics.median(others) / 1e6, "against_ratio": statistics.median(ours) / statistics.median(others)} if others else {}
        return against | {"flows": flows, "tcp_share": tcp_share, "rules": arguments.rules, "bytes": arguments.size, "rounds": arguments.rounds,
                "bulkhead_mpps": statistics.median(ours) / 1e6, "macswap_mpps": statistics.median(theirs) / 1e6,
                "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios),
                "dropped_share": statistics.median(drops), "drop_reasons": [reason for reason, _ in reasons]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="a release build's directory")
    parser.add_argument("--flows", type=int, nargs="+", default=[1000])
    parser.add_argument("--tcp", type=float, nargs="+", default=[0.5], help="shares of TCP flows")
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--size", type=int, default=60, help="bytes of a frame, without FCS")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--against", help="another build's directory, measured in the same run: did a change cost anything?")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for flows in arguments.flows:
        for share in arguments.tcp:
            r = measure(arguments, flows, share)
            if arguments.json:
                print(json.dumps(r), flush=True)
                continue
            print(f"{r['flows']:>8} flows, {100 * r['tcp_share']:.0f} % TCP: {r['bulkhead_mpps']:.2f} Mpps, macswap {r['macswap_mpps']:.2f} Mpps, "
                  f"ratio {r['ratio']:.2f} ({r['ratio_min']:.2f}-{r['ratio_max']:.2f}), {100 * r['dropped_share']:.2f} % dropped"
                  + (f" ({', '.join(r['drop_reasons'])})" if r["drop_reasons"] else "")
                  + (f"; the other build {r['against_mpps']:.2f} Mpps, ratio {r['against_ratio']:.2f}" if arguments.against else ""), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
