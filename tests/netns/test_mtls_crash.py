"""kill -9 of each process of either gateway under `mtls: relay`: nothing in clear on the uncontrolled link, and all resumes.

In route mode the gateways' kernels would carry everything in clear, but for the gateways.
"""
import os
import signal
import threading
import time

from harness import DB
from mtls_case import Links, TwoGateways
from traffic import TcpClient, TcpEcho, new_mark

PORT = 7000
POLICY = f"policies: [{{name: calls, from: web, to: db, allow: [tcp/{PORT}], mtls: relay}}]\n"


class Callers:
    """A thread that opens connection after connection and has a mark echoed on each. A context manager."""

    def __init__(self, namespace, mark):
        self._namespace, self.mark = namespace, mark
        self.done = self.failed = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._call, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _call(self):
        while not self._stop.wait(0.01):
            try:
                with TcpClient(self._namespace, DB.address if (self.done + self.failed) % 2 else DB.address6, PORT, timeout=0.3) as client:
                    self.done += client.ask(self.mark) == self.mark
            except OSError:
                self.failed += 1


class Crash:
    """The cases; subclasses name the mode."""

    policy = POLICY

    def setUp(self):
        super().setUp()
        self.enterContext(TcpEcho(self.place.db, PORT))
        self.assert_within(10, lambda: self.ask(b"ready") == b"ready", lambda: f"{self.a.log()}\n{self.b.log()}")

    def ask(self, words):
        try:
            with TcpClient(self.place.web, DB.address, PORT) as client:
                return client.ask(words)
        except OSError as error:
            return error

    def killed(self, gateway, program, lives_on, until=lambda: True):
        """Kills a program while connections come and one lives, and again whenever it is back, `until` there is what is to be seen."""
        mark = new_mark()
        with Links(self.place) as links, Callers(self.place.web, mark) as callers, \
                TcpClient(self.place.web, DB.address6, PORT, timeout=5) as client:
            self.assertEqual(client.ask(mark), mark)
            self.assert_within(20, lambda: self.kill_one(gateway, program) and until(), lambda: f"not seen: {gateway.drops()}")
            if lives_on:
                self.assertEqual(client.ask(mark), mark)
            else:
                with self.assertRaises(OSError):
                    client.ask(mark)
            gateway.wait_in_force()
            done = callers.done
            self.assert_within(30, lambda: callers.done > done + 5, lambda: f"nobody is served again:\n{gateway.log()}")
        self.assert_private(links, mark)

    def kill_one(self, gateway, program):
        """True once another process of it is there."""
        old = gateway.process_ids(program)
        self.assertEqual(len(old), 1)
        os.kill(old[0], signal.SIGKILL)
        self.assert_within(20, lambda: gateway.process_ids(program) not in ([], old), lambda: f"no other {program}:\n{gateway.log()}")
        return True

    def test_kill_9_of_a_relay_stops_what_needs_it_until_it_is_back(self):
        for gateway in (self.a, self.b):
            with self.subTest(gateway.name):
                before = gateway.drops().get("relay_unavailable", 0)
                self.killed(gateway, "bulkhead-relay", False, lambda: gateway.drops().get("relay_unavailable", 0) > before + 5)

    def test_kill_9_of_a_dataplane_leaves_nothing_in_clear(self):
        for gateway in (self.a, self.b):
            with self.subTest(gateway.name):
                self.killed(gateway, "bulkhead-dataplane", lives_on=False)

    def test_kill_9_of_a_control_plane_leaves_connections_alone(self):
        for gateway in (self.a, self.b):
            with self.subTest(gateway.name):
                self.killed(gateway, "bulkhead-controlplane", lives_on=True)


class Wire(Crash, TwoGateways):
    mode = "wire"


class Route(Crash, TwoGateways):
    mode = "route"
