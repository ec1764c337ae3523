"""Network namespaces, the links between them, and sockets and commands inside them."""
import contextlib
import ctypes
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import traceback

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_NETNS_DIR = pathlib.Path("/run/netns")
_TEMPORARY_DIR = pathlib.Path(tempfile.gettempdir())
_PREFIX = "bht"  # names of test namespaces, and their directories: bht<pid>-<number>-<role>
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

    def interface(self, device):
        """The device's index, and what it sent and received; None where there is no such device."""
        shown = json.loads(self.run("ip", "-json", "-statistics", "link", "show", device, check=False).stdout or "[]")
        if not shown:
            return None
        counters = shown[0]["stats64"]
        return {"index": shown[0]["ifindex"], "tx_packets": counters["tx"]["packets"], "rx_packets": counters["rx"]["packets"]}

    def close(self):
        for process in self._processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        remove_namespace(self.name)


@contextlib.contextmanager
def closing_namespace(name):
    """A namespace that is gone after the context."""
    namespace = Namespace(name)
    try:
        yield namespace
    finally:
        namespace.close()


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
    """Removes what test runs made that are no more."""
    made = [entry.name for place in (_NETNS_DIR, _TEMPORARY_DIR) for entry in place.glob(f"{_PREFIX}*")]
    for owner in {int(found[1]) for name in made if (found := re.match(rf"{_PREFIX}(\d+)-", name))}:
        if not pathlib.Path("/proc", str(owner)).exists():
            remove_what_is_left_of(owner)


def remove_what_is_left_of(owner):
    """Removes the namespaces and directories that a test run's process made, mounts in them included."""
    for entry in _NETNS_DIR.glob(f"{_PREFIX}{owner}-*"):
        remove_namespace(entry.name)
    for directory in _TEMPORARY_DIR.glob(f"{_PREFIX}{owner}-*"):
        for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
            if (place := line.split()[1]).startswith(f"{directory}/"):
                run("umount", "-l", place, check=False)
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def cleaned_up(clean_up):
    """Calls `clean_up` after the context, kill -9 of this process in it included: another process waits for its end."""
    reading, writing = os.pipe()
    waiting = os.fork()
    if waiting == 0:
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            os.close(writing)
            os.read(reading, 1)  # comes back when nobody can write any more
            clean_up()
        except BaseException:  # a forked process must not go on as its parent would
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(reading)
    try:
        yield
    finally:
        os.close(writing)
        os.waitpid(waiting, 0)


def connect_veth(one, one_device, other, other_device, one_mac, other_mac):
    """A veth pair between two namespaces, both ends up, without any offload, without addresses. A VLAN tag is in the frame: beside it, where
    veth would keep it, XDP doesn't see it."""
    run("ip", "link", "add", one_device, "netns", one.name, "address", one_mac, "type", "veth",
        "peer", "name", other_device, "netns", other.name, "address", other_mac)
    for namespace, device in ((one, one_device), (other, other_device)):
        namespace.run("ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off", "txvlan", "off")
        namespace.set_sysctl(f"ipv6.conf.{device}.accept_dad", 0)
        namespace.set_sysctl(f"ipv6.conf.{device}.router_solicitations", 0)
        namespace.set_sysctl(f"ipv6.conf.{device}.mldv2_unsolicited_report_interval", 1)  # ms: soon quiet
        namespace.run("ip", "link", "set", device, "up")


def restorer_of_hugepages():
    """A function that gives back the hugepages that gateways reserve from now on."""
    pool = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    before = pool.read_text() if pool.exists() else None

    def restore():
        if before is not None and pool.read_text() != before:
            pool.write_text(before)

    return restore


def hugepages_restored():
    """A context after which the hugepages are given back that gateways reserved in it."""
    return cleaned_up(restorer_of_hugepages())
