"""A gateway in a namespace of its own with workloads behind it, as every end-to-end test wants it.

The gateway's namespace forwards (ip_forward=1, and IPv6), has an address and a route on every link, and knows every neighbour:
without the gateway, or around it, the kernel would carry what the tests send. What arrives was let through by the gateway.
"""
import contextlib
import dataclasses
import json
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import textwrap
import time
import unittest

import net

BUILD = pathlib.Path(os.environ.get("BULKHEAD_BUILD", pathlib.Path(__file__).resolve().parents[2] / "build" / "release"))
BULKHEAD = BUILD / "src" / "cli" / "bulkhead"
UNPRIVILEGED = "nobody"


@dataclasses.dataclass(frozen=True)
class Workload:
    """A workload, its link and the gateway's port for it."""
    name: str
    number: int

    @property
    def device(self):
        return f"g{self.name}"

    @property
    def mac(self):
        return f"02:00:00:00:{self.number:02x}:01"

    @property
    def gateway_mac(self):
        return f"02:00:00:00:{self.number:02x}:fe"

    @property
    def address(self):
        return f"10.{self.number}.0.{self.number + 4}"

    @property
    def address6(self):
        return f"fd00:{self.number}::{self.number + 4}"

    @property
    def around(self):
        """Addresses that other workloads reach through the MAC of the gateway's interface: its kernel would carry what comes."""
        return f"10.{self.number}.0.{self.number + 104}", f"fd00:{self.number}::{self.number + 104}"

    @property
    def gateway_address(self):
        return f"10.{self.number}.0.254"

    @property
    def gateway_address6(self):
        return f"fd00:{self.number}::fe"

    @property
    def prefixes(self):
        return f'[10.{self.number}.0.0/24, "fd00:{self.number}::/64"]'


WEB, DB, APP = Workload("web", 1), Workload("db", 2), Workload("app", 3)

SEGMENTS = "segments:\n" + "".join(
    f"  {w.name}: {{tag: {100 * w.number}, members: {w.prefixes}}}\n" for w in (WEB, DB, APP))


class Site:
    """Workloads in namespaces, each linked to a gateway's namespace; the gateway itself isn't started yet.

    `mode` is wire (web and db on one wire) or route (web, db and app, each in its own subnet).
    """

    def __init__(self, mode, device="af_xdp"):
        self.mode, self.device = mode, device
        self.workloads = (WEB, DB) if mode == "wire" else (WEB, DB, APP)
        self._stack = contextlib.ExitStack()
        prefix = net.next_prefix()
        try:
            self.directory = pathlib.Path(tempfile.mkdtemp(prefix=prefix))
            self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
            os.chmod(self.directory, 0o755)
            self.gateway_ns = self._namespace(prefix + "gw")
            for key in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
                self.gateway_ns.set_sysctl(key, 1)
            for workload in self.workloads:
                namespace = self._namespace(prefix + workload.name)
                setattr(self, workload.name, namespace)
            for workload in self.workloads:
                self.link(workload)
        except BaseException:
            self.close()
            raise

    def _namespace(self, name):
        namespace = net.Namespace(name)
        self._stack.callback(namespace.close)
        return namespace

    def link(self, workload):
        """Links a workload's namespace to the gateway's.

        In wire mode all workloads share a subnet, in route mode each has its own and the gateway is its router.
        """
        namespace = getattr(self, workload.name)
        net.connect_veth(namespace, "eth0", self.gateway_ns, workload.device, workload.mac, workload.gateway_mac)
        bits, bits6 = (8, 16) if self.mode == "wire" else (24, 64)
        namespace.run("ip", "addr", "add", f"{workload.address}/{bits}", "dev", "eth0")
        namespace.run("ip", "addr", "add", f"{workload.address6}/{bits6}", "dev", "eth0", "nodad")
        self.gateway_ns.run("ip", "addr", "add", f"{workload.gateway_address}/24", "dev", workload.device)
        self.gateway_ns.run("ip", "addr", "add", f"{workload.gateway_address6}/64", "dev", workload.device, "nodad")
        if self.mode == "route":
            namespace.run("ip", "route", "add", "default", "via", workload.gateway_address)
            namespace.run("ip", "-6", "route", "add", "default", "via", workload.gateway_address6)
        self._lead_around(workload, namespace)

    def _lead_around(self, workload, namespace):
        """The way around the gateway, open but for the gateway: no neighbour has to be asked for, which it might prevent."""
        for address in (workload.address, workload.address6, *workload.around):
            self.gateway_ns.run("ip", "neigh", "replace", address, "lladdr", workload.mac, "dev", workload.device, "nud", "permanent")
        for address in workload.around:
            unused = ["nodad", "preferred_lft", "0"] if ":" in address else []  # as a source, that is
            namespace.run("ip", "addr", "add", address, "dev", "eth0", *unused)
        for other in self.workloads:
            for address in other.around if other is not workload else ():
                namespace.run("ip", "route", "add", address, "dev", "eth0")
                namespace.run("ip", "neigh", "replace", address, "lladdr", workload.gateway_mac, "dev", "eth0", "nud", "permanent")

    def far_end(self, port):
        """(namespace, device) at the other end of a port's link; None where there is none."""
        return getattr(self, port, None) and (getattr(self, port), "eth0")

    def callback(self, function, *args):
        """Calls a function when the site is closed, before anything older goes."""
        self._stack.callback(function, *args)

    def enter(self, context):
        """Enters a context manager that lasts as long as the site."""
        return self._stack.enter_context(context)

    def close(self):
        self._stack.close()


