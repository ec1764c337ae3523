"""The demo itself: scripts/demo starts it, with everything built and as root. What it makes has names of its own
(namespaces bulkhead-demo-*, /run/bulkhead-demo), so that what a killed demo left is found and removed by the next.
"""
import contextlib
import dataclasses
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "netns"))
import net  # noqa: E402

BULKHEAD = ROOT / "build" / "release" / "src" / "cli" / "bulkhead"
PLACE = pathlib.Path("/run/bulkhead-demo")
CONFIG = PLACE / "config"
SOCKET = PLACE / "gateway" / "control.sock"
PREFIX = "bulkhead-demo-"
NUMBERS = {"web": 1, "app": 2, "db": 3}
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 2  # seconds that a client tries before what it wants counts as denied


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGHUP: leave by the way that cleans up."""


def address(workload):
    return f"10.10.{NUMBERS[workload]}.10"


def address6(workload):
    return f"fd00:10:{NUMBERS[workload]}::10"


# -- what a reader sees --

class Screen:
    """Plain text; colour on a terminal only."""

    def __init__(self):
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def say(self, text=""):
        print(text, flush=True)

    def paint(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self._colour else text

    def title(self, text):
        self.say("\n" + self.paint("1", text))

    def command(self, *words):
        self.say(self.paint("2", "  $ " + " ".join(words)))

    def output(self, text):
        for line in text.rstrip().splitlines():
            self.say("  " + line)


SCREEN = Screen()


# -- the place: namespaces, servers, gateway --

class Demo:
    """Everything that the demo makes; gone when its context ends."""

    def __init__(self, stack):
        self._stack = stack
        self.workloads = {}
        self.gateway = None

    def build(self):
        for directory in (PLACE, PLACE / "gateway", PLACE / "gateway" / "state"):
            directory.mkdir(mode=0o755, exist_ok=True)
        self._stack.callback(shutil.rmtree, PLACE, ignore_errors=True)
        owner = pwd.getpwnam("nobody")
        for directory in (PLACE / "gateway", PLACE / "gateway" / "state"):
            os.chown(directory, owner.pw_uid, owner.pw_gid)
        shutil.copytree(ROOT / "config" / "demo", CONFIG, copy_function=shutil.copyfile)
        self.gateway_ns = self._namespace("gw")
        self.gateway_ns.set_sysctl("ipv4.ip_forward", 1)  # the kernel could forward, and must not
        self.gateway_ns.set_sysctl("ipv6.conf.all.forwarding", 1)
        for name in NUMBERS:
            self.workloads[name] = self._workload(name)

    def _namespace(self, name):
        namespace = net.Namespace(PREFIX + name)
        self._stack.callback(namespace.close)
        return namespace

    def _workload(self, name):
        number, namespace = NUMBERS[name], self._namespace(name)
        net.connect_veth(namespace, "eth0", self.gateway_ns, f"gw-{name}",
                         f"02:00:00:0a:{number:02x}:10", f"02:00:00:0a:{number:02x}:01")
        for command in (f"addr add {address(name)}/24 dev eth0", f"addr add {address6(name)}/64 dev eth0 nodad",
                        f"route add default via 10.10.{number}.1", f"-6 route add default via fd00:10:{number}::1"):
            namespace.run("ip", *command.split())
        return namespace

    def start_servers(self):
        web, app, db = (PLACE / name for name in NUMBERS)
        for directory, greeting in ((web, "the web server"), (app, "the application")):
            directory.mkdir()
            (directory / "index.html").write_text(f"Hello from {greeting}.\n")
        db.mkdir()
        (web / "nginx.conf").write_text(NGINX_CONFIGURATION.format(directory=web))
        self.workloads["web"].popen("nginx", "-p", web, "-e", web / "error.log", "-c", web / "nginx.conf")
        self.workloads["app"].popen(sys.executable, "-m", "http.server", "8080", "--bind", "::", "--directory", app)
        self.workloads["db"].popen("redis-server", "--port", "6379", "--bind", "0.0.0.0", "::", "--protected-mode", "no",
                                   "--save", "", "--appendonly", "no", "--dir", db)
        for name, port in (("web", 80), ("app", 8080), ("db", 6379)):
            self._wait(lambda: self._listens(name, port), 10, f"the server in {name} doesn't listen on port {port}")

    def _listens(self, name, port):
        return f":{port} " in self.workloads[name].run("ss", "-Hltn").stdout

    def start_gateway(self):
        self.gateway = self.gateway_ns.popen(BULKHEAD, "run", "--config", CONFIG / "gateway.yaml",
                                             stdout=open(PLACE / "gateway.log", "w"), stderr=subprocess.STDOUT)
        self._stack.callback(self._stop_gateway)
        self._wait(lambda: self.generation() > 0, 30, "the gateway didn't take its policy")

    def _stop_gateway(self):
        """As Ctrl-C does, so that it takes its programs off the interfaces; Namespace.close() ends what is left."""
        os.killpg(self.gateway.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.gateway.wait(10)

    def _wait(self, condition, seconds, complaint):
        end = time.monotonic() + seconds
        while not condition():
            if self.gateway is not None and self.gateway.poll() is not None:
                complaint = "the gateway ended"
                end = 0
            if time.monotonic() > end:
                log = PLACE / "gateway.log"
                raise RuntimeError(complaint + ("\n" + log.read_text() if log.exists() else ""))
            time.sleep(0.05)

    # -- what an operator does --

    def operate(self, command, *arguments, check=True):
        width = shutil.get_terminal_size((132, 24)).columns - 2
        return net.run(BULKHEAD, command, "--socket", SOCKET, *arguments, check=check, env={**os.environ, "COLUMNS": str(width)})

    def show(self, command, *arguments):
        """Runs a command of the operator's before the reader's eyes."""
        SCREEN.command("bulkhead", command, "--socket", str(SOCKET), *arguments)
        SCREEN.output(self.operate(command, *arguments, check=False).stdout)

    def generation(self):
        done = self.operate("status", "--json", check=False)
        return int(json.loads(done.stdout)["generation"]) if done.returncode == 0 else 0

    def drops(self):
        answer = json.loads(self.operate("drops", "--json").stdout)
        return {d["reason"]: int(d["packets"]) for d in answer["drops"]}

    def change_policy(self, file_name, old, new):
        """Edits a policy file of the running gateway; returns the seconds from the gateway's seeing it until every worker enforced it."""
        path, before = CONFIG / "policy" / file_name, self.generation()
        text = path.read_text()
        assert old in text, f"{file_name} has no {old!r}"
        (PLACE / "new").write_text(text.replace(old, new))
        os.replace(PLACE / "new", path)
        self._wait(lambda: self.generation() > before, 10, "the change didn't come into force")
        return json.loads(self.operate("status", "--json").stdout)["last_enforcement_seconds"]


