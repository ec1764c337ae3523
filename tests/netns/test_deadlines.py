"""`until` and `after` on live traffic, to the millisecond: by when each packet was sent, so that a slow machine fails no test."""
import datetime
import time

from harness import DB, EndToEnd
from traffic import Capture, Probes, TcpClient, TcpEcho, UdpEcho, can_connect, can_exchange_udp

MILLISECOND = 1_000_000
OPEN = """
policies:
  - {name: calls, from: web, to: db, allow: [tcp/7000, udp/7000]}
"""


class Deadlines:
    """The cases; subclasses name the device and the mode."""

    device = mode = None

    def setUp(self):
        self.place = self.site(self.mode, self.device)
        for context in (TcpEcho(self.place.db, 7000), TcpEcho(self.place.db, 7001), UdpEcho(self.place.db, 7001)):
            self.place.enter(context)
        self.gw = self.gateway(self.place, OPEN)
        self.web = self.place.web
        for host in (DB.address, DB.address6):  # so that neighbours are known
            self.assertTrue(can_connect(self.web, host, 7000, timeout=3))

    def enforce(self, rules):
        """Puts rules in force in which {T} is an instant two seconds ahead. That is left when they are."""
        instant = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
        self.gw.reload("rules.yaml", rules.replace("{T}", f'"{instant.isoformat()}"'))
        self.instant_ns = int(instant.timestamp() * 1e9)

    def wait_for_the_instant(self, and_seconds=0.3):
        time.sleep(max(0.0, self.instant_ns / 1e9 + and_seconds - time.time()))

    def probe_both_families(self, port):
        return [self.enterContext(Probes(self.web, host, port, interval=0.001)) for host in (DB.address, DB.address6)]

    def assert_ended_at_the_instant(self, capture, probes):
        """Of what was sent before it all arrived until shortly before it, and nothing of what was sent after it."""
        arrived = [probes.sent_at[n] for n in probes.numbers_in(capture)]
        early = self.instant_ns - 500 * MILLISECOND
        self.assertEqual(sum(t < early for t in arrived), sum(t < early for t in probes.sent_at))
        self.assertGreater(max(arrived), early)
        self.assertLess(max(arrived), self.instant_ns + MILLISECOND)
        self.assertGreater(max(probes.sent_at), self.instant_ns + 100 * MILLISECOND)  # the probe itself went on

    def assert_cut(self, client):
        with self.assertRaises(ConnectionResetError):
            client.ask(b"after")
            client.ask(b"again")

    def test_until_ends_live_flows_at_its_instant(self):
        self.enforce("""
            policies:
              - {name: a-while, from: web, to: db, allow: [tcp/7000, udp/7000], until: {T}}
            """)
        with Capture(self.place.db) as capture, TcpClient(self.web, DB.address, 7000) as client, \
                TcpClient(self.web, DB.address6, 7000) as client6:
            self.assertEqual(client.ask(b"before"), b"before")
            self.assertEqual(client6.ask(b"before"), b"before")
            all_probes = self.probe_both_families(7000)
            self.wait_for_the_instant()
            for connection in (client, client6):
                self.assert_cut(connection)
            self.assertFalse(can_connect(self.web, DB.address, 7000))
            for probes in all_probes:
                probes.stop()
        for probes in all_probes:
            self.assert_ended_at_the_instant(capture, probes)
        self.assertGreater(self.gw.drops()["grant_expired"], 0)

    def test_after_opens_at_its_instant_and_a_deny_cuts_live_flows_at_its_own(self):
        self.enforce("""
            policies:
              - {name: now, from: web, to: db, allow: [tcp/7000, udp/7000]}
              - {name: later, from: web, to: db, allow: [tcp/7001, udp/7001], after: {T}}
              - {name: curfew, tier: guardrail, from: any, to: any, deny: [tcp/7000, udp/7000], after: {T}}
            """)
        with Capture(self.place.db) as capture, TcpClient(self.web, DB.address, 7000) as client:
            self.assertEqual(client.ask(b"before"), b"before")
            self.assertFalse(can_exchange_udp(self.web, DB.address, 7001, timeout=0.1))
            shut, later = self.probe_both_families(7000), self.probe_both_families(7001)
            self.wait_for_the_instant()
            self.assert_cut(client)
            self.assertTrue(can_connect(self.web, DB.address, 7001, timeout=3))
            self.assertTrue(can_exchange_udp(self.web, DB.address6, 7001, tries=3))
            for probes in shut + later:
                probes.stop()
        for probes in shut:
            self.assert_ended_at_the_instant(capture, probes)
        for probes in later:
            arrivals = [t for t, _ in capture.marked(probes.mark)]
            self.assertGreater(min(arrivals), self.instant_ns - MILLISECOND)
            self.assertGreater(len(arrivals), 50)
        self.assertGreater(self.gw.drops()["policy_explicit_deny"], 0)


class AfXdpWire(Deadlines, EndToEnd):
    device, mode = "af_xdp", "wire"


class AfPacketWire(Deadlines, EndToEnd):
    device, mode = "af_packet", "wire"


class AfXdpRoute(Deadlines, EndToEnd):
    device, mode = "af_xdp", "route"


class AfPacketRoute(Deadlines, EndToEnd):
    device, mode = "af_packet", "route"
