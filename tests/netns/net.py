"""Network namespaces, the links between them, and sockets and commands inside them."""
import contextlib
import ctypes
import itertools
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_NETNS_DIR = pathlib.Path("/run/netns")
_PREFIX = "bht"  # names of test namespaces: bht<pid>-<number>-<role>
_numbers = itertools.count(1)


def run(*command, check=True, timeout=30, **kwargs):
    """Runs a command to its end; output is text. Errors: CalledProcessError with the output in it."""
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=timeout, **kwargs)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Namespace:
    """A network namespace with loopback up, gone with everything in it after close()."""

    def __init__(self, name):
        self.name = name
        run("ip", "netns", "add", name)
        self.run("ip", "link", "set", "lo", "up")
        self._processes = []

    def run(self, *command, **kwargs):
        return run("ip", "netns", "exec", self.name, *command, **kwargs)

    def popen(self, *command, **kwargs):
        """Starts a command in a session of its own; close() kills that session."""
        kwargs.setdefault("stdout", subprocess.DEVNULL)
        kwargs.setdefault("stderr", subprocess.STDOUT)
        process = subprocess.Popen(["ip", "netns", "exec", self.name, *map(str, command)], stdin=subprocess.DEVNULL,
                                   start_new_session=True, **kwargs)
        self._processes.append(process)
        return process

    def inside(self, function, *args, **kwargs):
        """Calls a function on a thread that is in this namespace, and returns or raises what it does."""
        outcome = {}

        def body():
            try:
                with open(_NETNS_DIR / self.name) as handle:
                    if _libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), f"setns {self.name}")
                outcome["value"] = function(*args, **kwargs)
            except BaseException as error:  # handed to the caller's thread
                outcome["error"] = error

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if "error" in outcome:
            raise outcome["error"]
        return outcome["value"]

    def socket(self, *args):
        """A socket that lives in this namespace, whichever thread uses it."""
        return self.inside(socket.socket, *args)

    def set_sysctl(self, key, value):
        """Sets net.<key>."""
        def write():
            pathlib.Path("/proc/sys/net", *key.split(".")).write_text(str(value))
        self.inside(write)

    def pids(self):
        """The processes in this namespace."""
        return [int(pid) for pid in run("ip", "netns", "pids", self.name).stdout.split()]

    def interface_counter(self, device, counter):
        """A counter of the device's statistics (rx_packets, tx_packets, ...)."""
        return int(self.run("cat", f"/sys/class/net/{device}/statistics/{counter}").stdout)

    def close(self):
        for process in self._processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        remove_namespace(self.name)


def remove_namespace(name):
    """Kills what still runs in a namespace, then removes it."""
    for pid in run("ip", "netns", "pids", name, check=False).stdout.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass
    run("ip", "netns", "del", name, check=False)


def next_prefix():
    """A prefix for names that no other test, and no other run, uses at the same time."""
    return f"{_PREFIX}{os.getpid()}-{next(_numbers)}-"


def remove_leftovers():
    """Removes the namespaces of test runs that are no more."""
    for entry in _NETNS_DIR.glob(f"{_PREFIX}*"):
        owner = re.match(rf"{_PREFIX}(\d+)-", entry.name)
        if owner and not pathlib.Path("/proc", owner[1]).exists():
            remove_namespace(entry.name)


def connect_veth(one, one_device, other, other_device, one_mac, other_mac):
    """A veth pair between two namespaces, both ends up, without any offload, without addresses."""
    run("ip", "link", "add", one_device, "netns", one.name, "address", one_mac, "type", "veth",
        "peer", "name", other_device, "netns", other.name, "address", other_mac)
    for namespace, device in ((one, one_device), (other, other_device)):
        namespace.run("ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
        namespace.set_sysctl(f"ipv6.conf.{device}.accept_dad", 0)
        namespace.set_sysctl(f"ipv6.conf.{device}.router_solicitations", 0)
        namespace.set_sysctl(f"ipv6.conf.{device}.mldv2_unsolicited_report_interval", 1)  # ms: soon quiet
        namespace.run("ip", "link", "set", device, "up")


@contextlib.contextmanager
def hugepages_restored():
    """Gives back afterwards the hugepages that gateways reserved in the meantime."""
    pool = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    if not pool.exists():
        yield
        return
    before = pool.read_text()
    try:
        yield
    finally:
        if pool.read_text() != before:
            pool.write_text(before)
