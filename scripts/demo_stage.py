"""What the demo's scenes are made of: the screen, namespaces, gateways, attempts and their table."""
import dataclasses
import json
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "netns"))
import net  # noqa: E402

BULKHEAD = ROOT / "build" / "release" / "src" / "cli" / "bulkhead"
PLACE = pathlib.Path("/run/bulkhead-demo")
PREFIX = "bulkhead-demo-"
PATIENCE = 2  # seconds that a client tries before what it wants counts as denied


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

    def head(self, text):
        """A table's first line."""
        self.say(self.paint("1", text.rstrip()))

    def command(self, *words):
        self.say(self.paint("2", "  $ " + " ".join(map(str, words))))

    def output(self, text):
        for line in text.rstrip().splitlines():
            self.say("  " + line)

    def judge(self, text, good):
        """A line with a verdict. Returns how many surprises."""
        self.say(f"  {text}: {self.mark(good)}")
        return int(not good)

    def mark(self, good):
        return self.paint("32", "ok") if good else self.paint("1;31", "NOT AS EXPECTED")


SCREEN = Screen()


# -- the place --

class Stage:
    """Namespaces and gateways of all scenes; gone when `stack` ends."""

    def __init__(self, stack):
        self.stack = stack
        self.gateways = []
        PLACE.mkdir(mode=0o755, exist_ok=True)
        stack.callback(shutil.rmtree, PLACE, ignore_errors=True)

    def namespace(self, name):
        namespace = net.Namespace(PREFIX + name)
        self.stack.callback(namespace.close)
        return namespace

    def router(self, name):
        """A gateway's namespace, whose kernel could forward, and must not."""
        namespace = self.namespace(name)
        for key in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            namespace.set_sysctl(key, 1)
        return namespace

    def within(self, seconds, condition):
        """Whether a condition comes true in time."""
        end = time.monotonic() + seconds
        while not condition():
            self.check_gateways()
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def wait(self, condition, seconds, complaint):
        if not self.within(seconds, condition):
            raise RuntimeError("\n".join([complaint, *(gateway.log() for gateway in self.gateways)]))

    def check_gateways(self):
        for gateway in self.gateways:
            if gateway.process.poll() is not None:
                raise RuntimeError(f"{gateway.name} ended\n{gateway.log()}")

    def wait_listens(self, namespace, port):
        self.wait(lambda: f":{port} " in namespace.run("ss", "-Hltn").stdout, 10,
                  f"the server in {namespace.name} doesn't listen on port {port}")


