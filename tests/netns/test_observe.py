"""What an operator sees: metrics, flow log, identity bindings, two gateways side by side."""
import json
import pathlib
import resource
import subprocess
import sys
import time
import urllib.request

from harness import BUILD, BULKHEAD, DB, UNPRIVILEGED, WEB, EndToEnd, Gateway
from traffic import TcpClient, TcpEcho, UdpEcho, can_exchange_udp, new_mark, send_udp
import net

POLICY = """
policies:
  - {name: web-calls-db, from: web, to: db, allow: [tcp/7000, udp/7000], log: true}
"""

# Opens so many connections to the metrics and keeps them.
CONNECT_AND_STAY = """
import resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
kept = [socket.create_connection(("127.0.0.1", 9464), 10) for _ in range(int(sys.argv[1]))]
print(len(kept), flush=True)
time.sleep(60)
"""


def fetch_metrics(gateway, port=9464):
    return gateway.site.gateway_ns.inside(
        lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode())


def sample(text, name, **labels):
    """The value of one sample of an exposition."""
    wanted = {f'{k}="{v}"' for k, v in labels.items()}
    for line in text.splitlines():
        series, _, value = line.rpartition(" ")
        if series.split("{")[0] == name and wanted <= set(series.partition("{")[2].rstrip("}").split(",")):
            return float(value)
    raise AssertionError(f"no sample {name}{labels} in:\n{text}")


