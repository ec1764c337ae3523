"""The bulkhead command as people and scripts run it. Usage: command_test.py PATH_OF_BULKHEAD"""

import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

BULKHEAD = os.path.abspath(sys.argv.pop(1))
EXAMPLES = pathlib.Path(__file__).resolve().parents[3] / "config"

GATEWAY = """
gateway: {name: edge-1}
dataplane:
  mode: wire
  ports:
    - {name: left, device: "tap:bk-left", link: attached, sources: [10.1.0.0/24]}
    - {name: right, device: "tap:bk-right", link: attached, sources: [10.2.0.0/24]}
  wires: [[left, right]]
policy: policy/
"""

POLICY = """
segments:
  web: {tag: 100, members: [10.1.0.0/24]}
  db: {tag: 200, members: [10.2.0.0/24]}
policies:
  - {name: web-calls-db, from: web, to: db, allow: [udp/53, tcp/5432]}
  - {name: no-telnet, tier: guardrail, from: any, to: any, deny: [tcp/23]}
tests:
  - {from: web, to: db, service: udp/53, expect: allow}
"""


class Place:
    """A directory with a gateway and its policy, gone at the end."""

    def __init__(self, case, gateway=GATEWAY, policy=POLICY):
        directory = tempfile.TemporaryDirectory()
        case.addCleanup(directory.cleanup)
        self.path = pathlib.Path(directory.name)
        self.gateway = self.path / "gateway.yaml"
        self.gateway.write_text(gateway)
        self.policy = self.path / "policy"
        self.policy.mkdir()
        (self.policy / "p.yaml").write_text(policy)


def run(*arguments, env=None):
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "BULKHEAD_SOCKET")}
    return subprocess.run([BULKHEAD, *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          env=environment | (env or {}))


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(source, destination, source_port, destination_port, payload=b"ping"):
    """An Ethernet frame with a UDP datagram in IPv4, checksums right."""
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    length = 8 + len(payload)
    header = struct.pack("!HHHH", source_port, destination_port, length, 0)
    total = checksum(addresses + struct.pack("!BBH", 0, 17, length) + header + payload)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 7, 0, 64, 17, 0) + addresses
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    ethernet = bytes.fromhex("020000000009 020000000005".replace(" ", "")) + b"\x08\x00"
    return ethernet + ip + header[:6] + struct.pack("!H", total or 0xFFFF) + payload