NGINX_CONFIGURATION = """
daemon off;
pid {directory}/nginx.pid;
user nobody nogroup;
worker_processes 1;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{ listen 80; listen [::]:80; root {directory}; }}
}}
"""


# -- attempts --

@dataclasses.dataclass(frozen=True)
class Attempt:
    source: str
    destination: str
    what: str
    command: tuple
    succeeds_with: str      # what the client prints when it worked
    expected: str           # "allow", "deny" or "reject"
    reason: str = ""        # where it isn't allowed: the drop reason that counts it

    def observe(self, demo):
        """What happened, and which drop reason grew."""
        before, started = demo.drops(), time.monotonic()
        done = demo.workloads[self.source].run(*self.command, check=False, timeout=20)
        if self.succeeds_with in done.stdout:
            return "allow", ""
        refused = time.monotonic() - started < PATIENCE / 2  # answered, where a drop leaves the client waiting
        end = time.monotonic() + 1.0
        while True:
            after = demo.drops()
            grown = sorted(r for r in after if after[r] > before[r] and r != "multicast_unsupported")
            if grown or time.monotonic() > end:
                return ("reject" if refused else "deny"), ", ".join(grown)
            time.sleep(0.05)


def curl(*words):
    return ("curl", "-sS", "--connect-timeout", str(PATIENCE), "--max-time", str(PATIENCE + 1), *words)


