"""A client, a server, and one or two relays between them, each behind a router that stands in for the dataplane.

    client - router [- router] - server        each router steers what comes from either side into its relay, and what comes out on

The relay's namespaces are held by a process of their own, so that a relay can be restarted in them.
"""
import contextlib
import itertools
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import net
import relay_contract as contract
import svids
from harness import BUILD
from traffic import family_of

RELAY = BUILD / "dataplane" / "relay" / "bulkhead-relay"
USER = 65534
CLIENT, CLIENT6, SERVER, SERVER6 = "10.1.0.5", "fd00:1::5", "10.2.0.9", "fd00:2::9"
_flow_ids = itertools.count(1000)
_ports = itertools.count(20000)


def next_port():
    """A client's port that no other test uses."""
    return next(_ports)


def listen_for_control(path):
    """A socket as `bulkhead run` hands it to the relay: only its owner may open it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.fchmod(listener.fileno(), 0o600)  # bind() gives the file this mode
    listener.bind(str(path))
    listener.listen(8)
    return listener


class Hop:
    """A router and its relay."""

    def __init__(self, site, name):
        self.site, self.name = site, name
        self.router = site.namespace(name)
        for key in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            self.router.set_sysctl(key, 1)
        for scope in ("all", "default"):
            self.router.set_sysctl(f"ipv4.conf.{scope}.rp_filter", 0)
        self.directory = site.directory / name
        self.directory.mkdir()
        os.chown(self.directory, USER, USER)
        self.svids = svids.SvidDirectory(self.directory / "svid", USER)
        self.svid_options = ("--svids", str(self.svids.path))  # where the relay has its SVIDs from
        self.socket, self.log = self.directory / "control.sock", self.directory / "relay.log"
        self.process = self.plane = None
        self.generation = 0
        self.listener = listen_for_control(self.socket)
        site.callback(self.listener.close)
        self._hold_namespaces()
        self.heartbeats = self.router.inside(self._open_port)

    def _hold_namespaces(self):
        self._holder = subprocess.Popen([*AS_USER, "unshare", "--user", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        self.site.callback(self._end, self._holder)
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self._holder.pid}/ns/net") == own:
            time.sleep(0.01)
        # 0 is the relay's own user in there, and there is no other.
        for kind in ("gid", "uid"):
            pathlib.Path(f"/proc/{self._holder.pid}/{kind}_map").write_text(f"0 {USER} 1\n")

    @staticmethod
    def _end(process):
        process.kill()
        process.wait()

    def _open_port(self):
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        port.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND
        port.bind((contract.DATAPLANE, contract.PORT))
        port.settimeout(1)
        self.site.callback(port.close)
        return port

    def give_link(self):
        """relay0, and the router's end of it."""
        net.run("ip", "link", "add", "tor", "netns", self.router.name, "address", contract.RELAY_MAC, "type", "veth",
                "peer", "name", "relay0", "netns", str(self._holder.pid))
        self.router.set_sysctl("ipv6.conf.tor.accept_dad", 0)
        self.router.run("ip", "link", "set", "tor", "arp", "off", "up")
        self.router.run("ip", "addr", "add", f"{contract.DATAPLANE}/30", "dev", "tor")
        for family in ("-4", "-6"):
            self.router.run("ip", family, "route", "add", "default", "dev", "tor", "table", "1")

    def take_link(self):
        self.router.run("ip", "link", "del", "tor")

    def in_relay(self, *command, **kwargs):
        return net.run("nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *command, **kwargs)

    def steer(self, device):
        """What comes in there goes into the relay."""
        for family in ("-4", "-6"):
            self.router.run("ip", family, "rule", "add", "iif", device, "lookup", "1", "priority", "100")

    def start(self, *options):
        spaces = f"/proc/{self._holder.pid}/ns"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [*AS_USER, str(RELAY), "--control", str(self.listener.fileno()), *self.svid_options, "--user-namespace", f"{spaces}/user",
                 "--network-namespace", f"{spaces}/net", *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[self.listener.fileno()])
        self.site.callback(self.stop)
        self.wait_for(lambda: "running with" in self.log.read_text())
        self.attach()

    def attach(self):
        self.plane = contract.ControlPlane(self.socket)

    def wait_for(self, condition, timeout=5):
        end = time.monotonic() + timeout
        while not condition():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{self.name}: the relay isn't there: {self.log.read_text()}")
            time.sleep(0.01)

    def stop(self, signal_number=signal.SIGTERM):
        if self.plane:
            self.plane.close()
            self.plane = None
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal_number)
            self.process.wait(timeout=10)

    def publish(self, segments, workloads=None):
        """The next generation of identities."""
        self.generation += 1
        self.plane.publish(contract.identities(self.generation, segments, workloads), self.generation)

    def announce(self, client, client_port, server, server_port, role, **changes):
        """Says that a flow comes; returns its number."""
        flow_id = next(_flow_ids)
        changes.setdefault("generation", self.generation)
        datagram = contract.announcement(client, client_port, server, server_port, role, flow_id=flow_id, **changes)
        self.heartbeats.sendto(datagram, (contract.RELAY, contract.PORT))
        return flow_id

    def heard(self):
        """The next heartbeat: (state, live)."""
        self.heartbeats.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heartbeats.recv(100)
        self.heartbeats.settimeout(1)
        return contract.heartbeat(self.heartbeats.recv(100))

    def cpu_seconds(self):
        """Of the relay's process, user and system, since it started."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_kib(self):
        """Resident memory of the relay's process."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])