def fragments(frame, size):
    """An IPv4 frame's fragments, with `size` bytes of payload each."""
    pieces = []
    for at in range(34, len(frame), size):
        piece, more = frame[at:at + size], at + size < len(frame)
        ip = frame[14:16] + struct.pack("!H", 20 + len(piece)) + frame[18:20] + struct.pack("!H", more << 13 | (at - 34) // 8) + frame[22:34]
        pieces.append(frame[:14] + ip[:10] + struct.pack("!H", checksum(ip[:10] + bytes(2) + ip[12:])) + ip[12:] + piece)
    return pieces


def write_pcap(path, frames):
    """frames: (nanoseconds, frame)."""
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1))
        for time, frame in frames:
            out.write(struct.pack("<IIII", time // 10**9, time % 10**9, len(frame), len(frame)) + frame)


def read_pcap(path):
    data = path.read_bytes()
    frames, at = [], 24
    while at < len(data):
        seconds, fraction, captured, _ = struct.unpack_from("<IIII", data, at)
        frames.append((seconds * 10**9 + fraction, data[at + 16:at + 16 + captured]))
        at += 16 + captured
    return frames


class ExitCodes(unittest.TestCase):
    def expect(self, code, *arguments, says=""):
        done = run(*arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(says, done.stderr)
        return done

    def test_no_command_is_usage(self):
        self.expect(2, says="name a command")

    def test_unknown_command_is_usage_and_says_how_to_get_help(self):
        done = self.expect(2, "stauts", says="bulkhead --help")
        self.assertIn("there is no command 'stauts'", done.stderr)

    def test_unknown_option_is_usage_and_is_named(self):
        self.expect(2, "check", "--frobnicate", "x", says="--frobnicate")

    def test_missing_required_option_is_usage_and_is_named(self):
        self.expect(2, "explain", "--to", "10.2.0.9", "--service", "tcp/1", says="--from")

    def test_command_of_a_later_version_is_usage_and_says_so(self):
        for command in "plan reach top trace quarantine release grant revoke bench".split():
            self.expect(2, command, says=f"{command} is not available in this version")

    def test_help_on_every_command_has_an_example(self):
        for command in "run check explain test replay status flows drops segments svid completion".split():
            done = self.expect(0, command, "--help")
            self.assertIn("Example: ", done.stdout)
            self.assertIn(f"bulkhead {command}", done.stdout)

    def test_version_is_printed(self):
        self.assertRegex(self.expect(0, "--version").stdout, r"^bulkhead \d+\.\d+\.\d+\n$")

    def test_gateway_that_is_not_there_is_unreachable(self):
        for command in "status flows drops segments".split():
            self.expect(3, command, "--socket", "/nonexistent/control.sock", says="/nonexistent/control.sock")

    def test_socket_where_nobody_listens_is_unreachable(self):
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/control.sock"
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(path)
            self.expect(3, "status", "--socket", path, says=f"nobody answers at {path}: Connection refused")
            self.expect(3, "status", "--socket", directory, says=f"nobody answers at {directory}: ")

    def test_explain_without_policy_asks_the_gateway_of_the_environment(self):
        done = run("explain", "--from", "10.1.0.5", "--to", "10.2.0.9", "--service", "tcp/1",
                   env={"BULKHEAD_SOCKET": "/nonexistent/env.sock"})
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("/nonexistent/env.sock", done.stderr)

    def test_flows_of_what_is_no_address_is_usage(self):
        self.expect(2, "flows", "--address", "web", says="--address")


class Check(unittest.TestCase):
    def test_good_gateway_passes_with_a_summary(self):
        done = run("check", Place(self).gateway)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, "1 gateway, 1 policy (2 segments, 2 rules, 1 test): 0 errors, 0 warnings\n")

    def test_error_has_file_line_and_column(self):
        place = Place(self, policy=POLICY.replace("to: db, allow", "to: dbx, allow"))
        done = run("check", place.policy)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"(?m)^" + str(place.policy) + r"/p\.yaml:6:41: error: there is no segment 'dbx'")
        self.assertEqual(done.stdout, "1 policy: 1 error, 0 warnings\n")

    def test_json_is_an_array_of_diagnostics(self):
        place = Place(self, policy=POLICY.replace("to: db, allow", "to: dbx, allow"))
        done = run("check", "--json", place.policy)
        self.assertEqual(done.returncode, 1)
        [found] = json.loads(done.stdout)
        self.assertEqual(list(found), ["file", "line", "column", "severity", "message"])
        self.assertEqual((found["line"], found["severity"]), (6, "error"))

    def test_policy_of_the_gateway_is_checked_too(self):
        place = Place(self, policy=POLICY.replace("tag: 200", "tag: 100"))
        self.assertEqual(run("check", place.gateway).returncode, 1)

    def test_member_on_a_port_that_the_gateway_lacks_is_an_error(self):
        place = Place(self, policy=POLICY.replace("[10.2.0.0/24]", "[{prefix: 10.2.0.0/24, port: edge-1/middle}]"))
        done = run("check", place.gateway)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"p\.yaml:4:28: error: gateway 'edge-1' has no port 'middle' to bind 10\.2\.0\.0/24 to")
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_member_that_is_the_gateways_own_address_is_an_error(self):
        place = Place(self, gateway=ROUTER.replace("link:", 'device: "null", link:'), policy=POLICY.replace("[10.2.0.0/24]", "[10.2.0.0/24, 10.2.0.254]"))
        done = run("check", "--json", place.gateway)
        self.assertEqual(done.returncode, 1)
        [found] = [d for d in json.loads(done.stdout) if d["file"].endswith("p.yaml")]
        self.assertEqual((found["line"], found["column"]), (4, 41))
        self.assertIn("own address on port 'right'", found["message"])

    def test_gateway_without_policy_is_a_warning(self):
        place = Place(self, gateway=GATEWAY.replace("policy: policy/\n", ""))
        self.assertEqual(run("check", place.gateway).stderr, "", "policy/ beside it is the default")
        place.policy.rename(place.path / "elsewhere")
        done = run("check", place.gateway)
        self.assertEqual(done.returncode, 0)
        self.assertIn("warning: there is no 'policy'", done.stderr)

    def test_member_outside_its_ports_sources_is_a_warning(self):
        place = Place(self, policy=POLICY.replace("[10.2.0.0/24]", "[{prefix: 10.3.0.0/24, port: edge-1/right}]"))
        done = run("check", place.gateway)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"p\.yaml:4:28: warning: 10\.3\.0\.0/24 is outside the sources of port 'edge-1/right'")

    def test_af_packet_is_a_warning_that_names_its_limits(self):
        done = run("check", Place(self, gateway=GATEWAY.replace("tap:bk-left", "af_packet:ga")).gateway)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"gateway\.yaml:6:28: warning: .*fragments.*QinQ")

    def test_missing_file_is_an_error_that_names_it(self):
        done = run("check", "/nonexistent/gateway.yaml")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nonexistent/gateway.yaml: error: ", done.stderr)

    def test_policy_files_are_one_policy(self):
        place = Place(self)
        (place.path / "a.yaml").write_text("segments: {web: {tag: 100, members: [10.1.0.0/24]}}\n")
        (place.path / "b.yaml").write_text("policies: [{name: x, from: web, to: web, allow: [tcp]}]\n")
        self.assertEqual(run("check", place.path / "a.yaml", place.path / "b.yaml").returncode, 0)
        self.assertEqual(run("check", place.path / "b.yaml").returncode, 1)

    def test_directory_with_a_gateway_is_taken_apart(self):
        done = run("check", Place(self).path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("1 gateway, 1 policy", done.stdout)


class Examples(unittest.TestCase):
    """What users copy."""

    def directories(self):
        found = sorted({path.parent for path in EXAMPLES.glob("*/*.yaml")})
        self.assertEqual([directory.name for directory in found], ["demo", "mtls"])
        return found

    def test_gateways_and_their_policies_are_right_without_a_warning(self):
        for directory in self.directories():
            done = run("check", directory)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("0 errors, 0 warnings", done.stdout)

    def test_policies_pass_their_own_tests_without_a_warning(self):
        for directory in self.directories():
            done = run("test", directory / "policy")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertRegex(done.stdout, r"^5 of 5 tests passed")


class Explain(unittest.TestCase):
    def explain(self, *arguments, service="tcp/5432", source="10.1.0.5"):
        return run("explain", "--policy", Place(self).policy, "--from", source, "--to", "10.2.0.9", "--service", service, *arguments)

    def test_json_has_the_promised_keys_in_order(self):
        answer = json.loads(self.explain("--json").stdout)
        self.assertEqual(list(answer), ["verdict", "reason", "rule", "tier", "mtls", "until", "src", "dst", "service", "lost", "generation"])
        self.assertEqual(list(answer["src"]), ["address", "segment", "tag", "source", "binding"])

    def test_implicit_deny_has_no_rule_and_tier_default(self):
        answer = json.loads(self.explain("--json", service="tcp/1").stdout)
        self.assertEqual((answer["verdict"], answer["rule"], answer["tier"]), ("deny", None, "default"))

    def test_verdict_as_expected_is_success(self):
        self.assertEqual(self.explain("--expect", "allow").returncode, 0)

    def test_another_verdict_than_expected_is_no(self):
        done = self.explain("--expect", "allow", service="tcp/23")
        self.assertEqual(done.returncode, 1)
        self.assertIn("expected allow, got deny", done.stderr)

    def test_deny_without_expectation_is_success(self):
        self.assertEqual(self.explain(service="tcp/23").returncode, 0)

    def test_segment_as_source_is_usage(self):
        done = self.explain(source="web")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--from: 'web' is not an IPv4 or IPv6 address", done.stderr)

    def test_two_families_are_usage(self):
        self.assertEqual(self.explain(source="fd00::1").returncode, 2)

    def test_range_of_services_is_usage(self):
        self.assertEqual(self.explain(service="tcp/1-9").returncode, 2)

    def test_instant_without_policy_is_usage(self):
        done = run("explain", "--from", "10.1.0.5", "--to", "10.2.0.9", "--service", "tcp/1", "--at", "2027-01-01T00:00:00Z")
        self.assertEqual(done.returncode, 2)

    def test_broken_policy_is_no(self):
        place = Place(self, policy="segments: [")
        done = run("explain", "--policy", place.policy, "--from", "10.1.0.5", "--to", "10.2.0.9", "--service", "tcp/1")
        self.assertEqual(done.returncode, 1)


class PolicyTests(unittest.TestCase):
    def test_passing_tests_are_counted(self):
        done = run("test", Place(self).policy)
        self.assertEqual((done.returncode, done.stdout), (0, "1 of 1 tests passed\n"))

    def test_failure_is_told_with_its_place_and_explanation(self):
        place = Place(self, policy=POLICY + "  - {from: web, to: db, service: tcp/23, expect: allow}\n")
        done = run("test", place.policy)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"p\.yaml:10:\d+: error: test web -> db, tcp/23: expected allow, got deny")
        self.assertIn("no-telnet (tier guardrail", done.stdout)
        self.assertTrue(done.stdout.endswith("1 of 2 tests passed\n"), done.stdout)

    def test_json_holds_count_and_failures(self):
        place = Place(self, policy=POLICY + "  - {from: web, to: db, service: tcp/23, expect: allow}\n")
        answer = json.loads(run("test", "--json", place.policy).stdout)
        self.assertEqual((answer["tests"], answer["passed"], answer["failed"]), (2, 1, 1))
        self.assertEqual(answer["failures"][0]["explanation"]["rule"], "no-telnet")