@dataclasses.dataclass(frozen=True)
class Link:
    """What the two ends of a workload's link say: frames that the workload's interface counts and the gateway doesn't."""
    dataplane: list    # its process: another one counts anew
    interface: int     # the workload's, by index: another one counts anew
    to_gateway: int
    from_gateway: int
    moved: int         # all that it ever carried


class Gateway:
    """A Bulkhead of a site: its files, its processes, and what an operator asks it."""

    def __init__(self, site, policy, name="gw", workers_a_core=1, **changes):
        """`policy` is YAML without segments; `workers_a_core`: more than one is more than the configuration has words for;
        `changes`: config_text()'s."""
        self.site, self.name = site, name
        self.directory = site.directory / name
        self.policy_directory = self.directory / "policy"
        self.log_file = self.directory / "gateway.log"
        self.flow_log = self.directory / "log" / "flows.jsonl"
        self.socket = self.directory / "run" / "control.sock"
        self.process = None
        self.ended_by_test = False
        self._links_at_start = None
        for path in (self.policy_directory, self.directory / "log", self.directory / "run", self.directory / "state"):
            path.mkdir(parents=True, exist_ok=True)
        owner = pwd.getpwnam(UNPRIVILEGED)
        for path in ("log", "run", "state"):
            os.chown(self.directory / path, owner.pw_uid, owner.pw_gid)
        self.config_file = self.directory / "gateway.yaml"
        self.config_file.write_text(self.config_text(**changes))
        self.write_policy("segments.yaml", SEGMENTS)
        self.write_policy("rules.yaml", policy)
        self.bulkhead = BULKHEAD if workers_a_core == 1 else self._bulkhead_with_workers(workers_a_core)
        site.callback(self.kill)

    def _bulkhead_with_workers(self, workers_a_core):
        """A `bulkhead` that finds beside it a dataplane which is told each of its cores several times."""
        programs = self.directory / "programs"
        programs.mkdir(exist_ok=True)
        shutil.copy(BULKHEAD, programs)
        settings, dataplane = self.directory / "settings", programs / "bulkhead-dataplane"
        dataplane.write_text(textwrap.dedent(f"""\
            #!/bin/sh -e
            # --settings FILE and the rest
            awk '{{ print }} $1 == "core" {{ for (n = 1; n < {workers_a_core}; ++n) print }}' "$2" > {settings}
            shift 2
            exec {BUILD / "dataplane" / "bulkhead-dataplane"} --settings {settings} "$@"
            """))
        dataplane.chmod(0o755)
        (programs / "bulkhead-controlplane").symlink_to(BUILD / "controlplane" / "bulkhead-controlplane")
        return programs / "bulkhead"

    def config_text(self, cores="[1]", flow_log=None, metrics="127.0.0.1:9464", dataplane=None):
        """`dataplane`: one more key of that section."""
        site = self.site
        lines = [
            f"gateway: {{name: {self.name}}}",
            "dataplane:",
            f"  cores: {cores}",
            "  memory_mib: 321",  # no whole number of hugepages
            "  max_flows: 16384",
            f"  mode: {site.mode}",
            *([f"  {dataplane}"] if dataplane else []),
            f"  file_prefix: {site.directory.name}-{self.name}",
            "  ports:",
            *(textwrap.indent(self._port(w), "    ") for w in site.workloads),
        ]
        if site.mode == "wire":
            lines.append("  wires: [[web, db]]")
        lines += [
            "policy: policy/",
            "controlplane:",
            f"  user: {UNPRIVILEGED}",
            f"  socket: {self.socket}",
            "  socket_group: nogroup",
            f"  metrics: {metrics}",
            f"  flow_log: {{path: {flow_log or self.flow_log}}}",
            f"  state: {self.directory / 'state'}",
        ]
        return "\n".join(lines) + "\n"

    def _port(self, workload):
        port = f'- name: {workload.name}\n  device: "{self.site.device}:{workload.device}"\n' \
               f"  link: attached\n  sources: {workload.prefixes}"
        if self.site.mode == "route":
            port += f'\n  mac: "{workload.gateway_mac}"'
            port += f'\n  addresses: [{workload.gateway_address}/24, "{workload.gateway_address6}/64"]'
        return port

    def write_policy(self, file_name, text):
        """Puts a policy file in place in one step, as an editor or a deployment does."""
        temporary = self.directory / (file_name + ".new")
        temporary.write_text(textwrap.dedent(text))
        os.replace(temporary, self.policy_directory / file_name)

    # -- processes --

    def launch(self, **how):
        """Starts `bulkhead run` and doesn't wait for anything. `how`: as Popen's."""
        self.process = self.site.gateway_ns.popen(
            self.bulkhead, "run", "--config", self.config_file,
            stdout=open(self.log_file, "a"), stderr=subprocess.STDOUT, **how)
        # What is tested is the gateway, not how a busy machine shares its CPUs out (sched(7), "The autogroup feature").
        with contextlib.suppress(OSError):
            pathlib.Path(f"/proc/{self.process.pid}/autogroup").write_text("-15")

    def start(self):
        """Starts the gateway and waits until its policy is in force."""
        self.launch()
        self.wait_in_force()
        self.count_links_anew()
        return self

    def count_links_anew(self):
        """Conservation is held against the links' other ends from now on: what the host itself sends may come before."""
        self._links_at_start = self._steady_links()

    def wait_in_force(self, generation_over=0, timeout=30.0):
        """Waits until every worker enforces a policy newer than the one named."""
        def in_force():
            status = self.status(check=False)
            return status and status["dataplane_connected"] and status["generation"] > generation_over
        self._wait(in_force, timeout, "no policy came into force")

    def _wait(self, condition, timeout, complaint):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if condition():
                return
            if self.process.poll() is not None:
                raise AssertionError(f"the gateway ended with {self.process.returncode}:\n{self.log()}")
            time.sleep(0.05)
        raise AssertionError(f"{complaint} in {timeout} s; log:\n{self.log()}")

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def process_ids(self, program=None):
        """The processes of this gateway that run `bulkhead-dataplane`, `bulkhead-controlplane`, `bulkhead-relay` (whose network namespace
        is another) or `bulkhead`; None: all of it."""
        found = []
        for pid in (int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*")):
            try:
                command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                session = os.getsid(pid)
            except (OSError, ProcessLookupError):
                continue
            if session == self.process.pid and program in (None, pathlib.Path(command[0].decode()).name):
                found.append(pid)
        return found

    def kill_program(self, program):
        """kill -9 of one of the gateway's programs."""
        pids = self.process_ids(program)
        if not pids:
            raise AssertionError(f"no {program} runs; log:\n{self.log()}")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def stop(self, timeout=15.0):
        """Ends it as Ctrl-C does; returns the exit code."""
        self.ended_by_test = True
        for pid in self.process_ids("bulkhead"):
            os.kill(pid, signal.SIGINT)
        return self.process.wait(timeout)

    def kill(self):
        """kill -9 of everything at once."""
        self.ended_by_test = True
        if self.process is None:
            return
        for pid in sorted(self.process_ids(), key=lambda pid: pid == self.process.pid):  # the supervisor last
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.wait_gone()

    def wait_gone(self, timeout=10.0):
        """Until no thread of it is left: one that was killed holds sockets and ports until the kernel has taken back its memory."""
        end = time.monotonic() + timeout
        while self._has_threads():
            if time.monotonic() > end:
                raise AssertionError("processes of the gateway don't end")
            time.sleep(0.01)

    def _has_threads(self):
        """Whether a process of its session has a thread that isn't a zombie; the first of several may be one before the others."""
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.process.pid and (state not in "ZX" or len(os.listdir(process / "task")) > 1):
                    return True
            except (FileNotFoundError, ProcessLookupError):
                continue
        return False

    # -- what an operator asks --

    def ask(self, command, *arguments, check=True):
        """Runs `bulkhead COMMAND --json` against this gateway; its answer, or None where it fails and `check` is off."""
        done = net.run(BULKHEAD, command, "--socket", self.socket, "--json", *arguments, check=check)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def status(self, check=True):
        return self.ask("status", check=check)

    def flows(self):
        return self.ask("flows")["flows"]

    def drops(self):
        """Packets by reason, those that have any."""
        return {d["reason"]: d["packets"] for d in self.ask("drops")["drops"] if d["packets"]}

    def feed(self):
        return self.status()["policy"]

    def reload(self, file_name, text):
        """Changes a policy file and waits until what it says is enforced."""
        before = self.status()["generation"]
        self.write_policy(file_name, text)
        self.wait_in_force(generation_over=before, timeout=10.0)

    # -- conservation --

    def broken_conservation(self):
        """What doesn't add up now; empty where all does. Exact as soon as nothing moves any more.

        The gateway's own terms; each port's terms against what the workload's interface at the other end of its link sent
        and received, since the start and as long as the same dataplane runs.
        """
        status, links = self.status(), self._links()
        terms = {name: int(n) for name, n in status["conservation"].items()}
        wrong = []
        if terms["received"] + terms["originated"] != sum(terms[t] for t in ("transmitted", "consumed", "held", "dropped")):
            wrong.append(f"the law itself: {terms}")
        if terms["dropped"] != sum(self.drops().values()):
            wrong.append(f"dropped {terms['dropped']} isn't the sum of {self.drops()}")
        for term, direction in (("received", "rx"), ("transmitted", "tx")):
            at_ports = sum(int(p[f"{direction}_packets"]) for p in status["ports"])
            if terms[term] != at_ports:
                wrong.append(f"{term} {terms[term]}, the ports' {direction} {at_ports}")
        for name, before in (self._links_at_start or {}).items():
            now = links.get(name)
            if now and (now.dataplane, now.interface) == (before.dataplane, before.interface) and not self._agree(before, now):
                wrong.append(f"frames unaccounted for at {name}: at start {before}, now {now}")
        return wrong

    def conservation_in_the_end(self, seconds=5.0):
        """broken_conservation() once it is empty, or what it is when the time is over."""
        end = time.monotonic() + seconds
        while (wrong := self.broken_conservation()) and time.monotonic() < end:
            time.sleep(0.1)
        return wrong

    def _agree(self, before, now):
        """af_packet's driver may lose frames on their way in, uncounted (docs/devices.md)."""
        lost = now.to_gateway - before.to_gateway
        return now.from_gateway == before.from_gateway and (lost == 0 or (lost > 0 and self.site.device == "af_packet"))

    def _links(self):
        """By port, the Link of those that have both ends."""
        guards = {g["port"]: g for g in self.ask("drops")["guards"]}
        dataplane, links = self.process_ids("bulkhead-dataplane"), {}
        for port in self.status()["ports"]:
            far_end = self.site.far_end(port["name"])  # the relay's port has none
            interface = far_end and far_end[0].interface(far_end[1])
            if interface is None:
                continue
            guard = guards[port["name"]]
            not_received = int(guard["missed"])
            if self.site.device == "af_xdp":  # on af_packet ports the guard counts the kernel's copies
                not_received += int(guard["dropped"]) + int(guard["passed"])
            links[port["name"]] = Link(dataplane, interface["index"],
                                       interface["tx_packets"] - int(port["rx_packets"]) - not_received,
                                       interface["rx_packets"] - int(port["tx_packets"]),
                                       interface["tx_packets"] + interface["rx_packets"])
        return links

    def _steady_links(self):
        """_links() once they rest; None where traffic goes on."""
        before = self._links()
        for _ in range(5):
            time.sleep(0.12)  # the guard's counts are read ten times a second
            if (now := self._links()) == before:
                return now
            before = now
        return None


class EndToEnd(unittest.TestCase):
    """Base of the end-to-end tests."""

    def site(self, mode="wire", device="af_xdp"):
        site = Site(mode, device)
        self.addCleanup(site.close)
        return site

    def gateway(self, site, policy, **changes):
        """A started gateway; the conservation law is asserted when the test is over."""
        gateway = Gateway(site, policy, **changes).start()
        self.addCleanup(self.assert_conserved, gateway)
        return gateway

    def assert_conserved(self, gateway):
        """The conservation law, exactly, of a gateway that the test hasn't ended."""
        if gateway.ended_by_test:
            return
        if wrong := gateway.conservation_in_the_end():
            self.fail("\n".join(wrong))

    @contextlib.contextmanager
    def assert_drops(self, gateway, **expected):
        """Asserts by how much exactly each of the reasons named grows, all others of policy and identity not at all."""
        before = gateway.drops()
        yield
        end = time.monotonic() + 3.0
        while True:
            after = gateway.drops()
            grown = {r: after.get(r, 0) - before.get(r, 0) for r in after}
            grown = {r: n for r, n in grown.items() if n and (r in expected or r not in NOISE)}
            if grown == expected or time.monotonic() > end:
                break
            time.sleep(0.1)
        self.assertEqual(grown, expected)

    def assert_within(self, seconds, condition, complaint):
        """`complaint`: a text, or what makes one then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.05)
        self.fail(complaint() if callable(complaint) else complaint)


# What a kernel sends unasked in any namespace.
NOISE = {"multicast_unsupported", "ipv6_ext_header"}
