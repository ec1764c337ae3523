"""bulkhead-relay beside HAProxy, nginx's stream module and stunnel, at the same job: a TLS 1.3 leg with client certificates, a plain leg to
the same backend, P-256, full verification of the client's chain, one worker.

    client - router - server          the one under test hangs on the router, one link further, whichever it is
               |
        what is tested

What is tested has CPU 1 for itself; the load (tests/perf/tls_load.cc, clients and backend in one thread), the links' other ends and this script have
CPU 0. Rounds alternate. The relay also takes an announcement of each connection, keeps the client's address, and maps the certificate to a segment;
the others do none of these. `a CPU-second` is of its process's time, whatever the load could bring.
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

_HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE.parent / "netns"))
LOAD_CPU, TESTED_CPU = 0, 1
_PATIENCE = 60  # seconds for one measurement, until it is given up
PROXY, PROXY_PORT, BACKEND = "10.8.0.2", 7443, 7001
# Each is two descriptors of the load, and of what is tested.
IDLE = min(10_000, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200) // 2)

HAPROXY = """
global
  nbthread 1
  maxconn {idle}
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
listen tested
  bind {address}:{port} ssl crt {both} ca-file {ca} verify required curves P-256
  server backend {server}:{backend}
"""
NGINX = """
load_module modules/ngx_stream_module.so;
daemon off; master_process off; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections {events}; }}
stream {{
  server {{
    listen {address}:{port} ssl backlog=4096;
    ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_client_certificate {ca}; ssl_verify_client on;
    ssl_protocols TLSv1.3; ssl_ecdh_curve prime256v1; ssl_session_cache shared:s:10m;
    proxy_pass {server}:{backend}; proxy_timeout 1h;
  }}
}}
"""
STUNNEL = """
foreground = yes
pid =
debug = err
[tested]
accept = {address}:{port}
connect = {server}:{backend}
cert = {certificate}
key = {key}
CAfile = {ca}
verifyChain = yes
sslVersionMin = TLSv1.3
curves = P-256
TIMEOUTclose = 0
TIMEOUTidle = 3600
"""
# name: (mode, connections, how many rounds it is measured in; None: all)
MEASUREMENTS = {"full handshakes": ("handshake", 32), "resumed": ("resume", 32), "one stream in": ("up", 1), "one stream out": ("down", 1),
                "64 streams in": ("up", 64), "latency": ("echo", 1)}


class Rig:
    """The site, and what is tested in it, one after the other."""

    def __init__(self, build):
        import net
        import relay_site
        import svids
        self.net, self.names, self.load = net, relay_site, build / "tests" / "perf" / "tls_load"
        self.site = relay_site.RelaySite()
        self.hop = self.site.hops[0]
        self.authority = svids.Authority(self.site.directory / "ca")
        self.client, self.server = self.authority.mint("web", "web/1"), self.authority.mint("db", "db/9")
        self.proxies = self._place_for_proxies()
        for namespace in (self.site.client, self.site.server, self.proxies):
            self._prepare(namespace.run)
        self._prepare(self.hop.in_relay)

    @staticmethod
    def _prepare(run):
        """Ends of connections don't linger: tens of thousands come, from one address."""
        run("sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=0")
        run("sysctl", "-qw", "net.ipv4.ip_local_port_range=10000 65000")

    def _place_for_proxies(self):
        net, router = self.net, self.hop.router
        proxies = self.site.namespace("p")
        net.connect_veth(proxies, "eth0", router, "proxies", "02:00:00:00:08:01", "02:00:00:00:08:fe")
        for namespace, device, address in ((proxies, "eth0", PROXY), (router, "proxies", "10.8.0.254")):
            namespace.run("ethtool", "-K", device, "tx", "on", "tso", "on", "gso", "on", "gro", "on")
            namespace.run("ip", "addr", "add", f"{address}/24", "dev", device)
        proxies.run("ip", "route", "add", "default", "via", "10.8.0.254")
        router.run("ip", "rule", "add", "to", "10.8.0.0/24", "lookup", "main", "priority", "50")
        return proxies

    def start(self, name):
        """The process's id, once it serves."""
        if name == "bulkhead-relay":
            from test_relay_core import SEGMENTS, WORKLOADS
            self.hop.svids.trust(self.authority)
            self.hop.svids.add("db", self.server)
            self.hop.generation = 0
            self.hop.start()
            self.hop.publish(SEGMENTS, WORKLOADS)
            return self._pin(self.hop.process.pid)
        home = self.site.directory / name
        home.mkdir(exist_ok=True)
        certificate, key = self.server
        (home / "both.pem").write_text(certificate.read_text() + key.read_text())
        words = {"home": home, "address": PROXY, "port": PROXY_PORT, "server": self.names.SERVER, "backend": BACKEND, "ca": self.authority.certificate,
                 "certificate": certificate, "key": key, "both": home / "both.pem", "idle": IDLE, "events": 2 * IDLE + 50}
        template, command = {"HAProxy": (HAPROXY, ("haproxy", "-db", "-f")), "nginx": (NGINX, ("nginx", "-p", "/usr/share/nginx", "-e", home / "error.log", "-c")),
                             "stunnel": (STUNNEL, ("stunnel4",))}[name]
        (home / "conf").write_text(template.format(**words))
        process = self.proxies.popen(*command, home / "conf", stdout=open(home / "log", "w"))
        self.proxy = process
        end = time.monotonic() + 10
        while f":{PROXY_PORT}" not in self.proxies.run("ss", "-Hltn").stdout:
            if time.monotonic() > end or process.poll() is not None:
                raise RuntimeError(f"{name} doesn't serve: {(home / 'log').read_text()}")
            time.sleep(0.05)
        return self._pin(process.pid)

    @staticmethod
    def _pin(pid):
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(task), {TESTED_CPU})
        return pid

    def stop(self, name):
        if name == "bulkhead-relay":
            self.hop.stop()
        else:
            self.proxy.kill()
            self.proxy.wait()

    def measure(self, name, pid, mode, connections, seconds):
        """What the load prints; `name` None: straight to the backend, in clear."""
        relayed = name == "bulkhead-relay"
        to, port = (self.names.SERVER, BACKEND) if relayed or name is None else (PROXY, PROXY_PORT)
        words = [f"mode={mode}", f"client_ns={self.site.client.name}", f"server_ns={self.site.server.name}", f"from={self.names.CLIENT}", f"to={to}",
                 f"port={port}", f"backend={BACKEND}", f"connections={connections}", f"seconds={seconds}"]
        if name is not None:
            words += [f"certificate={self.client[0]}", f"key={self.client[1]}", f"pid={pid}"]
        heartbeats = self.hop.heartbeats.fileno()
        if relayed:
            words.append(f"announce={heartbeats}")
        done = subprocess.run(["taskset", "-c", str(LOAD_CPU), str(self.load), *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True, pass_fds=[heartbeats], timeout=_PATIENCE)
        if done.returncode != 0:
            raise RuntimeError(f"{name}: {mode}: the load failed")
        return json.loads(done.stdout)

    def straight(self, seconds):
        """Latency without anything between."""
        self.steering("del")
        try:
            return self.measure(None, None, "echo", 1, seconds)
        finally:
            self.steering("add")

    def steering(self, what):
        for device in ("left", "right"):
            self.hop.router.run("ip", "rule", what, "iif", device, "lookup", "1", "priority", "100")


def figures(measurement, seen, straight):
    """{figure: value} of one measurement."""
    seconds, cpu = seen["seconds"], max(seen["cpu_seconds"], 0.01)
    if measurement == "full handshakes":
        return {"full handshakes/s": seen["done"] / seconds, "full handshakes a CPU-second": seen["done"] / cpu}
    if measurement == "resumed":
        if seen["resumed"] < seen["done"] / 2:
            return {}  # it doesn't resume
        return {"resumed/s": seen["resumed"] / seconds, "resumed a CPU-second": seen["resumed"] / cpu}
    if measurement == "latency":
        return {"p50 added, us": seen["p50_us"] - straight["p50_us"], "p99 added, us": seen["p99_us"] - straight["p99_us"]}
    return {f"{measurement}, Mbit/s": seen["bytes"] * 8e-6 / seconds, f"{measurement}, Mbit a CPU-second": seen["bytes"] * 8e-6 / cpu}


def spread(values, digits=0):
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def table(title, names, rows, missing="none"):
    print(f"\n{title}\n{'':34}" + "".join(f"{name:>30}" for name in names))
    for row, cells in rows.items():
        print(f"{row:34}" + "".join(f"{cells.get(name, missing):>30}" for name in names), flush=True)


def report(names, seen):
    """`seen`: {figure: {name: [a value each round]}}. Ratios are of the same round."""
    own = names[0]
    ratios = {figure: {name: spread([a / b for a, b in zip(by[own], by[name])], 2) for name in names[1:] if by.get(name) and by.get(own)}
              for figure, by in seen.items()}
    table(f"{own} / the other, median of the rounds (min-max); of latencies less is better", names[1:], ratios)
    table("median of the rounds (min-max)", names, {figure: {name: spread(values) for name, values in by.items()} for figure, by in seen.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    parser.add_argument("--only", nargs="+", help="of bulkhead-relay HAProxy nginx stunnel; bulkhead-relay first")
    arguments = parser.parse_args()
    os.environ["BULKHEAD_BUILD"] = str(arguments.build)
    os.umask(0o022)
    import net
    net.remove_leftovers()
    own_pid = os.getpid()
    with net.cleaned_up(lambda: net.remove_what_is_left_of(own_pid)):
        run(arguments)


def run(arguments):
    os.sched_setaffinity(0, {LOAD_CPU})
    names = arguments.only or ["bulkhead-relay", "HAProxy", "nginx", "stunnel"]
    rig = Rig(arguments.build)
    try:
        seen, memory, load_share = {}, {}, {}
        for number in range(arguments.rounds):
            straight = rig.straight(arguments.seconds)
            for name in names[number % len(names):] + names[:number % len(names)]:
                pid = rig.start(name)
                for measurement, (mode, connections) in MEASUREMENTS.items():
                    result = rig.measure(name, pid, mode, connections, arguments.seconds)
                    load_share.setdefault(measurement, {}).setdefault(name, []).append(100 * result["load_cpu_seconds"] / result["seconds"])
                    for figure, value in figures(measurement, result, straight).items():
                        seen.setdefault(figure, {}).setdefault(name, []).append(value)
                rig.stop(name)
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
        report(names, seen)
        table("how busy the load's own CPU was, %: near 100 it is the limit", names,
              {m: {name: f"{statistics.median(v):.0f}" for name, v in by.items()} for m, by in load_share.items()})
        for name in names:
            pid = rig.start(name)
            try:
                memory[name] = rig.measure(name, pid, "idle", IDLE, 2)["kib"]
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(error, file=sys.stderr)
            rig.stop(name)
        table(f"resident memory an idle connection of {IDLE:,}", names, {"KiB": {name: f"{kib / IDLE:.1f}" for name, kib in memory.items()}}, "not reached")
    finally:
        rig.site.close()


if __name__ == "__main__":
    main()
