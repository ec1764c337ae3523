"""Policy that changes under live traffic: what it cuts, what it opens, what it leaves alone."""
import json
import time

from harness import DB, EndToEnd
from traffic import Capture, Probes, TcpClient, TcpEcho, UdpEcho, can_connect, new_mark

OPEN = """
policies:
  - {name: web-calls-db, from: web, to: db, allow: [tcp/7000, udp/7000], log: true}
"""
CLOSED_BUT_8000 = """
policies:
  - {name: web-calls-db-elsewhere, from: web, to: db, allow: [tcp/8000]}
"""
OTHERS = "segments:\n" + "".join(
    f"  other-{n}: {{tag: {n + 1000}, members: [10.200.{n // 250}.{n % 250 + 1}]}}\n" for n in range(1000)) + "policies:\n" + "".join(
        f"  - {{name: others-{n}, from: other-{n}, to: other-{(n + 1) % 1000}, allow: [tcp/443]}}\n" for n in range(1000))


class HotReload(EndToEnd):
    def setUp(self):
        self.place = self.site()
        for context in (TcpEcho(self.place.db, 7000), TcpEcho(self.place.db, 8000), UdpEcho(self.place.db, 7000)):
            self.place.enter(context)
        self.gw = self.gateway(self.place, OPEN)

    def test_a_denied_live_flow_is_reset_and_another_service_opens(self):
        web = self.place.web
        with TcpClient(web, DB.address, 7000) as client:
            self.assertEqual(client.ask(b"before"), b"before")
            self.assertFalse(can_connect(web, DB.address, 8000))
            self.gw.reload("rules.yaml", CLOSED_BUT_8000)
            with self.assertRaises(ConnectionResetError):
                client.ask(b"after")
                client.ask(b"again")
        self.assertFalse(can_connect(web, DB.address, 7000))
        self.assertTrue(can_connect(web, DB.address, 8000))

    def test_an_idle_flow_is_judged_again_and_its_next_packet_reset(self):
        with TcpClient(self.place.web, DB.address, 7000) as client:
            self.assertEqual(client.ask(b"before"), b"before")
            self.gw.reload("rules.yaml", CLOSED_BUT_8000)
            self.assert_within(3, self._revocation_is_logged, "the sweep didn't find it")
            with Capture(self.place.db) as capture:
                with self.assertRaises(ConnectionResetError):
                    client.ask(mark := new_mark())
            self.assertEqual(capture.marked(mark), [])

    def _revocation_is_logged(self):
        log = self.gw.flow_log.read_text() if self.gw.flow_log.exists() else ""
        return any(line["event"] == "revoke" and line["service"] == "tcp/7000" for line in map(json.loads, log.splitlines()))

    def test_after_the_change_is_in_force_no_forbidden_frame_arrives(self):
        with Capture(self.place.db) as capture, Probes(self.place.web, DB.address, 7000, interval=0.001) as probes:
            time.sleep(0.3)
            self.gw.reload("rules.yaml", CLOSED_BUT_8000)
            in_force_ns = time.time_ns()
            time.sleep(0.3)
        arrived = [t for t, _ in capture.marked(probes.mark)]
        self.assertGreater(len(arrived), 50)
        self.assertLess(max(arrived), in_force_ns)

    def test_a_refused_change_changes_nothing_and_says_why(self):
        before = self.gw.status()
        with TcpClient(self.place.web, DB.address, 7000) as client:
            self.assertEqual(client.ask(b"before"), b"before")
            self.gw.write_policy("rules.yaml", OPEN.replace("to: db", "to: nowhere"))
            self.assert_within(5, lambda: self.gw.feed()["errors"], "the refusal is not reported")
            self.assertRegex(self.gw.feed()["errors"][0], r"rules\.yaml:\d+:\d+: error: .*nowhere")
            self.assertEqual(self.gw.status()["generation"], before["generation"])
            self.assertEqual(client.ask(b"after"), b"after")
        self.assertFalse(can_connect(self.place.web, DB.address, 8000))
        self.gw.reload("rules.yaml", CLOSED_BUT_8000)
        self.assertEqual(self.gw.feed()["errors"], [])

    def test_a_change_whose_own_tests_fail_is_refused(self):
        before = self.gw.status()["generation"]
        self.gw.write_policy("rules.yaml", OPEN + "tests:\n  - {from: web, to: db, service: tcp/22, expect: allow}\n")
        self.assert_within(5, lambda: self.gw.feed()["errors"], "the refusal is not reported")
        self.assertEqual(self.gw.status()["generation"], before)
        self.assertTrue(can_connect(self.place.web, DB.address, 7000))

    def test_a_policy_file_that_is_removed_takes_its_rules_with_it(self):
        self.assertTrue(can_connect(self.place.web, DB.address, 7000))
        before = self.gw.status()["generation"]
        (self.gw.policy_directory / "rules.yaml").unlink()
        self.gw.wait_in_force(generation_over=before)
        self.assertFalse(can_connect(self.place.web, DB.address, 7000))

    def reload_for_others(self, rules):
        """Reloads that change nothing for those who talk: of nothing at all, of where the rules stand, and of 1,000 segments more."""
        self.gw.write_policy("note.yaml", "# says nothing\n")
        self.assert_within(5, lambda: "policy unchanged" in self.gw.log(), "the reload of nothing isn't told")
        self.gw.reload("rules.yaml", "# moves the rules, and so makes another image\n" + rules)
        self.gw.reload("others.yaml", OTHERS)
        self.assertEqual(self.gw.status()["segments"], 1003)
        self.gw.reload("others.yaml", "")

    def test_reloads_that_concern_others_lose_no_packet(self):
        with Capture(self.place.db) as capture, Probes(self.place.web, DB.address, 7000, interval=0.0005) as probes:
            time.sleep(0.3)
            before = probes.sent
            self.reload_for_others(OPEN)
            self.assertGreater(probes.sent, before + 100)
            time.sleep(0.3)
            probes.stop()
            self.assert_within(3, lambda: len(capture.marked(probes.mark)) >= probes.sent, "probes were lost")
        self.assertEqual(probes.numbers_in(capture), list(range(probes.sent)))

    def test_an_iperf3_flow_loses_nothing_to_reloads_that_concern_others(self):
        rules = OPEN.replace("udp/7000", "udp/7000, tcp/5201, udp/5201")
        self.gw.reload("rules.yaml", rules)
        self.place.db.popen("iperf3", "-s")
        self.assert_within(5, lambda: ":5201 " in self.place.db.run("ss", "-Hltn").stdout, "iperf3 didn't start")
        client = self.place.web.popen("iperf3", "-c", DB.address, "-u", "-b", "5M", "-l", "200", "-t", "5", "--json",
                                      stdout=-1, text=True)
        self.assert_within(5, lambda: any(f["service"] == "udp/5201" for f in self.gw.flows()), "iperf3 sends nothing")
        self.reload_for_others(rules)
        self.assertIsNone(client.poll(), "the reloads took longer than iperf3")
        result = json.loads(client.communicate(timeout=20)[0])["end"]["sum"]
        self.assertGreater(result["packets"], 5000)
        self.assertEqual(result["lost_packets"], 0)


class HotReloadFourWorkers(HotReload):
    """The same where most packets come to another worker than their flow's."""

    def gateway(self, site, policy, **changes):
        return super().gateway(site, policy, cores="[0, 1]", workers_a_core=2, **changes)
