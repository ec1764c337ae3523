#!/usr/bin/python3 -B
"""Measures how long a denied flow outlives the change that denies it. Usage: change_latency.py [CHANGES] (default 1,000)

Each change is the rename of a policy file into place while a TCP connection sends a marked segment every 0.2 ms. Its latency is from
just before the rename to the last marked frame that arrived at the receiver: what an operator waits for, inotify, reading, compiling,
publication and every worker's agreement included. The gateway's own part, from decision to enforcement, stands beside it.
Needs root, as the end-to-end tests do.
"""
import json
import os
import sys
import threading
import time

import net
from harness import DB, Gateway, Site
from traffic import Capture, TcpClient, TcpEcho, new_mark

PORT = 7000
ALLOWING = f"policies: [{{name: calls, from: web, to: db, allow: [tcp/{PORT}]}}]\n"
DENYING = f"policies: [{{name: calls, from: web, to: db, allow: [tcp/{PORT + 1}]}}]\n"


def connect(namespace):
    """A connection, as soon as policy lets it through."""
    end = time.monotonic() + 10
    while True:
        try:
            return TcpClient(namespace, DB.address, PORT, timeout=0.05)
        except OSError:
            if time.monotonic() > end:
                raise


def stream(client, mark):
    """Sends the mark until the connection is reset."""
    try:
        while True:
            client.socket.send(mark)
            time.sleep(0.0002)
    except OSError:
        pass


def one_change(site, gateway, client, capture):
    """Denies the live connection; returns (latency, the gateway's own part) in ms."""
    mark = new_mark()
    sender = threading.Thread(target=stream, args=(client, mark))
    sender.start()
    time.sleep(0.02)
    started = time.time_ns()
    gateway.write_policy("rules.yaml", DENYING)
    sender.join(10)
    if sender.is_alive():
        raise AssertionError("the connection outlived the change by 10 s")
    time.sleep(0.01)
    last = max(t for t, _ in capture.marked(mark))
    capture.forget()
    return max(0, last - started) / 1e6, gateway.status()["last_enforcement_seconds"] * 1e3


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main(changes):
    site = Site("wire")
    latencies, own = [], []
    try:
        site.enter(TcpEcho(site.db, PORT))
        gateway = Gateway(site, ALLOWING).start()
        capture = site.enter(Capture(site.db))
        for _ in range(changes):
            gateway.write_policy("rules.yaml", ALLOWING)
            with connect(site.web) as client:
                latency, part = one_change(site, gateway, client, capture)
            latencies.append(latency)
            own.append(part)
    finally:
        site.close()
    result = {"changes": changes}
    for name, values in (("change_to_last_forbidden_frame_ms", latencies), ("of_it_decision_to_enforcement_ms", own)):
        result[name] = {"p50": round(percentile(values, 0.50), 3), "p99": round(percentile(values, 0.99), 3),
                        "max": round(max(values), 3)}
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    os.umask(0o022)  # what it writes is read by the unprivileged control plane
    net.remove_leftovers()
    with net.hugepages_restored():
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