class Run(unittest.TestCase):
    def test_broken_configuration_starts_nothing(self):
        done = run("run", "--config", Place(self, gateway="gateway: {}\n").gateway)
        self.assertEqual(done.returncode, 1)
        self.assertIn("nothing was started", done.stderr)

    def test_second_gateway_on_the_same_socket_is_refused_with_the_first_ones_pid(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        place = Place(self)
        path = str(place.path / "control.sock")
        with socket.socket(socket.AF_UNIX) as first:
            first.bind(path)
            first.listen()
            place.gateway.write_text(GATEWAY + f"controlplane: {{user: nobody, socket: {path}}}\n")
            done = run("run", "--config", place.gateway)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"runs already at {path} (pid {os.getpid()})", done.stderr)

    def test_gateway_without_policy_starts_nothing(self):
        place = Place(self, gateway=GATEWAY.replace("policy: policy/\n", ""))
        place.policy.rename(place.path / "elsewhere")
        done = run("run", "--config", place.gateway)
        self.assertEqual(done.returncode, 1)
        self.assertIn("names no 'policy'", done.stderr)

    def test_unknown_user_is_named_with_what_to_do(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        place = Place(self)
        place.gateway.write_text(GATEWAY + f"controlplane: {{user: no-such-user, socket: {place.path}/control.sock}}\n")
        done = run("run", "--config", place.gateway)
        self.assertEqual(done.returncode, 1)
        self.assertIn("useradd --system", done.stderr)


class Completion(unittest.TestCase):
    def complete(self, *words, directory="/"):
        """What bash offers for the last of the words, which it takes apart as its COMP_WORDBREAKS say."""
        script = f'source <({BULKHEAD} completion bash); COMP_WORDS=(bulkhead "$@"); COMP_CWORD=$#; _bulkhead; printf "%s\\n" "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, check=True, cwd=directory)
        self.assertEqual(done.stderr, "")
        return [line for line in done.stdout.splitlines() if line]

    def test_bash_completes_commands(self):
        words = self.complete("")
        self.assertLessEqual({"run", "check", "explain", "replay", "--version"}, set(words))
        self.assertNotIn("plan", words)
        self.assertEqual(self.complete("ex"), ["explain"])

    def test_bash_completes_options_of_the_command(self):
        self.assertIn("--ignore-checksums", self.complete("replay", "--"))
        self.assertEqual(self.complete("explain", "--ex"), ["--expect"])
        self.assertIn("--segment", self.complete("flows", ""), "it takes nothing else")

    def test_bash_completes_commands_within_a_command(self):
        self.assertEqual(self.complete("svid", ""), ["init", "mint", "rotate", "revoke", "show", "verify"])
        self.assertEqual(self.complete("svid", "ro"), ["rotate"])
        self.assertEqual(self.complete("svid", "mint", "--i"), ["--id"])
        self.assertIn("--out", self.complete("svid", "revoke", "--"))
        place = Place(self)
        self.assertEqual(sorted(self.complete("svid", "verify", "--svids", "", directory=place.path)), ["policy"], "a directory")
        self.assertIn("gateway.yaml", self.complete("svid", "show", "", directory=place.path))

    def test_bash_completes_the_values_of_options(self):
        self.assertEqual(self.complete("explain", "--expect", ""), ["allow", "deny", "ask"])
        self.assertEqual(self.complete("explain", "--expect", "=", "d"), ["deny"])
        self.assertEqual(self.complete("completion", "z"), ["zsh"])
        self.assertEqual(self.complete("flows", "--address", ""), [], "no file is an address")

    def test_bash_completes_files_where_a_command_takes_them(self):
        place = Place(self)
        (place.path / "a capture.pcap").touch()
        here = {"directory": place.path}
        self.assertEqual(self.complete("check", "gat", **here), ["gateway.yaml"])
        self.assertEqual(sorted(self.complete("run", "--config", "", **here)), ["a capture.pcap", "gateway.yaml", "policy"])
        self.assertEqual(self.complete("explain", "--policy", "", **here), ["policy"], "a directory")
        self.assertEqual(self.complete("replay", "--in", "left", "=", "a", **here), ["a capture.pcap"])
        self.assertIn("a capture.pcap", self.complete("replay", "--in", "left", "=", **here))

    def test_zsh_script_names_every_command(self):
        script = run("completion", "zsh").stdout
        self.assertTrue(script.startswith("#compdef bulkhead\n"))
        for command in ("run", "check", "explain", "test", "replay", "status", "flows", "drops", "segments"):
            self.assertIn(f"'{command}:", script)
        self.assertIn("_bulkhead_svid()", script)
        self.assertIn("'mint:", script)
        self.assertIn("--expect[Exit 1 when the verdict is another]:word:(allow deny ask)", script)

    def test_zsh_script_is_zsh(self):
        if not shutil.which("zsh"):
            self.skipTest("zsh isn't installed")
        done = subprocess.run(["zsh", "-f", "-n"], input=run("completion", "zsh").stdout, text=True, capture_output=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


class Replay(unittest.TestCase):
    START = 1_700_000_000_123_456_789

    def setUp(self):
        self.place = Place(self)
        self.left = self.place.path / "left.pcap"
        self.right = self.place.path / "right.pcap"
        self.asked = udp("10.1.0.5", "10.2.0.9", 40000, 53)
        self.answered = udp("10.2.0.9", "10.1.0.5", 53, 40000)
        self.denied = udp("10.1.0.5", "10.2.0.9", 40000, 99)
        write_pcap(self.left, [(self.START, self.asked), (self.START + 2000, self.denied)])
        write_pcap(self.right, [(self.START + 1000, self.answered)])

    def replay(self, *arguments, out="out"):
        done = run("replay", "--config", self.place.gateway, "--out", self.place.path / out, "--verdicts", "-", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def both(self):
        return self.replay("--in", f"left={self.left}", "--in", f"right={self.right}")

    def test_each_packet_has_its_line_with_the_promised_keys(self):
        lines = self.both()
        self.assertEqual(lines[0], {
            "packet": 1, "time_ns": self.START, "port": "left", "verdict": "forward", "out": "right", "reason": "allowed",
            "rule": "web-calls-db", "tier": "segment", "src": "web", "dst": "db", "src_source": "binding", "service": "udp/53",
            "flow": "new", "generation": 1})
        self.assertEqual([(l["verdict"], l["reason"], l["flow"]) for l in lines],
                         [("forward", "allowed", "new"), ("forward", "established", "established"), ("drop", "policy_denied", "none")])
        self.assertEqual((lines[2]["rule"], lines[2]["tier"], lines[2]["out"]), (None, "default", None))

    def test_keys_stand_in_the_promised_order(self):
        self.assertEqual(list(self.both()[0]), ["packet", "time_ns", "port", "verdict", "out", "reason", "rule", "tier", "src",
                                                "dst", "src_source", "service", "flow", "generation"])

    def test_output_captures_hold_what_passed_at_its_time(self):
        self.both()
        self.assertEqual(read_pcap(self.place.path / "out/right.pcap"), [(self.START, self.asked)])
        self.assertEqual(read_pcap(self.place.path / "out/left.pcap"), [(self.START + 1000, self.answered)])

    def test_capture_of_both_directions_gives_the_same(self):
        both = self.place.path / "both.pcap"
        write_pcap(both, [(self.START, self.asked), (self.START + 1000, self.answered), (self.START + 2000, self.denied)])
        self.assertEqual(self.replay("--in", f"left+right={both}", out="out2"), self.both())

    def test_room_for_fragments_takes_no_more_than_the_captures_can_fill(self):
        self.place.gateway.write_text(GATEWAY.replace(
            "mode: wire", "mode: wire\n  memory_mib: 64\n  fragments: {datagrams: 1048576}"))
        write_pcap(self.left, [(self.START, udp("10.1.0.5", "10.2.0.9", 40000, 53, bytes(60_000)))])
        self.assertEqual([line["reason"] for line in self.replay("--in", f"left={self.left}")], ["packet_too_big"])

    def test_same_input_gives_the_same_bytes(self):
        self.both()
        first = {p.name: p.read_bytes() for p in (self.place.path / "out").iterdir()}
        self.both()
        self.assertEqual(first, {p.name: p.read_bytes() for p in (self.place.path / "out").iterdir()})

    def test_wrong_checksum_drops_unless_ignored(self):
        broken = self.asked[:40] + bytes([self.asked[40] ^ 1]) + self.asked[41:]
        write_pcap(self.left, [(self.START, broken)])
        self.assertEqual(self.replay("--in", f"left={self.left}")[0]["reason"], "l4_checksum")
        self.assertEqual(self.replay("--in", f"left={self.left}", "--ignore-checksums")[0]["reason"], "allowed")

    def test_fragments_have_their_datagrams_verdict_and_leave_when_it_is_whole(self):
        first, second, third = fragments(udp("10.1.0.5", "10.2.0.9", 40000, 53, b"x" * 40), 16)
        lost = fragments(udp("10.1.0.5", "10.2.0.8", 40000, 53, b"x" * 40), 16)[0]
        packets = [third, first, lost, second, self.denied]
        write_pcap(self.left, [(self.START + i * 1000, packet) for i, packet in enumerate(packets)])
        lines = self.replay("--in", f"left={self.left}")
        whole = ("forward", "allowed", "web-calls-db", "udp/53", "new")
        self.assertEqual([tuple(l[key] for key in ("verdict", "reason", "rule", "service", "flow")) for l in lines[:2] + lines[3:4]], [whole] * 3)
        self.assertEqual([(l["packet"], l["verdict"]) for l in lines], [(1, "forward"), (2, "forward"), (3, "hold"), (4, "forward"), (5, "drop")])
        self.assertEqual(read_pcap(self.place.path / "out/right.pcap"), [(self.START + 3000, f) for f in (first, second, third)])
        write_pcap(self.left, [(self.START, lost), (self.START + 60 * 10**9, self.denied)])
        self.assertEqual(self.replay("--in", f"left={self.left}")[0]["reason"], "fragment_incomplete")

    def test_spoofed_source_is_told(self):
        write_pcap(self.right, [(self.START, self.asked)])
        self.assertEqual(self.replay("--in", f"right={self.right}")[0]["reason"], "spoofed_source")

    def test_deadline_counts_in_the_captures_time(self):
        policy = POLICY.replace("tcp/5432]", "tcp/5432], until: 2023-11-14T22:13:21Z")  # START is 22:13:20.12
        (self.place.policy / "p.yaml").write_text(policy.split("tests:")[0])
        again = udp("10.1.0.5", "10.2.0.9", 40000, 53, b"again")
        write_pcap(self.left, [(self.START, self.asked), (self.START + 10**9, again)])
        lines = self.replay("--in", f"left={self.left}")
        self.assertEqual([l["reason"] for l in lines], ["allowed", "grant_expired"])

    def test_gateway_without_policy_forwards_nothing(self):
        self.place.gateway.write_text(GATEWAY.replace("policy: policy/\n", ""))
        self.place.policy.rename(self.place.path / "elsewhere")
        lines = self.both()
        self.assertEqual({l["reason"] for l in lines}, {"no_policy"})
        self.assertEqual(lines[0]["generation"], 0)

    def test_devices_may_be_missing(self):
        self.place.gateway.write_text(GATEWAY.replace('device: "tap:bk-left", ', "").replace('device: "tap:bk-right", ', ""))
        self.assertEqual(self.both()[0]["verdict"], "forward")

    def test_unknown_port_is_usage(self):
        done = run("replay", "--config", self.place.gateway, "--in", f"middle={self.left}")
        self.assertEqual(done.returncode, 2)
        self.assertIn("it has left, right", done.stderr)

    def test_a_capture_that_ends_inside_a_packet_is_replayed_up_to_there_with_a_warning(self):
        self.left.write_bytes(self.left.read_bytes()[:-1])
        done = run("replay", "--config", self.place.gateway, "--verdicts", "-", "--in", f"left={self.left}")
        self.assertEqual(done.returncode, 0)
        self.assertEqual([json.loads(line)["packet"] for line in done.stdout.splitlines()], [1])
        self.assertIn(f"bulkhead replay: warning: {self.left}: the file ends inside packet 2", done.stderr)

    def test_missing_capture_is_no(self):
        done = run("replay", "--config", self.place.gateway, "--in", "left=/nonexistent.pcap")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nonexistent.pcap", done.stderr)

    def test_without_verdicts_a_table_sums_up(self):
        done = run("replay", "--config", self.place.gateway, "--in", f"left={self.left}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^drop +policy_denied +1$")
        self.assertTrue(done.stdout.endswith("2 packets\n"), done.stdout)

    def test_needs_no_root(self):
        if os.geteuid() != 0:
            self.skipTest("this run needs no root already")
        os.chmod(self.place.path, 0o755)
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", BULKHEAD, "replay",
                               "--config", self.place.gateway, "--in", f"left={self.left}", "--json"],
                              capture_output=True, text=True, timeout=60, env={"PATH": os.environ["PATH"]})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(done.stdout.splitlines()), 2)