def redis(*words):
    return ("timeout", str(PATIENCE), "redis-cli", "-h", address("db"), *words)


def ping(*words):
    return ("ping", "-c", "1", "-W", str(PATIENCE), *words)


ATTEMPTS = [
    Attempt("web", "app", "curl http, tcp/8080", curl(f"http://{address('app')}:8080/"), "the application", "allow"),
    Attempt("web", "app", "the same over IPv6", curl(f"http://[{address6('app')}]:8080/"), "the application", "allow"),
    Attempt("app", "db", "redis PING, tcp/6379", redis("PING"), "PONG", "allow"),
    Attempt("app", "web", "curl nginx, tcp/80", curl(f"http://{address('web')}/"), "the web server", "allow"),
    Attempt("web", "db", "ping", ping(address("db")), "1 received", "allow"),
    Attempt("web", "gateway", "ping the gateway, IPv6", ping("fd00:10:1::1"), "1 received", "allow"),
    Attempt("web", "db", "redis PING, tcp/6379", redis("PING"), "PONG", "deny", "policy_denied"),
    Attempt("db", "app", "curl http, tcp/8080", curl(f"http://{address('app')}:8080/"), "the application", "deny", "policy_denied"),
    Attempt("db", "web", "curl nginx over IPv6", curl(f"http://[{address6('web')}]/"), "the web server", "deny", "policy_denied"),
    Attempt("app", "db", "ssh, tcp/22 (guardrail)", curl(f"http://{address('db')}:22/"), "SSH", "reject", "policy_explicit_deny"),
    Attempt("web", "db", "redis as 10.10.2.66 (spoof)", curl("--interface", "10.10.2.66", f"http://{address('db')}:6379/"),
            "ERR", "deny", "spoofed_source"),
]
AFTER_THE_CHANGE = [
    Attempt("app", "db", "redis PING, tcp/6379", redis("PING"), "PONG", "deny", "policy_denied"),
    Attempt("web", "db", "redis PING, tcp/6379", redis("PING"), "PONG", "allow"),
]
COLUMNS = "  {:<4} {:<8} {:<28} {:<9} {:<9} {:<22} {}"


def try_all(demo, attempts):
    """Prints a line for each attempt; returns how many weren't as expected."""
    SCREEN.say(SCREEN.paint("1", COLUMNS.format("from", "to", "attempt", "expected", "observed", "reason", "")))
    surprises = 0
    for attempt in attempts:
        observed, reason = attempt.observe(demo)
        good = observed == attempt.expected and reason == attempt.reason
        surprises += not good
        mark = SCREEN.paint("32", "ok") if good else SCREEN.paint("1;31", "NOT AS EXPECTED")
        SCREEN.say(COLUMNS.format(attempt.source, attempt.destination, attempt.what, attempt.expected, observed, reason, mark))
    return surprises


