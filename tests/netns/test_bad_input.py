"""What is wrong from the start, or goes wrong later: a clear message, a defined state, and nothing passes that shouldn't."""
import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import time

import net
from harness import APP, BULKHEAD, DB, WEB, EndToEnd, Gateway
from test_observe import fetch_metrics, sample
from traffic import Capture, Flood, Probes, UdpEcho, can_exchange_udp, new_mark, send_udp

POLICY = """
policies:
  - {name: web-calls-db, from: web, to: db, allow: [tcp/7000, udp/7000]}
"""


class BadInput(EndToEnd):
    """What policy allows stands for all that passes: where it doesn't, nothing does."""

    def setUp(self):
        self.place = self.site()
        self.place.enter(UdpEcho(self.place.db, 7000))
        self.place.web.run("ip", "neigh", "replace", DB.address, "lladdr", DB.mac, "dev", "eth0")  # no probe waits for ARP

    def passes(self):
        return can_exchange_udp(self.place.web, DB.address, 7000)

    def assert_refuses_to_start(self, gateway, *patterns, code=None, timeout=20):
        """It ends by itself, says why, and nothing passed meanwhile."""
        with Capture(self.place.db) as capture, Probes(self.place.web, DB.address, 7000) as probes:
            gateway.launch()
            try:
                ended = gateway.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.fail(f"it keeps running; log:\n{gateway.log()}")
        self.assertNotEqual(ended, 0)
        if code is not None:
            self.assertEqual(ended, code, gateway.log())
        for pattern in patterns:
            self.assertRegex(gateway.log(), pattern)
        self.assertEqual(capture.marked(probes.mark), [])
        self.assertEqual(gateway.process_ids(), [])

    def assert_forwards_nothing(self, gateway, word):
        """It runs, says why, and nothing passes; returns what drops it."""
        with Capture(self.place.db) as capture, Probes(self.place.web, DB.address, 7000) as probes:
            gateway.launch()
            self.assert_within(20, lambda: word in "".join((gateway.status(check=False) or {}).get("policy", {}).get("errors", [])), "status says nothing")
            self.assertIn(word, gateway.log())
            self.assertEqual((gateway.feed()["state"], gateway.status()["generation"]), ("refused", 0))
            before = probes.sent
            self.assert_within(5, lambda: probes.sent > before + 100, "no probes")
        self.assertEqual(capture.marked(probes.mark), [])
        self.assertGreater(gateway.drops()["no_policy"], 100)
        self.addCleanup(self.assert_conserved, gateway)

    def changed(self, old, new):
        """A gateway whose configuration differs in one place."""
        gateway = Gateway(self.place, POLICY)
        text = gateway.config_file.read_text()
        self.assertEqual(text.count(old), 1, text)
        gateway.config_file.write_text(text.replace(old, new))
        return gateway

    def test_a_missing_device(self):
        self.assert_refuses_to_start(self.changed("af_xdp:gdb", "af_xdp:nosuch"), r"port 'db' \(af_xdp:nosuch\): no interface 'nosuch'", code=1)
        self.assertTrue(self.gateway(self.place, POLICY) and self.passes())  # what it left doesn't hinder another start

    def test_a_device_used_twice(self):
        self.assert_refuses_to_start(self.changed("af_xdp:gdb", "af_xdp:gweb"), r"gateway\.yaml:\d+:\d+: error: .*gweb")

    def test_an_unknown_key(self):
        self.assert_refuses_to_start(self.changed("  mode: wire", "  mode: wire\n  colour: blue"),
                                     r"gateway\.yaml:\d+:\d+: error: .*colour")

    def test_a_policy_that_names_an_unknown_segment_forwards_nothing(self):
        gateway = Gateway(self.place, POLICY.replace("to: db", "to: nowhere"))
        self.assert_forwards_nothing(gateway, "nowhere")
        self.assertRegex(gateway.log(), r"rules\.yaml:\d+:\d+: error: ")
        gateway.write_policy("rules.yaml", POLICY)
        self.assert_within(10, self.passes, "the mended policy isn't enforced")

    def test_a_policy_directory_that_does_not_exist_forwards_nothing_until_it_does(self):
        gateway = Gateway(self.place, POLICY)
        away = gateway.policy_directory.rename(gateway.directory / "away")
        self.assert_forwards_nothing(gateway, f"{gateway.policy_directory}")
        away.rename(gateway.policy_directory)
        self.assert_within(10, self.passes, "the policy that came isn't enforced")
        self.assertEqual(gateway.feed()["errors"], [])

    def test_a_policy_directory_that_is_removed_changes_nothing(self):
        gateway = self.gateway(self.place, POLICY)
        before = gateway.status()["generation"]
        away = gateway.policy_directory.rename(gateway.directory / "away")
        self.assert_within(5, lambda: any("policy" in e for e in gateway.feed()["errors"]), "no word about it")
        self.assertEqual(gateway.status()["generation"], before)
        self.assertTrue(self.passes())
        (away / "rules.yaml").write_text("policies: []\n")
        away.rename(gateway.policy_directory)
        self.assert_within(10, lambda: gateway.feed()["state"] == "in force", "the one that came isn't enforced")
        self.assertFalse(self.passes())

    def test_an_unreadable_policy_file(self):
        gateway = self.gateway(self.place, POLICY)
        before = gateway.status()["generation"]
        secret = gateway.policy_directory / "secret.yaml"
        secret.write_text("policies: []\n")
        secret.chmod(0)
        self.assert_within(5, lambda: any("secret.yaml" in e for e in gateway.feed()["errors"]), "no word about it")
        self.assertEqual(gateway.status()["generation"], before)
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))

    def test_a_second_gateway_on_the_same_socket(self):
        first = self.gateway(self.place, POLICY)
        second = Gateway(self.place, POLICY, name="second")
        text = second.config_file.read_text().replace(str(second.socket), str(first.socket))
        second.config_file.write_text(text)
        second.launch()
        self.assertNotEqual(second.process.wait(20), 0)
        self.assertRegex(second.log(), rf"a gateway runs already at {first.socket} \(pid \d+\)")
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))
        self.assertEqual(first.status()["gateway"], "gw")

    def test_a_second_gateway_on_the_same_interfaces(self):
        self.gateway(self.place, POLICY)
        second = Gateway(self.place, POLICY, name="second", metrics="127.0.0.1:9465")
        second.launch()
        self.assertNotEqual(second.process.wait(20), 0)
        self.assertRegex(second.log(), r"port 'web'.*gweb.*process \d+")
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))

    def test_memory_that_is_no_whole_number_of_hugepages(self):
        """Neither a reservation for the asking nor a directory of DPDK's stays beside what was asked for."""
        gateway = self.gateway(self.place, POLICY)
        dataplane, = gateway.process_ids("bulkhead-dataplane")
        maps = pathlib.Path(f"/proc/{dataplane}/maps").read_text().splitlines()
        self.assertRegex(gateway.config_file.read_text(), r"memory_mib: \d*[13579]\n")
        self.assertTrue(any("memfd:seg" in line for line in maps), "none of DPDK's hugepages among its maps")
        self.assertEqual([line for line in maps if "anon_hugepage" in line], [])
        prefix = re.search(r"file_prefix: (\S+)", gateway.config_file.read_text())[1]
        self.assertFalse(pathlib.Path("/run/dpdk", prefix).exists())

    def test_no_root(self):
        gateway = Gateway(self.place, POLICY)
        readable = shutil.copy(BULKHEAD, self.place.directory)  # the build directory need not be, for nobody
        done = self.place.gateway_ns.run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                                         readable, "run", "--config", gateway.config_file, check=False, timeout=20)
        self.assertEqual(done.returncode, 1)
        self.assertIn("needs root", done.stderr)

    def test_no_hugepages(self):
        """All pages of the pool in a file, and the pool can't be raised: ordinary pages, with a warning."""
        pool = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
        if not pool.exists():
            self.skipTest("this kernel has no hugepages to run out of")
        full = self.place.directory / "full"
        full.mkdir()
        net.run("mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", full)
        self.place.callback(net.run, "umount", "-l", full)
        with open(full / "all", "w") as file:
            free = int((pool / "free_hugepages").read_text())
            with contextlib.suppress(OSError):  # some may be promised to others
                os.posix_fallocate(file.fileno(), 0, max(free, 1) << 21)
        gateway = Gateway(self.place, POLICY)
        gateway.process = self.place.gateway_ns.popen(
            "sh", "-c", f"mount -o remount,bind,ro /sys && exec {BULKHEAD} run --config {gateway.config_file}",
            stdout=open(gateway.log_file, "a"))
        gateway.wait_in_force()
        self.addCleanup(self.assert_conserved, gateway)
        self.assertRegex(gateway.log(), r"warning: no \d+ MiB of hugepages to be had; using ordinary pages")
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))

    def test_files_that_anybody_can_lock_keep_no_gateway_from_starting(self):
        gateway = Gateway(self.place, POLICY)
        for path in (gateway.socket.parent, gateway.directory, "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"):
            if not pathlib.Path(path).exists():
                continue
            file = os.open(path, os.O_RDONLY)
            self.addCleanup(os.close, file)
            fcntl.flock(file, fcntl.LOCK_EX)
        gateway.start()
        self.addCleanup(self.assert_conserved, gateway)
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))

    def test_an_interface_that_disappears_and_comes_back(self):
        gateway = self.gateway(self.place, POLICY)

        def is_up():
            return [p["up"] for p in gateway.status()["ports"] if p["name"] == "db"][0]

        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))
        dataplane = gateway.process_ids("bulkhead-dataplane")
        self.place.gateway_ns.run("ip", "link", "del", "gdb")
        self.assert_within(10, lambda: not is_up(), "status still shows it up")
        self.assert_within(10, lambda: "port 'db': its interface is gone" in gateway.log(), "no word about it")
        self.assertFalse(self.passes())
        self.assertGreater(gateway.drops()["link_down"], 0)

        with Flood(self.place.web, (DB.address, *DB.around), 7001) as denied:
            self.place.link(self.place.workloads[1])
            with Capture(self.place.db) as capture:
                self.assert_within(20, self.passes, lambda: f"it doesn't pass again; log:\n{gateway.log()}")
                self.assertTrue(is_up())
                time.sleep(0.3)
            self.assertEqual(capture.marked(denied.mark), [])
        self.assertEqual(gateway.process_ids("bulkhead-dataplane"), dataplane)

    def test_links_that_flap(self):
        gateway = self.gateway(self.place, POLICY)
        with Capture(self.place.db) as capture, Flood(self.place.web, (DB.address, *DB.around), 7001) as denied:
            for device in ("gweb", "gdb") * 3:
                self.place.gateway_ns.run("ip", "link", "set", device, "down")
                time.sleep(0.15)
                self.place.gateway_ns.run("ip", "link", "set", device, "up")
            self.assert_within(10, self.passes, lambda: f"it doesn't pass again; log:\n{gateway.log()}")
            self.assert_within(5, lambda: all(p["up"] for p in gateway.status()["ports"]), "status shows a link down")
            self.assertEqual(len(capture.marked(denied.mark)), 0)
            self.assert_within(10, lambda: denied.achieved > 10_000, lambda: f"{denied.achieved} denied packets a second")
        self.assertIn("port 'web' is down", gateway.log())
        gateway.count_links_anew()  # a host greets a link that comes up
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))

    def small_disk(self, name, size="16k", mode="777"):
        disk = self.place.directory / name
        disk.mkdir(exist_ok=True)
        net.run("mount", "-t", "tmpfs", "-o", f"size={size},mode={mode}", "none", disk)
        self.place.callback(net.run, "umount", "-l", disk)
        return disk

    def test_a_full_disk_under_the_flow_log(self):
        disk = self.small_disk("small")
        gateway = self.gateway(self.place, POLICY.replace("]}", "], log: true}"), flow_log=disk / "flows.jsonl")
        for _ in range(60):
            self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))
        self.assert_within(10, lambda: "No space left on device" in gateway.log(), "no word about the full disk")
        self.assertRegex(gateway.log(), r"flow log: .*flows\.jsonl: write.*No space left on device: \d+ lines lost so far")
        self.assert_within(5, lambda: sample(fetch_metrics(gateway), "bulkhead_flow_log_lost_total") > 0, "not counted")
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))
        net.run("mount", "-o", "remount,size=1m", disk)
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))
        self.assert_within(10, lambda: "writing again" in gateway.log(), "it doesn't write again")

    def test_a_state_directory_that_cannot_be_written(self):
        gateway = Gateway(self.place, POLICY)
        net.run("mount", "-t", "tmpfs", "-o", "ro", "none", gateway.directory / "state")
        self.place.callback(net.run, "umount", "-l", gateway.directory / "state")
        self.assert_refuses_to_start(gateway, r"controlplane\.state.*state.*Read-only file system", code=1)

    def test_metrics_on_an_address_that_is_taken(self):
        first = self.gateway(self.place, POLICY)
        other = self.site()
        second = Gateway(other, POLICY)
        second.site.gateway_ns = first.site.gateway_ns  # on the first one's host, with interfaces of its own
        text = second.config_file.read_text()
        second.config_file.write_text(text.replace("af_xdp:gweb", "tap:second0").replace("af_xdp:gdb", "tap:second1"))
        second.launch()
        self.assertEqual(second.process.wait(20), 1)
        self.assertRegex(second.log(), r"metrics can't listen on 127\.0\.0\.1:9464: is another gateway using it")
        self.assertTrue(self.passes())

    def test_kill_9_in_the_middle_of_a_start(self):
        """Again and again, each time a little later, under denied traffic that the host would carry around."""
        gateway = Gateway(self.place, POLICY).start()
        gateway.kill()
        with Capture(self.place.db) as capture, Flood(self.place.web, (DB.address, *DB.around), 7001) as denied:
            for milliseconds in range(10, 310, 25):
                gateway.launch()
                time.sleep(milliseconds / 1000)
                gateway.kill()
            again = self.gateway(self.place, POLICY)
            self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))
            time.sleep(0.2)
            self.assertEqual(len(capture.marked(denied.mark)), 0)
            self.assert_within(10, lambda: denied.achieved > 10_000, lambda: f"{denied.achieved} denied packets a second")
            self.assertGreater(again.drops()["policy_denied"], 100)


