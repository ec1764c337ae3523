#!/usr/bin/python3 -B
"""How long a live connection outlives the change of policy that denies it, on real ports between namespaces.

Each change is the rename of a policy file into place while a TCP connection sends a marked segment every 0.2 ms, which its peer sends back. Its
latency is from just before the rename, so from before inotify could tell of it, to the last marked frame that arrived at either end: reading,
compiling, publication and every worker's agreement are in it. Both times are of CLOCK_REALTIME, that of the frame is the kernel's own. Beside it
stands what the gateway's log says of the same changes, step by step. Needs root, as the end-to-end tests do.
"""
import argparse
import itertools
import json
import os
import pathlib
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "perf"))
import enforcement_log  # noqa: E402
import net  # noqa: E402

PORT = 7000
ALLOWING = f"policies: [{{name: calls, from: web, to: db, allow: [tcp/{PORT}]}}]\n"
DENYING = f"policies: [{{name: calls, from: web, to: db, allow: [tcp/{PORT + 1}]}}]\n"
INTERVAL_SECONDS = 0.0002
STEPS = (("wait_ms", "files that may follow, handing over"), ("read_ms", "reading"), ("compile_ms", "compiling"),
         ("check_ms", "dataplane: copy and check"), ("workers_ms", "until every worker enforces it"))


def connect(traffic, namespace, address):
    """A connection, as soon as policy lets it through."""
    end = time.monotonic() + 10
    while True:
        try:
            client = traffic.TcpClient(namespace, address, PORT, timeout=0.05)
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return client
        except OSError:
            if time.monotonic() > end:
                raise


def stream(client, mark):
    """Sends the mark until the connection is reset."""
    try:
        while True:
            client.socket.send(mark)
            time.sleep(INTERVAL_SECONDS)
    except OSError:
        pass


def arrivals(captures, mark):
    """The times in ns of the marked frames that each capture has."""
    return [[t for t, _ in capture.marked(mark)] for capture in captures]


def wait_until_it_flows(captures, mark):
    end = time.monotonic() + 10
    while min(map(len, arrivals(captures, mark))) < 20:
        if time.monotonic() > end:
            raise AssertionError("the connection doesn't carry anything")
        time.sleep(0.005)


def last_arrivals(captures, mark):
    """arrivals(), once the captures have read all that came."""
    found, same = arrivals(captures, mark), 0
    while same < 3:
        time.sleep(0.01)
        before, found = found, arrivals(captures, mark)
        same = same + 1 if found == before else 0
    return found


def one_change(gateway, client, mark, captures):
    """Denies the live connection; the times in ns of the change and of each marked frame that arrived at each end."""
    sender = threading.Thread(target=stream, args=(client, mark))
    sender.start()
    wait_until_it_flows(captures, mark)
    fresh = gateway.directory / "rules.yaml.new"
    fresh.write_text(DENYING)
    changed = time.time_ns()
    os.replace(fresh, gateway.policy_directory / "rules.yaml")
    sender.join(10)
    if sender.is_alive():
        raise AssertionError("the connection outlived the change by 10 s")
    arrived = last_arrivals(captures, mark)
    for capture in captures:
        capture.forget()
    return changed, arrived


def denying_figures(gateway, changes):
    """What the log says of each change that denied. The first policy allows, and then they alternate."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        accepted = [figures for figures in map(enforcement_log.accepted, gateway.log().splitlines()) if figures]
        if len(accepted) >= 2 * changes:
            return accepted[1::2]
        time.sleep(0.1)
    raise AssertionError(f"{changes} changes to and fro, of which the log tells {len(accepted)}")


def measure(changes):
    """(latencies in ms, gaps between frames in ms, the log's figures of each denying change)."""
    import harness  # it looks for the build that the environment names
    import traffic
    site = harness.Site("wire")
    latencies, gaps = [], []
    try:
        site.enter(traffic.TcpEcho(site.db, PORT))
        gateway = harness.Gateway(site, ALLOWING).start()
        captures = [site.enter(traffic.Capture(end)) for end in (site.db, site.web)]
        for _ in range(changes):
            gateway.write_policy("rules.yaml", ALLOWING)
            with connect(traffic, site.web, harness.DB.address) as client:
                changed, arrived = one_change(gateway, client, traffic.new_mark(), captures)
            latencies.append((max(map(max, arrived)) - changed) / 1e6)
            gaps += [(b - a) / 1e6 for a, b in itertools.pairwise(arrived[0])]
        return latencies, gaps, denying_figures(gateway, changes)
    finally:
        site.close()


def spread(values):
    ordered = sorted(values)
    def at(share):
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)
    return {"p50": at(0.5), "p99": at(0.99), "max": round(ordered[-1], 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", help="a build's directory (default: build/release)")
    parser.add_argument("--changes", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.build:
        os.environ["BULKHEAD_BUILD"] = os.path.abspath(arguments.build)
    os.umask(0o022)  # what it writes is read by the unprivileged control plane
    net.remove_leftovers()
    with net.hugepages_restored():
        latencies, gaps, denying = measure(arguments.changes)
    rows = [("change_to_last_forbidden_frame_ms", "change to the last forbidden frame", spread(latencies)),
            ("seen_to_enforced_ms", "change seen to enforced, by the log", spread([d["total_ms"] for d in denying]))]
    rows += [(f"of_it_{key}", f"  {name}", spread([d[key] for d in denying])) for key, name in STEPS]
    gap = spread(gaps)["p50"]
    if arguments.json:
        print(json.dumps({"changes": arguments.changes, "frame_gap_ms": gap, **{key: figures for key, _, figures in rows}}))
        return 0
    print(f"{arguments.changes:,} changes, each denies a live TCP connection; between two of its frames at the receiver are {gap:.2f} ms (median)")
    print(f"{'':<42}{'p50':>10}{'p99':>10}{'max':>10}")
    for _, name, figures in rows:
        print(f"{name:<42}" + "".join(f"{figures[column]:>7.2f} ms" for column in ("p50", "p99", "max")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