ROUTER = """
gateway: {name: edge-1}
dataplane:
  mode: route
  ports:
    - {name: left, link: attached, sources: [10.1.0.0/24], addresses: [10.1.0.254/24]}
    - {name: right, link: attached, sources: [10.2.0.0/24], addresses: [10.2.0.254/24]}
policy: policy/
"""


def arp_reply(mac, address, to_mac, to_address):
    header = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2)
    return to_mac + mac + b"\x08\x06" + header + mac + socket.inet_aton(address) + to_mac + socket.inet_aton(to_address)


class ReplayOfHeldPackets(unittest.TestCase):
    """In route mode a packet is held while its next hop is looked for."""

    START = Replay.START
    LEFT_MAC, RIGHT_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")  # what ports without `mac:` get
    DB_MAC = bytes.fromhex("020000000099")

    def setUp(self):
        self.place = Place(self, gateway=ROUTER)
        self.asked = self.LEFT_MAC + udp("10.1.0.5", "10.2.0.9", 40000, 53)[6:]

    def replay(self, left, right=()):
        arguments = ["replay", "--config", self.place.gateway, "--out", self.place.path / "out", "--json"]
        for name, frames in (("left", left), ("right", right)):
            write_pcap(self.place.path / f"{name}.pcap", frames)
            arguments += ["--in", f"{name}={self.place.path / name}.pcap"]
        done = run(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_next_hop_is_asked_for_and_the_packet_is_held_to_the_end(self):
        [line] = self.replay([(self.START, self.asked)])
        self.assertEqual((line["verdict"], line["out"]), ("hold", None))
        [(time, request)] = read_pcap(self.place.path / "out/right.pcap")
        self.assertEqual((time, request[12:14]), (self.START, b"\x08\x06"))

    def test_answer_lets_it_go_and_lines_stay_in_order(self):
        answer = arp_reply(self.DB_MAC, "10.2.0.9", self.RIGHT_MAC, "10.2.0.254")
        lines = self.replay([(self.START, self.asked)], [(self.START + 5_000_000, answer)])
        self.assertEqual([(l["packet"], l["verdict"], l["out"]) for l in lines], [(1, "forward", "right"), (2, "consume", None)])
        time, frame = read_pcap(self.place.path / "out/right.pcap")[-1]
        self.assertEqual((time, frame[:12]), (self.START + 5_000_000, self.DB_MAC + self.RIGHT_MAC))

    def test_answer_of_the_gateways_own_waits_for_its_neighbour_too(self):
        """Nobody asks for its verdict."""
        asked = bytearray(self.LEFT_MAC + udp("10.1.0.5", "10.2.0.9", 40000, 53, b"x" * 80)[6:])
        asked[22] = 1  # TTL
        asked[24:26] = struct.pack("!H", checksum(asked[14:24] + bytes(2) + asked[26:34]))
        lines = self.replay([(self.START, bytes(asked)), (self.START + 30 * 10**9, self.asked)])
        self.assertEqual((lines[0]["verdict"], lines[0]["reason"]), ("drop", "ip_ttl_expired"))

    def test_silence_drops_it(self):
        lines = self.replay([(self.START, self.asked), (self.START + 30 * 10**9, self.asked)])
        self.assertEqual((lines[0]["verdict"], lines[0]["reason"]), ("drop", "neighbour_unresolved"))


if __name__ == "__main__":
    result = unittest.main(argv=[sys.argv[0], *sys.argv[1:]], exit=False).result
    failed, skipped = len(result.failures) + len(result.errors), len(result.skipped)
    print(f"{result.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)
