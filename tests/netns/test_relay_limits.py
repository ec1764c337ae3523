"""What a relay bears, and what it gives up before it begins."""
import contextlib
import os
import pathlib
import select
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

import net
import relay_contract as contract
import svids
from relay_contract import ENDED, ESTABLISHED, FAILED, ORIGINATE, TERMINATE
from relay_site import CLIENT, RELAY, SERVER, USER, Listener, next_port, listen_for_control
from test_relay_core import ENDS, RelayTest, is_reset, read_all, tls_context


class Slow(RelayTest):
    """M13: who dawdles holds nothing for long, and nobody else up."""

    def begin(self, role, server_port=7000):
        """(client's socket, flow) of a connection that is announced, and accepted."""
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, server_port, role, **ENDS)
        c = self.site.connect(SERVER, server_port, port, timeout=20)
        self.addCleanup(c.close)
        return c, flow

    def drop_at_server(self, port):
        self.site.server.run("nft", "add table inet quiet; add chain inet quiet in { type filter hook input priority 0; }; "
                             f"add rule inet quiet in tcp dport {port} drop")

    def test_each_deadline_is_ten_seconds(self):
        """Side by side: a handshake that never comes, one that comes a byte at a time, and a server that never answers."""
        self.drop_at_server(7001)
        begun = time.monotonic()
        (idle, never), (drop, byte_by_byte), (plain, unanswered) = self.begin(TERMINATE), self.begin(TERMINATE), self.begin(ORIGINATE, 7001)
        idle.sendall(b"\x16\x03\x01")
        self.open(TERMINATE)  # meanwhile others are served
        ended = {}

        def wait(name, s):
            self.assertRaises(ConnectionResetError, s.recv, 1)
            ended[name] = time.monotonic() - begun

        def dribble():
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200):
                    drop.sendall(bytes([byte]))
                    time.sleep(0.2)
            ended["handshake by the byte"] = time.monotonic() - begun

        threads = [threading.Thread(target=f, args=args) for f, *args in
                   ((wait, "handshake", idle), (wait, "connect", plain), (dribble,))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(set(ended), {"handshake", "handshake by the byte", "connect"})
        for name, seconds in ended.items():
            self.assertTrue(9 < seconds < 13, f"{name}: {seconds} s")
        self.assertEqual([self.plane.proof(flow, FAILED).end for flow in (never, byte_by_byte, unanswered)],
                         ["handshake_timeout", "handshake_timeout", "connect_timeout"])

    def test_records_of_one_byte_arrive(self):
        c, s, _ = self.open(TERMINATE)
        words = os.urandom(20_000)
        received = []
        reader = threading.Thread(target=lambda: received.append(read_all(s)))
        reader.start()
        for byte in words:
            c.send(bytes([byte]))
        c.settimeout(0.1)
        with self.assertRaises((TimeoutError, ssl.SSLError)):
            c.unwrap()
        reader.join(10)
        self.assertEqual(received, [words])


class Bounded(RelayTest):
    options = ("--max-opening-per-source", "4", "--max-per-source", "8")

    def test_handshakes_of_one_source_are_bounded_and_others_are_served(self):
        dawdlers = []
        for _ in range(4):
            port = next_port()
            self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **ENDS)
            dawdlers.append(self.site.connect(SERVER, 7000, port))
            self.addCleanup(dawdlers[-1].close)
        time.sleep(0.2)
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **ENDS)
        self.expect_reset(port)
        self.assertEqual(self.plane.proof(flow, FAILED).end, "too_many_handshakes")
        self.other_source()
        for dawdler in dawdlers:
            dawdler.close()
        time.sleep(0.2)
        self.open(TERMINATE)

    def other_source(self):
        """Another address of the client's is served."""
        self.site.client.run("ip", "addr", "add", "10.1.0.6/24", "dev", "eth0")
        port = next_port()
        flow = self.hop.announce("10.1.0.6", port, SERVER, 7000, TERMINATE, **ENDS)
        with Listener(self.site.server, 7000, lambda peer, _: peer.recv(1)):
            with self.site.client.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
                s.bind(("10.1.0.6", port))
                s.connect((SERVER, 7000))
                with tls_context(False, self.authority, self.web).wrap_socket(s):
                    self.plane.proof(flow, ESTABLISHED)

    def test_connections_of_one_source_are_bounded(self):
        for _ in range(8):
            self.open(TERMINATE)
        port = next_port()
        flow = self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **ENDS)
        self.expect_reset(port)
        self.assertEqual(self.plane.proof(flow, FAILED).end, "too_many_connections")


