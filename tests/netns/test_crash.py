"""kill -9 of each process while denied and allowed traffic flows: nothing denied ever arrives, and the gateway recovers."""
import os
import signal
import time

from harness import DB, EndToEnd, Gateway
from traffic import Capture, Probes, TcpEcho, UdpEcho, can_connect, can_exchange_udp

POLICY = """
policies:
  - {name: web-calls-db, from: web, to: db, allow: [tcp/7000, udp/7000]}
"""
ALLOWED, DENIED = 7000, 7001


class Crash:
    """The cases; subclasses name the device and the mode."""

    device = mode = None

    def setUp(self):
        self.place = self.site(self.mode, self.device)
        for context in (TcpEcho(self.place.db, ALLOWED), UdpEcho(self.place.db, ALLOWED), UdpEcho(self.place.db, DENIED)):
            self.place.enter(context)
        self.gw = self.gateway(self.place, POLICY)
        self.denied = self.enterContext(Probes(self.place.web, DB.address, DENIED, interval=0.001))
        self.denied6 = self.enterContext(Probes(self.place.web, DB.address6, DENIED, interval=0.001))
        self.capture = self.enterContext(Capture(self.place.db))
        time.sleep(0.2)

    def assert_nothing_denied_arrived(self):
        for probes in (self.denied, self.denied6):
            self.assertGreater(probes.sent, 100)
            self.assertEqual(len(self.capture.marked(probes.mark)), 0)

    def passes(self):
        return can_exchange_udp(self.place.web, DB.address, ALLOWED)

    def assert_recovers(self):
        self.assert_within(20, self.passes, f"allowed traffic doesn't pass again; log:\n{self.gw.log()}")
        self.assertTrue(can_connect(self.place.web, DB.address6, ALLOWED, timeout=3))
        time.sleep(0.3)
        self.assert_nothing_denied_arrived()

    def test_kill_9_of_the_dataplane(self):
        self.assertTrue(self.passes())
        old = self.gw.process_ids("bulkhead-dataplane")
        self.gw.kill_program("bulkhead-dataplane")
        self.assert_recovers()
        self.assertNotEqual(self.gw.process_ids("bulkhead-dataplane"), old)

    def test_kill_9_of_the_control_plane_leaves_enforcement_as_it_is(self):
        with Capture(self.place.db) as capture, Probes(self.place.web, DB.address, ALLOWED) as probes:
            time.sleep(0.2)
            self.gw.kill_program("bulkhead-controlplane")
            time.sleep(1.0)
            probes.stop()
            time.sleep(0.2)
        self.assertEqual(probes.numbers_in(capture), list(range(probes.sent)))
        self.assert_recovers()
        self.gw.wait_in_force()
        before = self.gw.status()["generation"]
        self.gw.write_policy("rules.yaml", "policies: []\n")
        self.gw.wait_in_force(generation_over=before)
        self.assertFalse(self.passes())

    def test_kill_9_of_run_leaves_nothing_open_and_can_be_started_again(self):
        for pid in self.gw.process_ids("bulkhead"):
            os.kill(pid, signal.SIGKILL)
        self.gw.process.wait(5)
        time.sleep(1.0)
        self.assert_nothing_denied_arrived()
        again = Gateway(self.place, POLICY, name="gw").start()
        self.gw = again
        self.assert_recovers()

    def test_kill_9_of_everything_leaves_nothing_open_and_can_be_started_again(self):
        self.gw.kill()
        time.sleep(1.0)
        self.assertFalse(self.passes())
        self.assert_nothing_denied_arrived()
        self.gw = Gateway(self.place, POLICY, name="gw").start()
        self.assert_recovers()

    def test_a_clean_stop_opens_nothing_while_it_lasts(self):
        """What stops is the gateway; that its host forwards afterwards is the host's own business again."""
        self.denied.stop()
        self.denied6.stop()
        time.sleep(0.2)
        self.assertEqual(self.gw.stop(), 0)
        self.assert_nothing_denied_arrived()


class AfXdpWire(Crash, EndToEnd):
    device, mode = "af_xdp", "wire"


class AfPacketWire(Crash, EndToEnd):
    device, mode = "af_packet", "wire"


class AfXdpRoute(Crash, EndToEnd):
    device, mode = "af_xdp", "route"


class AfPacketRoute(Crash, EndToEnd):
    device, mode = "af_packet", "route"
