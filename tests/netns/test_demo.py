"""The demo as a newcomer starts and ends it: every line as expected, and nothing left behind however it ends."""
import os
import pathlib
import signal
import socket
import subprocess
import time
import unittest

DEMO = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "demo"
NETNS = pathlib.Path("/run/netns")
PLACE = pathlib.Path("/run/bulkhead-demo")
PREFIX = "bulkhead-demo-"


def namespaces():
    return [entry.name for entry in NETNS.glob(f"{PREFIX}*")]


def processes():
    """Those that run in the demo's namespaces or on its files."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if b"bulkhead-demo" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass
    return found


class Demo(unittest.TestCase):
    def setUp(self):
        with socket.socket(socket.AF_UNIX) as held:
            try:
                held.bind("\0bulkhead-demo")
            except OSError:
                self.skipTest("somebody's demo is running")
        self.said = ""

    def start(self, *arguments):
        self.demo = subprocess.Popen([DEMO, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.addCleanup(self.end, self.demo)

    @staticmethod
    def end(demo):
        if demo.poll() is None:
            demo.kill()
            demo.wait()
        demo.stdout.close()

    def read_until(self, words):
        for line in self.demo.stdout:
            self.said += line
            if words in line:
                return
        self.fail(f"it never said '{words}':\n{self.said}")

    def assert_nothing_left(self):
        end = time.monotonic() + 20
        while (left := namespaces() + processes() + [p for p in (PLACE,) if p.exists()]) and time.monotonic() < end:
            time.sleep(0.1)
        self.assertEqual(left, [])

    def test_exit_is_0_where_every_line_is_as_expected(self):
        self.start("--exit")
        said, _ = self.demo.communicate(timeout=120)
        self.assertEqual(self.demo.returncode, 0, said)
        self.assertNotIn("NOT AS EXPECTED", said)
        self.assertEqual(said.count(" ok\n"), 30, said)
        for words in ("policy_denied", "identity_mismatch", "svid_missing_at_peer", "svid_refused: revoked", "agreed on: TLS 1.3 "):
            self.assertIn(words, said)
        self.assert_nothing_left()

    def test_it_keeps_running_with_hints_that_work_until_ctrl_c(self):
        self.start()
        self.read_until("It keeps running")
        hints = []
        while "bulkhead is" not in (line := self.demo.stdout.readline()):
            hints.append(line.split("       ")[0].split("     also")[0].strip())
        bulkhead = line.split("bulkhead is ")[1].strip(" )\n")
        self.assertEqual(len(hints), 12, hints)
        for hint in hints:
            if hint.startswith("$EDITOR"):
                self.assertTrue(pathlib.Path(hint.split()[1]).is_file(), hint)
                continue
            command = hint.replace("bulkhead ", f"{bulkhead} ", 1) if hint.startswith("bulkhead ") else hint
            done = subprocess.run(command.replace("tail -f", "tail -n 3"), shell=True, capture_output=True, text=True, timeout=30)
            self.assertEqual(done.returncode, 0, f"{hint}\n{done.stderr}")
            self.assertTrue(done.stdout, hint)
        second = subprocess.run([DEMO], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        self.assertEqual((second.returncode, "running already" in second.stderr), (1, True), second.stderr)
        self.assertIsNone(self.demo.poll())
        self.demo.send_signal(signal.SIGINT)
        self.assertEqual(self.demo.wait(30), 0)
        self.assert_nothing_left()

    def test_a_signal_in_the_first_scene_leaves_nothing(self):
        for number, code in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)):
            self.end_it_at("Who may call whom\n", number, code)

    def test_a_signal_in_the_second_scene_leaves_nothing(self):
        for number, code in ((signal.SIGINT, 128 + signal.SIGINT), (signal.SIGKILL, -signal.SIGKILL)):
            self.end_it_at("Its certificate is revoked", number, code)

    def end_it_at(self, words, number, code):
        with self.subTest(signal=number):
            self.start("--exit")
            self.read_until(words)
            self.assertTrue(namespaces())
            os.kill(self.demo.pid, number)
            self.assertEqual(self.demo.wait(30), code)
            self.assert_nothing_left()