class Gateway:
    """A Bulkhead that runs in a namespace, with `directory` for its socket, flow log and state."""

    def __init__(self, stage, name, namespace, config, directory):
        self.name, self.namespace, self.config, self.directory = name, namespace, config, directory
        self.socket, self.flow_log = directory / "control.sock", directory / "flows.jsonl"
        self._stage, self._log, self.process = stage, directory / "gateway.log", None
        owner = pwd.getpwnam("nobody")
        for path in (directory, directory / "state"):
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, owner.pw_uid, owner.pw_gid)

    def launch(self):
        with open(self._log, "w") as log:
            self.process = self.namespace.popen(BULKHEAD, "run", "--config", self.config, stdout=log, stderr=subprocess.STDOUT)
        self._stage.stack.callback(self._stop)
        self._stage.gateways.append(self)

    def wait_in_force(self):
        self._stage.wait(lambda: self.generation() > 0, 30, f"{self.name} didn't take its policy")

    def _stop(self):
        """As Ctrl-C does, so that it takes its programs off the interfaces; Namespace.close() ends what is left."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass

    def log(self):
        return self._log.read_text(errors="replace")

    # -- what an operator does --

    def operate(self, command, *arguments, check=True):
        width = shutil.get_terminal_size((132, 24)).columns - 2
        return net.run(BULKHEAD, command, "--socket", self.socket, *arguments, check=check, env={**os.environ, "COLUMNS": str(width)})

    def show(self, command, *arguments):
        """Runs a command of the operator's before the reader's eyes."""
        SCREEN.command("bulkhead", command, "--socket", self.socket, *arguments)
        SCREEN.output(self.operate(command, *arguments, check=False).stdout)

    def generation(self):
        done = self.operate("status", "--json", check=False)
        return int(json.loads(done.stdout)["generation"]) if done.returncode == 0 else 0

    def drops(self):
        """Packets by reason, but for the multicast that every host sends unasked."""
        answer = json.loads(self.operate("drops", "--json").stdout)
        return {d["reason"]: int(d["packets"]) for d in answer["drops"] if d["reason"] != "multicast_unsupported"}

    def events(self, kind):
        """The flow log's lines of a kind."""
        text = self.flow_log.read_text() if self.flow_log.exists() else ""
        whole = text[:text.rfind("\n") + 1]
        return [line for line in map(json.loads, whole.splitlines()) if line["event"] == kind]

    def metrics(self):
        return self.namespace.run("curl", "-s", "http://127.0.0.1:9464/metrics", check=False).stdout

    def change_policy(self, file_name, old, new):
        """Edits a policy file of the running gateway; returns the seconds from the gateway's seeing it until every worker enforced it."""
        path, before = self.config.parent / "policy" / file_name, self.generation()
        text = path.read_text()
        assert old in text, f"{file_name} has no {old!r}"
        (PLACE / "new").write_text(text.replace(old, new))
        os.replace(PLACE / "new", path)
        self._stage.wait(lambda: self.generation() > before, 10, "the change didn't come into force")
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
  {servers}
}}
"""


def start_nginx(namespace, directory, servers, greeting):
    directory.mkdir()
    (directory / "index.html").write_text(greeting + "\n")
    (directory / "nginx.conf").write_text(NGINX_CONFIGURATION.format(directory=directory, servers=servers))
    namespace.popen("nginx", "-p", directory, "-e", directory / "error.log", "-c", directory / "nginx.conf")


def start_http_server(namespace, directory, greeting):
    directory.mkdir()
    (directory / "index.html").write_text(greeting + "\n")
    namespace.popen(sys.executable, "-m", "http.server", "8080", "--bind", "::", "--directory", directory)


def start_redis(namespace, directory):
    directory.mkdir()
    namespace.popen("redis-server", "--port", "6379", "--bind", "0.0.0.0", "::", "--protected-mode", "no",
                    "--save", "", "--appendonly", "no", "--dir", directory)


# -- attempts --

@dataclasses.dataclass(frozen=True)
class Attempt:
    source: str
    destination: str
    what: str
    command: tuple
    succeeds_with: str      # what the client prints when it worked
    expected: str           # "allow", "deny" or "reject"
    reason: str = ""        # where it isn't allowed: what the gateway counts or logs it as

    def observe(self, namespace, refusals):
        """What happened, and which of refusals(), counts by reason, grew."""
        before, started = refusals(), time.monotonic()
        done = namespace.run(*self.command, check=False, timeout=20)
        if self.succeeds_with in done.stdout:
            return "allow", ""
        refused = time.monotonic() - started < PATIENCE / 2  # answered, where a drop leaves the client waiting
        end = time.monotonic() + 1.0
        while True:
            grown = sorted(reason for reason, count in refusals().items() if count > before.get(reason, 0))
            if grown or time.monotonic() > end:
                return ("reject" if refused else "deny"), ", ".join(grown)
            time.sleep(0.05)


def curl(*words):
    return ("curl", "-sS", "--connect-timeout", str(PATIENCE), "--max-time", str(PATIENCE + 1), *map(str, words))


def redis(host, *words):
    return ("timeout", str(PATIENCE), "redis-cli", "-h", host, *map(str, words))


def ping(*words):
    return ("ping", "-c", "1", "-W", str(PATIENCE), *words)


COLUMNS = "  {:<8} {:<8} {:<32} {:<9} {:<9} {:<22} {}"


def try_all(workloads, refusals, attempts):
    """Prints a line for each attempt; returns how many weren't as expected."""
    SCREEN.head(COLUMNS.format("from", "to", "attempt", "expected", "observed", "reason", ""))
    surprises = 0
    for attempt in attempts:
        observed, reason = attempt.observe(workloads[attempt.source], refusals)
        good = observed == attempt.expected and reason == attempt.reason
        surprises += not good
        SCREEN.say(COLUMNS.format(attempt.source, attempt.destination, attempt.what, attempt.expected, observed, reason,
                                  SCREEN.mark(good)))
    return surprises