class ReturningInterfaces(EndToEnd):
    """Interfaces that come back in another order get other numbers in DPDK; each must still be its own port."""

    def test_what_comes_in_on_a_port_that_returned_is_judged_as_that_port(self):
        place = self.site("route", "af_packet")
        place.enter(UdpEcho(place.app, 7000))
        place.enter(UdpEcho(place.app, 7001))
        place.db.run("ip", "link", "set", "lo", "up")
        place.db.run("ip", "addr", "add", f"{WEB.address}/32", "dev", "lo")
        gateway = self.gateway(place, """
            policies:
              - {name: web-calls-app, from: web, to: app, allow: [udp/7000]}
              - {name: db-calls-app, from: db, to: app, allow: [udp/7001]}
            """)

        def up(name):
            return next(p["up"] for p in gateway.status()["ports"] if p["name"] == name)

        def assert_db_cannot_pass_for_web():
            mark = new_mark()
            with Capture(place.app) as capture, self.assert_drops(gateway, spoofed_source=5):
                send_udp(place.db, APP.address, 7000, [mark] * 5, source=WEB.address)
            self.assertEqual(capture.marked(mark), [])

        for workload in (WEB, DB):
            place.gateway_ns.run("ip", "link", "del", workload.device)
        self.assert_within(10, lambda: not up("web") and not up("db"), "still up")
        place.link(DB)
        self.assert_within(10, lambda: up("db"), f"db doesn't come back; log:\n{gateway.log()}")
        self.assertFalse(up("web"))
        self.assertTrue(can_exchange_udp(place.db, APP.address, 7001, tries=3))
        assert_db_cannot_pass_for_web()
        place.link(WEB)
        self.assert_within(10, lambda: up("web"), f"web doesn't come back; log:\n{gateway.log()}")
        self.assertTrue(can_exchange_udp(place.web, APP.address, 7000, tries=3))
        assert_db_cannot_pass_for_web()


class CommandLine(EndToEnd):
    """Exit codes that need no gateway."""

    def test_no_gateway_at_the_socket_is_exit_3(self):
        done = net.run(BULKHEAD, "status", "--socket", "/nonexistent/control.sock", check=False)
        self.assertEqual(done.returncode, 3)
        self.assertIn("/nonexistent/control.sock", done.stderr)

    def test_a_configuration_that_does_not_exist_is_no_success(self):
        done = net.run(BULKHEAD, "run", "--config", "/nonexistent.yaml", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("/nonexistent.yaml", done.stderr)