class Memory(RelayTest):
    options = ("--max-opening-per-source", "4096")
    COUNT = 400

    def test_an_idle_connection_takes_little(self):
        """All in, by resident memory; the kernel's sockets apart."""
        with Listener(self.site.server, 7000, lambda peer, _: peer.recv(10) and peer.recv(10)):
            idle = []

            def open_some(count):
                for _ in range(count):
                    port = next_port()
                    flow = self.hop.announce(CLIENT, port, SERVER, 7000, TERMINATE, **ENDS)
                    idle.append(tls_context(False, self.authority, self.web).wrap_socket(self.site.connect(SERVER, 7000, port)))
                    self.addCleanup(idle[-1].close)
                    idle[-1].sendall(b"a word")
                self.plane.proof(flow, ESTABLISHED)

            open_some(50)
            before = self.hop.memory_kib()
            open_some(self.COUNT)
            time.sleep(1.2)
            each = (self.hop.memory_kib() - before) / self.COUNT
            print(f"     {each:.1f} KiB for an idle connection")
            self.assertLess(each, 40)
            self.assertEqual(self.plane.counters.memory, len(idle) * 26 * 1024)  # no buffers


class Confinement(unittest.TestCase):
    """What a relay that a peer has taken over could still do."""

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=net.next_prefix()))
        self.addCleanup(lambda: net.run("rm", "-r", self.directory))
        os.chmod(self.directory, 0o755)
        os.chown(self.directory, USER, USER)
        self.svids = svids.SvidDirectory(self.directory / "svid", USER)
        self.listener = listen_for_control(self.directory / "control.sock")
        self.addCleanup(self.listener.close)

    def relay(self, *options, user=USER):
        return subprocess.run(["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", RELAY, *map(str, options)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, pass_fds=[self.listener.fileno()])

    def usual(self):
        return ("--control", self.listener.fileno(), "--svids", self.svids.path)

    def test_nothing_but_its_work_is_left(self):
        done = self.relay(*self.usual(), "--check-confinement")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        lines = dict(line.split(": ") for line in done.stdout.splitlines())
        for what in ("open /etc/passwd", "execve", "ptrace", "packet socket", "fork", "executable memory"):
            self.assertIn(lines[what], ("Operation not permitted", "Permission denied"), what)
        self.assertEqual([what for what, said in lines.items() if said == "NOT REFUSED"], [])

    def test_without_a_directory_no_file_is_left_either(self):
        done = self.relay("--control", self.listener.fileno(), "--svid-socket", self.directory / "svids.sock", "--check-confinement")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("make a file: Permission denied", done.stdout)

    def test_it_keeps_no_capability_but_one_and_no_core(self):
        process = subprocess.Popen(["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", RELAY, *map(str, self.usual())],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, pass_fds=[self.listener.fileno()])
        self.addCleanup(lambda: (process.terminate(), process.wait(), process.stderr.close()))
        lines = iter(process.stderr.readline, "")
        self.assertTrue(any("running with 0 SVIDs" in line for line in lines))
        status = dict(line.split(":\t") for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines() if ":\t" in line)
        self.assertEqual({name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb")},
                         {"CapPrm": 1 << 12, "CapEff": 1 << 12, "CapInh": 0, "CapBnd": 0, "CapAmb": 0})
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        self.assertNotEqual(os.readlink(f"/proc/{process.pid}/ns/net"), os.readlink("/proc/self/ns/net"))
        limits = pathlib.Path(f"/proc/{process.pid}/limits").read_text()
        self.assertEqual([line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core")], [["0", "0"]])
        self.assertEqual(os.stat(f"/proc/{process.pid}/mem").st_uid, 0)  # root's: it isn't dumpable

    def test_root_is_refused(self):
        done = self.relay(*self.usual(), user=0)
        self.assertEqual(done.returncode, 1)
        self.assertIn("must not run as root", done.stderr)

    def test_wrong_usage_exits_2_and_says_what_to_write(self):
        for options, says in (((), "--control FD is missing"),
                              (("--control", "9"), "one of --svids DIR and --svid-socket SOCKET is needed"),
                              ((*self.usual(), "--svid-socket", "x"), "one of --svids DIR and --svid-socket SOCKET is needed"),
                              (("--control", "x"), "--control: 'x' should be a number"),
                              ((*self.usual(), "more"), "unexpected argument 'more'"),
                              ((*self.usual(), "--threads", "0"), "--threads: '0' should be a number from 1 to 64"),
                              ((*self.usual(), "--threads", "x"), "--threads: 'x' should be a number from 1 to 64"),
                              ((*self.usual(), "--interface", "a\" drop"), "can't be the name of an interface"),
                              ((*self.usual(), "--user-namespace", "/x"), "belong together"),
                              (("--wrong",), "usage: bulkhead-relay")):
            done = self.relay(*options)
            self.assertEqual(done.returncode, 2, options)
            self.assertIn(says, done.stderr)
            self.assertIn("usage:", done.stderr)

    def test_what_cannot_be_is_said(self):
        gone = self.directory / "gone"
        for options, says in (((*self.usual()[:2], "--svids", gone), f"SVID directory {gone}: No such file"),
                              ((*self.usual(), "--user-namespace", gone, "--network-namespace", gone), f"entering namespace {gone}"),
                              (("--control", "999", *self.usual()[2:]), "--control: descriptor 999 is no listening SOCK_SEQPACKET Unix socket")):
            done = self.relay(*options)
            self.assertEqual(done.returncode, 1, options)
            self.assertIn(says, done.stderr)
