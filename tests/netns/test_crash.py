"""kill -9 and restart of each process under traffic: nothing denied ever arrives, and the state comes back.

More than 10,000 denied packets a second come all the while, half of them by the way around the gateway, whose host forwards.
"""
import contextlib
import os
import signal
import time

from harness import DB, EndToEnd
from traffic import Capture, Flood, Probes, TcpClient, TcpEcho, UdpEcho, can_connect, can_exchange_udp

POLICY = """
policies:
  - {name: web-calls-db, from: web, to: db, allow: [tcp/7000, udp/7000]}
"""
ALLOWED, DENIED = 7000, 7001


class Crash:
    """The cases; subclasses name the device and the mode."""

    device = mode = None
    cores = "[1]"

    def setUp(self):
        self.place = self.site(self.mode, self.device)
        for context in (TcpEcho(self.place.db, ALLOWED), UdpEcho(self.place.db, ALLOWED), UdpEcho(self.place.db, DENIED)):
            self.place.enter(context)
        self.gw = self.gateway(self.place, POLICY, cores=self.cores)
        self.flood = self.enterContext(contextlib.ExitStack())
        self.denied = self.flood.enter_context(Flood(self.place.web, (DB.address, DB.address6, *DB.around), DENIED))
        self.capture = self.enterContext(Capture(self.place.db))
        time.sleep(0.2)

    def assert_nothing_denied_arrived(self):
        self.assert_within(10, lambda: self.denied.achieved > 10_000, lambda: f"{self.denied.achieved} denied packets a second")
        self.assertEqual(len(self.capture.marked(self.denied.mark)), 0)

    def passes(self):
        return can_exchange_udp(self.place.web, DB.address, ALLOWED)

    def assert_recovers(self):
        """Allowed traffic passes, policy is what it was, and nothing denied arrived since the beginning."""
        self.assert_within(20, self.passes, lambda: f"allowed traffic doesn't pass again; log:\n{self.gw.log()}")
        self.assertTrue(can_connect(self.place.web, DB.address6, ALLOWED, timeout=3))
        self.gw.wait_in_force()
        status = self.gw.status()
        self.assertEqual((status["segments"], status["rules"], status["policy"]["errors"]), (3, 1, []))
        time.sleep(0.3)
        self.assert_nothing_denied_arrived()

    def assert_change_of_policy_takes_effect(self):
        with TcpClient(self.place.web, DB.address, ALLOWED) as client:
            self.assertEqual(client.ask(b"before"), b"before")
            self.gw.reload("rules.yaml", "policies: []\n")
            with self.assertRaises(ConnectionResetError):
                client.ask(b"after")
                client.ask(b"again")
        self.assertFalse(self.passes())
        self.assert_nothing_denied_arrived()

    def end(self, program, number):
        """Ends one of the gateway's programs; another process of it is there afterwards."""
        old = self.gw.process_ids(program)
        self.assertEqual(len(old), 1)
        os.kill(old[0], number)
        self.assert_within(20, lambda: self.gw.process_ids(program) not in ([], old),
                           lambda: f"no other {program}; log:\n{self.gw.log()}")

    def start_again(self):
        self.gw = self.gateway(self.place, POLICY, cores=self.cores)
        self.addCleanup(self.flood.close)  # before conservation is looked at

    def test_kill_9_of_the_dataplane(self):
        self.replace_dataplane(signal.SIGKILL)
        self.assert_change_of_policy_takes_effect()

    def test_kill_9_of_the_control_plane_leaves_enforcement_as_it_is(self):
        self.replace_control_plane(signal.SIGKILL)
        self.assert_change_of_policy_takes_effect()

    def test_a_restart_of_each(self):
        time.sleep(5)  # what ends earlier after its first start isn't started again, but ends the whole
        self.replace_dataplane(signal.SIGTERM)
        self.replace_control_plane(signal.SIGTERM)
        self.assert_change_of_policy_takes_effect()

    def replace_dataplane(self, number):
        self.assertTrue(self.passes())
        control = self.gw.process_ids("bulkhead-controlplane")
        self.end("bulkhead-dataplane", number)
        self.assert_recovers()
        self.assertEqual(self.gw.process_ids("bulkhead-controlplane"), control)

    def replace_control_plane(self, number):
        """From its end until another one has taken over nothing of an allowed flow is lost, nor after."""
        dataplane = self.gw.process_ids("bulkhead-dataplane")
        with Capture(self.place.db) as capture, Probes(self.place.web, DB.address, ALLOWED) as probes, \
                TcpClient(self.place.web, DB.address6, ALLOWED) as client:
            self.assertEqual(client.ask(b"before"), b"before")
            self.end("bulkhead-controlplane", number)
            self.assertEqual(client.ask(b"meanwhile"), b"meanwhile")
            self.gw.wait_in_force()
            self.assertEqual(client.ask(b"after"), b"after")
            time.sleep(0.3)
            probes.stop()
            self.assert_within(3, lambda: len(capture.marked(probes.mark)) >= probes.sent, "probes were lost")
            self.assertEqual(probes.numbers_in(capture), list(range(probes.sent)))
            self.assert_recovers()
        self.assertEqual(self.gw.process_ids("bulkhead-dataplane"), dataplane)

    def test_kill_9_of_run_leaves_nothing_open_and_can_be_started_again(self):
        self.gw.ended_by_test = True
        for pid in self.gw.process_ids("bulkhead"):
            os.kill(pid, signal.SIGKILL)
        self.gw.process.wait(5)
        self.gw.wait_gone()
        self.assert_nothing_denied_arrived()
        self.start_again()
        self.assert_recovers()

    def test_kill_9_of_everything_leaves_nothing_open_and_can_be_started_again(self):
        self.gw.kill()
        time.sleep(0.5)
        self.assertFalse(self.passes())
        self.assert_nothing_denied_arrived()
        self.start_again()
        self.assert_recovers()

    def test_a_clean_stop_opens_nothing_while_it_lasts(self):
        """What stops is the gateway; that its host forwards afterwards is the host's own business again."""
        self.flood.close()
        time.sleep(0.2)
        self.assertEqual(self.gw.stop(), 0)
        self.assert_nothing_denied_arrived()
        for workload in self.place.workloads:
            shown = [self.place.gateway_ns.run(*command.split(), workload.device).stdout
                     for command in ("tc filter show ingress dev", "ip link show")]
            self.assertNotRegex("".join(shown), "bulkhead|xdp", "its guard is still there")


class AfXdpWire(Crash, EndToEnd):
    device, mode = "af_xdp", "wire"


class AfPacketWire(Crash, EndToEnd):
    device, mode = "af_packet", "wire"


class AfXdpRoute(Crash, EndToEnd):
    device, mode = "af_xdp", "route"


class AfPacketRoute(Crash, EndToEnd):
    device, mode = "af_packet", "route"


class AfXdpWireTwoWorkers(Crash, EndToEnd):
    device, mode, cores = "af_xdp", "wire", "[0, 1]"
