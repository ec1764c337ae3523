"""What a router owes its neighbours, by policy: answers to ping, time exceeded, packet too big."""
from harness import APP, DB, WEB, EndToEnd, Gateway
from traffic import UdpEcho, can_exchange_udp

POLICY = """
policies:
  - {name: web-pings, from: web, to: [db, gateway], allow: [icmp/echo, icmp6/echo]}
  - {name: web-calls-db, from: web, to: db, allow: [udp/7000]}
"""


class Router(EndToEnd):
    def setUp(self):
        self.place = self.site("route")
        self.place.enter(UdpEcho(self.place.db, 7000))

    def ping(self, host, *words, source="web"):
        return getattr(self.place, source).run("ping", "-c", "2", "-i", "0.2", "-W", "1", *words, host, check=False).stdout

    def test_the_gateway_answers_ping_where_policy_allows_it(self):
        gateway = self.gateway(self.place, POLICY)
        for host in (WEB.gateway_address, WEB.gateway_address6, DB.gateway_address, DB.gateway_address6):
            self.assertIn("2 received", self.ping(host), host)
        with self.assert_drops(gateway, policy_denied=4):
            for host in (APP.gateway_address, APP.gateway_address6):
                self.assertIn("0 received", self.ping(host, source="app"), host)

    def test_a_hop_limit_that_runs_out_is_answered(self):
        gateway = self.gateway(self.place, POLICY)
        with self.assert_drops(gateway, ip_ttl_expired=4):
            self.assertRegex(self.ping(DB.address, "-t", "1"), rf"{WEB.gateway_address}.*Time to live exceeded")
            self.assertRegex(self.ping(DB.address6, "-t", "1"), rf"{WEB.gateway_address6}.*Hop limit")

    def test_a_packet_over_the_next_links_mtu_is_answered_with_its_size(self):
        gateway = Gateway(self.place, POLICY)
        text = gateway.config_file.read_text()
        port = '  - name: db\n'
        self.assertEqual(text.count(port), 1)
        gateway.config_file.write_text(text.replace(port, port + "      mtu: 1400\n"))
        gateway.start()
        self.addCleanup(self.assert_conserved, gateway)
        self.assertIn("2 received", self.ping(DB.address, "-M", "do", "-s", str(1400 - 28)))
        self.assertRegex(self.ping(DB.address, "-M", "do", "-s", "1440"), r"mtu ?= ?1400")
        self.assertRegex(self.ping(DB.address6, "-M", "do", "-s", "1440"), r"mtu ?= ?1400")
        self.assertGreater(gateway.drops().get("packet_too_big", 0), 0)

    def test_a_neighbour_that_does_not_answer_is_counted(self):
        gateway = self.gateway(self.place, POLICY)
        absent = DB.address.rsplit(".", 1)[0] + ".99"
        self.assertFalse(can_exchange_udp(self.place.web, absent, 7000))
        self.assert_within(5, lambda: gateway.drops().get("neighbour_unresolved", 0) == 1, "not counted")

    def test_an_address_without_a_route_is_counted(self):
        gateway = self.gateway(self.place, POLICY + '  - {name: far, from: web, to: far, allow: [udp/7000]}\n'
                               "segments: {far: {tag: 700, members: [10.77.0.0/16]}}\n")
        with self.assert_drops(gateway, no_route=1):
            self.assertFalse(can_exchange_udp(self.place.web, "10.77.0.1", 7000))