def change_under_a_live_flow(demo):
    """A connection that policy stops allowing is cut, one that it starts allowing opens. Returns how many surprises."""
    SCREEN.title("A live connection: app keeps asking db")
    client = demo.workloads["app"].popen("redis-cli", "-h", address("db"), "-r", "-1", "-i", "0.05", "PING",
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(0.5)
    demo.show("flows", "--segment", "db")
    SCREEN.title("A hot change of policy: from now on web may call db, and app may not")
    SCREEN.command("sed -i", "'/app-calls-db/,/allow/ s/from: app/from: web/'", str(CONFIG / "policy" / "20-rules.yaml"))
    seconds = demo.change_policy("20-rules.yaml", "name: app-calls-db\n    from: app", "name: app-calls-db\n    from: web")
    SCREEN.say(f"  enforced {seconds * 1000:.1f} ms after the change was seen")
    time.sleep(0.3)
    live = json.loads(demo.operate("flows", "--json").stdout)["flows"]
    still = [f for f in live if f["src"]["address"] == address("app") and f["service"] == "tcp/6379" and f["state"] == "established"]
    os.killpg(client.pid, signal.SIGKILL)
    said = client.communicate()[0]
    cut = not still and "PONG" in said and "Connection reset by peer" in said
    SCREEN.say("  the client said: " + " ".join(dict.fromkeys(said.split("\n"))).strip())
    SCREEN.say("  the live connection was cut with a reset: "
               + (SCREEN.paint("32", "ok") if cut else SCREEN.paint("1;31", "NOT AS EXPECTED")))
    return (not cut) + try_all(demo, AFTER_THE_CHANGE)


def hints():
    SCREEN.title("It keeps running. From another terminal (Ctrl-C here ends it):")
    for line in (
            f"ip netns exec {PREFIX}web curl http://{address('app')}:8080/       a workload's own view",
            f"$EDITOR {CONFIG}/policy/20-rules.yaml       saved is enforced, or refused whole",
            f"bulkhead status --socket {SOCKET}     also: flows, drops, segments",
            f"bulkhead explain --socket {SOCKET} --from {address('web')} --to {address('db')} --service tcp/22",
            f"ip netns exec {PREFIX}gw curl http://127.0.0.1:9464/metrics",
            f"tail -f {PLACE}/gateway/flows.jsonl"):
        SCREEN.say("  " + line)
    SCREEN.say(f"  (bulkhead is {BULKHEAD})")


def remove_leftovers():
    """What an earlier demo left that was killed."""
    for leftover in pathlib.Path("/run/netns").glob(PREFIX + "*"):
        net.remove_namespace(leftover.name)
    shutil.rmtree(PLACE, ignore_errors=True)


def show(demo, then_end):
    SCREEN.title("Three workloads behind one gateway")
    SCREEN.say("  web  10.10.1.10  nginx          \\\n"
               "  app  10.10.2.10  Python http    -- bulkhead (af_xdp, route mode, default deny)\n"
               "  db   10.10.3.10  redis          /")
    demo.build()
    demo.workloads["web"].run("ip", "addr", "add", "10.10.2.66/32", "dev", "eth0")  # what a spoofer would do
    demo.start_servers()
    demo.start_gateway()
    SCREEN.title("Who may call whom")
    surprises = try_all(demo, ATTEMPTS)
    SCREEN.title("Why was web denied?")
    demo.show("explain", "--from", address("web"), "--to", address("db"), "--service", "tcp/6379")
    surprises += change_under_a_live_flow(demo)
    SCREEN.say("\n" + ("Everything as expected." if not surprises else f"{surprises} not as expected."))
    if not then_end:
        hints()
        while demo.gateway.poll() is None:
            time.sleep(0.2)
        raise RuntimeError("the gateway ended\n" + (PLACE / "gateway.log").read_text())
    return 1 if surprises else 0


def only_demo():
    """What this demo holds as long as it runs, clean-up included; None where another one does."""
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind("\0bulkhead-demo")  # abstract: gone with the last process that has it
    except OSError:
        return None
    return held


def run(arguments):
    """The exit code. Whatever happens, a kill -9 included, what the demo made is gone afterwards."""
    restore_hugepages = net.restorer_of_hugepages()

    def clean_up():
        remove_leftovers()
        restore_hugepages()

    with net.cleaned_up(clean_up), contextlib.ExitStack() as stack:
        try:
            return show(Demo(stack), then_end="--exit" in arguments)
        finally:
            for number in ENDING_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            with contextlib.suppress(OSError):  # the reader may be gone
                SCREEN.say("\nCleaning up.")


def main(arguments):
    os.umask(0o022)  # what the demo writes is read by the unprivileged control plane
    held = only_demo()
    if held is None:
        print("scripts/demo: a demo is running already; end it with Ctrl-C in its terminal first", file=sys.stderr)
        return 1

    def leave(number, _):
        raise Interrupted(number)

    for number in ENDING_SIGNALS:
        signal.signal(number, leave)
    try:
        remove_leftovers()
        return run(arguments)
    except Interrupted as by:
        return 0 if by.args[0] == signal.SIGINT and "--exit" not in arguments else 128 + by.args[0]
    except BrokenPipeError:
        return 1
    except RuntimeError as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