AS_USER = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")


class RelaySite:
    """`hops`: names of the routers in order; the links between them have addresses of their own."""

    def __init__(self, hops=("r1",)):
        self._stack = contextlib.ExitStack()
        self._prefix = net.next_prefix()
        try:
            self.directory = pathlib.Path(tempfile.mkdtemp(prefix=self._prefix))
            self.callback(shutil.rmtree, self.directory, ignore_errors=True)
            os.chmod(self.directory, 0o755)
            self.client, self.server = self.namespace("c"), self.namespace("s")
            self.hops = [Hop(self, name) for name in hops]
            self._connect()
            for hop in self.hops:
                hop.give_link()
        except BaseException:
            self.close()
            raise

    def callback(self, function, *args, **kwargs):
        self._stack.callback(function, *args, **kwargs)

    def close(self):
        self._stack.close()

    def namespace(self, name):
        namespace = net.Namespace(self._prefix + name)
        self.callback(namespace.close)
        return namespace

    def _connect(self):
        first, last = self.hops[0], self.hops[-1]
        self._link(self.client, "eth0", CLIENT, CLIENT6, first.router, "left", "10.1.0.254", "fd00:1::fe", 1)
        self._link(self.server, "eth0", SERVER, SERVER6, last.router, "right", "10.2.0.254", "fd00:2::fe", 2)
        for end, gateway, gateway6 in ((self.client, "10.1.0.254", "fd00:1::fe"), (self.server, "10.2.0.254", "fd00:2::fe")):
            end.run("ip", "route", "add", "default", "via", gateway)
            end.run("ip", "-6", "route", "add", "default", "via", gateway6)
        if first is not last:
            self._link(first.router, "right", "10.9.0.1", "fd00:9::1", last.router, "left", "10.9.0.2", "fd00:9::2", 9)
            for router, via, net4, net6 in ((first.router, 2, "10.2.0.0/24", "fd00:2::/64"), (last.router, 1, "10.1.0.0/24", "fd00:1::/64")):
                router.run("ip", "route", "add", net4, "via", f"10.9.0.{via}")
                router.run("ip", "-6", "route", "add", net6, "via", f"fd00:9::{via}")
        for hop in self.hops:
            hop.steer("left")
            hop.steer("right")

    @staticmethod
    def _link(one, device, address, address6, other, other_device, other_address, other_address6, number):
        net.connect_veth(one, device, other, other_device, f"02:00:00:00:{number:02x}:01", f"02:00:00:00:{number:02x}:fe")
        for namespace, dev, v4, v6 in ((one, device, address, address6), (other, other_device, other_address, other_address6)):
            namespace.run("ethtool", "-K", dev, "tx", "on", "tso", "on", "gso", "on", "gro", "on")  # the relay is what is tried
            namespace.run("ip", "addr", "add", f"{v4}/24", "dev", dev)
            namespace.run("ip", "addr", "add", f"{v6}/64", "dev", dev, "nodad")

    def connect(self, server, server_port, client_port, timeout=10):
        """A TCP connection from the client; the caller has announced it."""
        s = self.client.socket(family_of(server), socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.settimeout(timeout)
        s.bind((CLIENT6 if ":" in server else CLIENT, client_port))
        s.connect((server, server_port))
        return s


class Listener:
    """A TCP server of which each connection is given to `serve(socket, address)` on a thread of its own. A context manager."""

    def __init__(self, namespace, port, serve):
        self._listener = namespace.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("::", port))
        self._listener.listen(4096)
        self._serve = serve
        self.errors = []

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                peer, address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._run, args=(peer, address), daemon=True).start()

    def _run(self, peer, address):
        try:
            with peer:
                self._serve(peer, address)
        except Exception as error:  # what it means the test decides
            self.errors.append(error)
