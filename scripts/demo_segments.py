"""The demo's first scene: three workloads behind one gateway, which routes between them and lets pass only what policy names."""
import json
import os
import shutil
import signal
import subprocess
import time

import net
from demo_stage import (PLACE, PREFIX, ROOT, SCREEN, Attempt, Gateway, curl, ping, redis, start_http_server, start_nginx, start_redis,
                        try_all)

CONFIG = PLACE / "config"
NUMBERS = {"web": 1, "app": 2, "db": 3}


def address(workload):
    return f"10.10.{NUMBERS[workload]}.10"


def address6(workload):
    return f"fd00:10:{NUMBERS[workload]}::10"


ATTEMPTS = [
    Attempt("web", "app", "curl http, tcp/8080", curl(f"http://{address('app')}:8080/"), "the application", "allow"),
    Attempt("web", "app", "the same over IPv6", curl(f"http://[{address6('app')}]:8080/"), "the application", "allow"),
    Attempt("app", "db", "redis PING, tcp/6379", redis(address("db"), "PING"), "PONG", "allow"),
    Attempt("app", "web", "curl nginx, tcp/80", curl(f"http://{address('web')}/"), "the web server", "allow"),
    Attempt("web", "db", "ping", ping(address("db")), "1 received", "allow"),
    Attempt("web", "gateway", "ping the gateway, IPv6", ping("fd00:10:1::1"), "1 received", "allow"),
    Attempt("web", "db", "redis PING, tcp/6379", redis(address("db"), "PING"), "PONG", "deny", "policy_denied"),
    Attempt("db", "app", "curl http, tcp/8080", curl(f"http://{address('app')}:8080/"), "the application", "deny", "policy_denied"),
    Attempt("db", "web", "curl nginx over IPv6", curl(f"http://[{address6('web')}]/"), "the web server", "deny", "policy_denied"),
    Attempt("app", "db", "ssh, tcp/22 (guardrail)", curl(f"http://{address('db')}:22/"), "SSH", "reject", "policy_explicit_deny"),
    Attempt("web", "db", "redis as 10.10.2.66 (spoof)", curl("--interface", "10.10.2.66", f"http://{address('db')}:6379/"),
            "ERR", "deny", "spoofed_source"),
]
AFTER_THE_CHANGE = [
    Attempt("app", "db", "redis PING, tcp/6379", redis(address("db"), "PING"), "PONG", "deny", "policy_denied"),
    Attempt("web", "db", "redis PING, tcp/6379", redis(address("db"), "PING"), "PONG", "allow"),
]


class Segments:
    """`stage`: where all of it is made, and gone afterwards."""

    def __init__(self, stage):
        self._stage = stage
        shutil.copytree(ROOT / "config" / "demo", CONFIG, copy_function=shutil.copyfile)
        self._gateway_ns = stage.router("gw")
        self._workloads = {name: self._workload(name) for name in NUMBERS}
        self._workloads["web"].run("ip", "addr", "add", "10.10.2.66/32", "dev", "eth0")  # what a spoofer would do
        self._start_servers()
        self._gateway = Gateway(stage, "the gateway", self._gateway_ns, CONFIG / "gateway.yaml", PLACE / "gateway")
        self._gateway.launch()
        self._gateway.wait_in_force()

    def _workload(self, name):
        number, namespace = NUMBERS[name], self._stage.namespace(name)
        net.connect_veth(namespace, "eth0", self._gateway_ns, f"gw-{name}",
                         f"02:00:00:0a:{number:02x}:10", f"02:00:00:0a:{number:02x}:01")
        for command in (f"addr add {address(name)}/24 dev eth0", f"addr add {address6(name)}/64 dev eth0 nodad",
                        f"route add default via 10.10.{number}.1", f"-6 route add default via fd00:10:{number}::1"):
            namespace.run("ip", *command.split())
        return namespace

    def _start_servers(self):
        start_nginx(self._workloads["web"], PLACE / "web", f"server {{ listen 80; listen [::]:80; root {PLACE}/web; }}",
                    "Hello from the web server.")
        start_http_server(self._workloads["app"], PLACE / "app", "Hello from the application.")
        start_redis(self._workloads["db"], PLACE / "db")
        for name, port in (("web", 80), ("app", 8080), ("db", 6379)):
            self._stage.wait_listens(self._workloads[name], port)

    def show(self):
        """Returns how many surprises."""
        SCREEN.title("Who may call whom")
        surprises = self._try(ATTEMPTS)
        SCREEN.title("Why was web denied?")
        self._gateway.show("explain", "--from", address("web"), "--to", address("db"), "--service", "tcp/6379")
        return surprises + self._change_under_a_live_flow() + self._try(AFTER_THE_CHANGE)

    def _try(self, attempts):
        return try_all(self._workloads, self._gateway.drops, attempts)

    def _change_under_a_live_flow(self):
        """A connection that policy stops allowing is cut. Returns how many surprises."""
        SCREEN.title("A live connection: app keeps asking db")
        client = self._workloads["app"].popen("redis-cli", "-h", address("db"), "-r", "-1", "-i", "0.05", "PING",
                                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(0.5)
        self._gateway.show("flows", "--segment", "db")
        SCREEN.title("A hot change of policy: from now on web may call db, and app may not")
        SCREEN.command("sed -i", "'/app-calls-db/,/allow/ s/from: app/from: web/'", CONFIG / "policy" / "20-rules.yaml")
        seconds = self._gateway.change_policy("20-rules.yaml", "name: app-calls-db\n    from: app", "name: app-calls-db\n    from: web")
        SCREEN.say(f"  enforced {seconds * 1000:.1f} ms after the change was seen")
        time.sleep(0.3)
        live = json.loads(self._gateway.operate("flows", "--json").stdout)["flows"]
        still = [f for f in live if f["src"]["address"] == address("app") and f["service"] == "tcp/6379" and f["state"] == "established"]
        os.killpg(client.pid, signal.SIGKILL)
        said = client.communicate()[0]
        SCREEN.say("  the client said: " + " ".join(dict.fromkeys(said.split("\n"))).strip())
        return SCREEN.judge("the live connection was cut with a reset",
                            not still and "PONG" in said and "Connection reset by peer" in said)

    def hints(self):
        return (
            f"ip netns exec {PREFIX}web curl http://{address('app')}:8080/       a workload's own view",
            f"$EDITOR {CONFIG}/policy/20-rules.yaml       saved is enforced, or refused whole",
            f"bulkhead status --socket {self._gateway.socket}       also: flows, drops, segments",
            f"bulkhead explain --socket {self._gateway.socket} --from {address('web')} --to {address('db')} --service tcp/22",
            f"ip netns exec {PREFIX}gw curl http://127.0.0.1:9464/metrics",
            f"tail -f {self._gateway.flow_log}")
