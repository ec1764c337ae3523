"""What is wrong from the start, or goes wrong later: a clear message, a defined state, and nothing passes that shouldn't."""
import pathlib
import shutil
import subprocess
import time

import net
from harness import BULKHEAD, DB, EndToEnd, Gateway
from traffic import Capture, Probes, UdpEcho, can_exchange_udp

POLICY = """
policies:
  - {name: web-calls-db, from: web, to: db, allow: [tcp/7000, udp/7000]}
"""


class BadInput(EndToEnd):
    def setUp(self):
        self.place = self.site()
        self.place.enter(UdpEcho(self.place.db, 7000))

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

    def changed(self, old, new):
        """A gateway whose configuration differs in one place."""
        gateway = Gateway(self.place, POLICY)
        text = gateway.config_file.read_text()
        self.assertEqual(text.count(old), 1, text)
        gateway.config_file.write_text(text.replace(old, new))
        return gateway

    def test_a_missing_device(self):
        self.assert_refuses_to_start(self.changed("af_xdp:gdb", "af_xdp:nosuch"), "db", "nosuch")

    def test_a_device_used_twice(self):
        self.assert_refuses_to_start(self.changed("af_xdp:gdb", "af_xdp:gweb"), r"gateway\.yaml:\d+:\d+: error: .*gweb")

    def test_an_unknown_key(self):
        self.assert_refuses_to_start(self.changed("  mode: wire", "  mode: wire\n  colour: blue"),
                                     r"gateway\.yaml:\d+:\d+: error: .*colour")

    def test_a_policy_that_names_an_unknown_segment_forwards_nothing(self):
        gateway = Gateway(self.place, POLICY.replace("to: db", "to: nowhere"))
        with Capture(self.place.db) as capture, Probes(self.place.web, DB.address, 7000) as probes:
            gateway.launch()
            self.assert_within(20, lambda: "nowhere" in gateway.log(), "no word about it")
            self.assertRegex(gateway.log(), r"rules\.yaml:\d+:\d+: error: ")
            time.sleep(0.5)
        self.assertEqual(capture.marked(probes.mark), [])

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
        self.assertRegex(second.log(), "control.sock")
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))
        self.assertEqual(first.status()["gateway"], "gw")

    def test_a_second_gateway_on_the_same_interfaces(self):
        self.gateway(self.place, POLICY)
        second = Gateway(self.place, POLICY, name="second", metrics="127.0.0.1:9465")
        second.launch()
        self.assertNotEqual(second.process.wait(20), 0)
        self.assertRegex(second.log(), "gweb")
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))

    def test_no_root(self):
        gateway = Gateway(self.place, POLICY)
        readable = shutil.copy(BULKHEAD, self.place.directory)  # the build directory need not be, for nobody
        done = self.place.gateway_ns.run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                                         readable, "run", "--config", gateway.config_file, check=False, timeout=20)
        self.assertEqual(done.returncode, 1)
        self.assertIn("needs root", done.stderr)

    def test_no_hugepages(self):
        """More memory than hugepages can ever be had for: ordinary pages, with a warning."""
        pool = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
        if not pool.exists():
            self.skipTest("this kernel has no hugepages to run out of")
        gateway = Gateway(self.place, POLICY)
        # A mount namespace whose pool can't be raised and holds nothing for us.
        if int((pool / "free_hugepages").read_text()) > 0:
            (pool / "nr_hugepages").write_text("0")
        gateway.process = self.place.gateway_ns.popen(
            "sh", "-c", f"mount -o remount,bind,ro /sys && exec {BULKHEAD} run --config {gateway.config_file}",
            stdout=open(gateway.log_file, "a"))
        gateway.wait_in_force()
        self.addCleanup(self.assert_conserved, gateway)
        self.assertRegex(gateway.log(), "(?i)warning.*hugepages")
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))

    def test_an_interface_that_disappears(self):
        gateway = self.gateway(self.place, POLICY)
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))
        self.place.gateway_ns.run("ip", "link", "del", "gdb")
        self.assert_within(10, lambda: not [p for p in gateway.status()["ports"] if p["name"] == "db"][0]["up"],
                           "status still shows it up")
        self.assertFalse(can_exchange_udp(self.place.web, DB.address, 7000))
        self.assertRegex(gateway.log(), "db")
        self.assertIsNone(gateway.process.poll())

    def test_a_full_disk_under_the_flow_log(self):
        small = self.place.directory / "small"
        small.mkdir()
        net.run("mount", "-t", "tmpfs", "-o", "size=16k,mode=777", "none", small)
        self.place.callback(net.run, "umount", "-l", small)
        gateway = self.gateway(self.place, POLICY, flow_log=small / "flows.jsonl")
        for _ in range(40):
            self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))
        self.assert_within(10, lambda: "flows.jsonl" in gateway.log(), "no word about the full disk")
        self.assertTrue(can_exchange_udp(self.place.web, DB.address, 7000, tries=3))


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