def fields(process):
    """What the kernel says of a process or thread, by its directory in /proc."""
    lines = (pathlib.Path(process) / "status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def capabilities(thread):
    """All its sets of them, by name."""
    return {name: int(value, 16) for name, value in fields(thread).items() if name.startswith("Cap")}


class Observe(EndToEnd):
    def setUp(self):
        self.place = self.site()
        for context in (TcpEcho(self.place.db, 7000), UdpEcho(self.place.db, 7000)):
            self.place.enter(context)

    def test_promtool_accepts_the_metrics_and_they_count_what_happened(self):
        gateway = self.gateway(self.place, POLICY)
        before = fetch_metrics(gateway)
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=2))
        send_udp(self.place.web, DB.address, 7009, [new_mark()] * 7)
        self.assert_within(3, lambda: sample(fetch_metrics(gateway), "bulkhead_drops_total", reason="policy_denied")
                           - sample(before, "bulkhead_drops_total", reason="policy_denied") == 7, "the drops aren't counted")
        after = fetch_metrics(gateway)
        self.assertGreater(sample(after, "bulkhead_port_packets_total", port="web", direction="rx"),
                           sample(before, "bulkhead_port_packets_total", port="web", direction="rx"))
        self.assertGreaterEqual(sample(after, "bulkhead_policy_generation"), 1)
        self.assertGreaterEqual(sample(after, "bulkhead_rule_hits_total", rule="web-calls-db", verdict="allow"), 1)
        checked = subprocess.run(["promtool", "check", "metrics"], input=after, text=True, capture_output=True)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_the_flow_log_has_the_opening_the_deny_and_the_end(self):
        gateway = self.gateway(self.place, POLICY)
        with TcpClient(self.place.web, DB.address, 7000) as client:
            self.assertEqual(client.ask(b"hello"), b"hello")
        send_udp(self.place.web, DB.address, 7009, [new_mark()] * 3)

        def lines():
            if not gateway.flow_log.exists():
                return []
            return [json.loads(line) for line in gateway.flow_log.read_text().splitlines()]

        def events():
            return {(line.get("event"), line.get("service")) for line in lines()}

        self.assert_within(15, lambda: {("open", "tcp/7000"), ("deny", "udp/7009")} <= events(), f"only {events()}")

    def test_repeated_denies_are_a_few_lines_and_none_is_missing(self):
        gateway = self.gateway(self.place, POLICY)
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=2))  # the neighbour is known
        with self.assert_drops(gateway, policy_denied=500):
            send_udp(self.place.web, DB.address, 7009, [new_mark()] * 500)
        time.sleep(2.0)  # the dataplane counts together for one second
        self.assertEqual(gateway.stop(), 0)  # and the control plane for ten, or until its end
        lines = [json.loads(line) for line in gateway.flow_log.read_text().splitlines()]
        counts = [line.get("count", 1) for line in lines if (line["event"], line["service"]) == ("deny", "udp/7009")]
        self.assertEqual(sum(counts), 500, lines)
        self.assertLess(len(counts), 10)

    def test_idle_connections_to_the_metrics_stop_neither_metrics_nor_policy(self):
        gateway = self.gateway(self.place, POLICY)
        self.assertFalse(can_exchange_udp(self.place.web, DB.address, 7001))
        self.place.enter(UdpEcho(self.place.db, 7001))
        idle = self.place.gateway_ns.popen(sys.executable, "-c", CONNECT_AND_STAY, "2000", stdout=subprocess.PIPE)
        self.assertEqual(idle.stdout.readline(), b"2000\n")
        fetch_metrics(gateway)  # within urlopen's five seconds
        descriptors = pathlib.Path(f"/proc/{gateway.process_ids('bulkhead-controlplane')[0]}/fd")
        self.assertLess(len(list(descriptors.iterdir())), 200)
        gateway.reload("rules.yaml", POLICY.replace("udp/7000", "udp/7001"))
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7001, tries=3))
        fetch_metrics(gateway)

    def test_the_control_plane_may_have_more_files_open_than_a_shell_allows(self):
        gateway = Gateway(self.place, POLICY)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        gateway.launch(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard)))
        gateway.wait_in_force()
        limits = pathlib.Path(f"/proc/{gateway.process_ids('bulkhead-controlplane')[0]}/limits").read_text()
        self.assertIn(["Max", "open", "files", str(min(hard, 65536)), str(hard), "files"], map(str.split, limits.splitlines()))

    def test_directories_may_be_named_relative_to_the_working_directory(self):
        gateway = Gateway(self.place, POLICY)
        gateway.config_file.write_text(gateway.config_text().replace(f"state: {gateway.directory / 'state'}", "state: kept"))
        controlplane = self.place.gateway_ns.popen(BUILD / "controlplane" / "bulkhead-controlplane", "--config", "gateway.yaml",
                                                   cwd=gateway.directory, stdout=open(gateway.log_file, "a"))
        kept = gateway.directory / "kept"
        self.assert_within(5, lambda: kept.exists() or controlplane.poll() is not None, "no directory was made")
        self.assertIsNone(controlplane.poll(), gateway.log_file.read_text())
        self.assert_within(1, lambda: kept.owner() == UNPRIVILEGED, "it isn't the control plane's")

    def test_status_shows_ports_and_policy(self):
        gateway = self.gateway(self.place, POLICY)
        status = gateway.status()
        self.assertEqual([(p["name"], p["device"], p["up"]) for p in status["ports"]],
                         [("web", "af_xdp:gweb", True), ("db", "af_xdp:gdb", True)])
        self.assertEqual((status["segments"], status["rules"], status["policy"]["errors"]), (3, 1, []))

    def test_explain_names_the_deciding_rule_and_the_implicit_deny(self):
        gateway = self.gateway(self.place, POLICY)
        for service, verdict, rule in (("tcp/7000", "allow", "web-calls-db"), ("tcp/7001", "deny", None)):
            answer = gateway.ask("explain", "--from", WEB.address, "--to", DB.address, "--service", service)
            self.assertEqual((answer["verdict"], answer["rule"], answer["src"]["segment"], answer["dst"]["segment"]),
                             (verdict, rule, "web", "db"))
        done = net.run(BULKHEAD, "explain", "--socket", gateway.socket, "--from", WEB.address, "--to", DB.address,
                       "--service", "tcp/7001", "--expect", "allow", check=False)
        self.assertEqual(done.returncode, 1)

    def test_the_guard_counts_what_it_keeps_from_the_kernel(self):
        """On an af_packet port the kernel is offered every frame too."""
        place = self.site("wire", "af_packet")
        gateway = self.gateway(place, POLICY)

        def kept():
            return {g["port"]: g["dropped"] for g in gateway.ask("drops")["guards"]}

        before = kept()
        self.assertEqual(list(before), ["web", "db"])
        send_udp(place.web, DB.address, 7009, [new_mark()] * 10)
        self.assert_within(3, lambda: kept()["web"] >= before["web"] + 10, "not counted")

    def test_a_binding_to_another_port_makes_its_packets_spoofed(self):
        gateway = self.gateway(self.place, POLICY)
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=2))
        gateway.reload("bindings.yaml", f"""
            segments:
              fixed: {{tag: 900, members: [{{prefix: {WEB.address}, port: gw/db}}]}}
            """)
        with self.assert_drops(gateway, spoofed_source=4):
            send_udp(self.place.web, DB.address, 7000, [new_mark()] * 4)

    def test_the_control_plane_is_unprivileged_and_the_dataplane_keeps_little(self):
        gateway = self.gateway(self.place, POLICY)
        controlplane = fields(f"/proc/{gateway.process_ids('bulkhead-controlplane')[0]}")
        self.assertEqual(controlplane["Uid"].split(), ["65534"] * 4)
        for kind in ("CapEff", "CapPrm", "CapInh"):
            self.assertEqual(int(controlplane[kind], 16), 0, kind)
        reserve = sum(1 << number for number in (12, 13, 14, 21, 38, 39))  # what privileges.h lists
        pid = gateway.process_ids("bulkhead-dataplane")[0]
        threads = {thread.name: capabilities(thread) for thread in pathlib.Path(f"/proc/{pid}/task").iterdir()}
        self.assertGreaterEqual(len(threads), 3)  # the main thread, DPDK's, a worker
        for thread, sets in threads.items():
            permitted = sets.pop("CapPrm")
            self.assertEqual(permitted & ~(reserve if thread == str(pid) else 0), 0, thread)
            self.assertEqual(set(sets.values()), {0}, f"{thread}: {sets}")

    def test_a_dataplane_without_interfaces_of_the_kernels_is_not_root(self):
        gateway = Gateway(self.place, POLICY)
        text = gateway.config_file.read_text()
        for workload in self.place.workloads:
            text = text.replace(f'"{self.place.device}:{workload.device}"', '"null"')
        gateway.config_file.write_text(text)
        gateway.start()
        pid = gateway.process_ids("bulkhead-dataplane")[0]
        for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for kind in ("Uid", "Gid"):
                self.assertEqual(fields(thread)[kind].split(), ["65534"] * 4, thread)
            self.assertEqual(fields(thread)["Groups"].split(), [], thread)
            self.assertEqual(set(capabilities(thread).values()), {0}, thread)
        self.assertEqual(gateway.flows(), [])
        self.assertEqual(gateway.stop(), 0)


class SideBySide(EndToEnd):
    def test_two_gateways_on_one_host(self):
        places = [self.site(), self.site("wire", "af_packet")]
        gateways = []
        for place in places:
            place.enter(UdpEcho(place.db, 7000))
            place.enter(UdpEcho(place.db, 7001))
            gateways.append(self.gateway(place, POLICY))
        for place, gateway in zip(places, gateways):
            self.assertTrue(can_exchange_udp(place.web, DB.address, 7000, tries=3))
            with self.assert_drops(gateway, policy_denied=1):
                self.assertFalse(can_exchange_udp(place.web, DB.address, 7001))
        gateways[0].kill()
        self.assertFalse(can_exchange_udp(places[0].web, DB.address, 7000))
        self.assertTrue(can_exchange_udp(places[1].web, DB.address, 7000, tries=3))
