"""Time and memory of a large policy: by default 1,000,000 endpoints in 10,000 segments, and 100,000 rules.

Three figures: `bulkhead check` on it (reading, validating, compiling); a gateway that starts with it, from its start until every worker enforces
it, and where that time goes; and the same for one rule more, and one endpoint more. Memory is each process's peak (VmHWM), and what is enforced: the image and the table of
endpoints. Needs root, as every gateway does; its ports are `null`, so no packet moves.
"""

import argparse
import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(__file__))
import enforcement_log  # noqa: E402

PATIENCE_SECONDS = 120
STEPS = (("read_ms", "read, parse, validate"), ("compile_ms", "compile"), ("wait_ms", "hand over"),
         ("check_ms", "dataplane: copy and check"), ("workers_ms", "every worker enforces it"))


def write_policy(directory: str, endpoints: int, segments: int, rules: int) -> None:
    os.makedirs(directory)
    per_segment = endpoints // segments
    with open(os.path.join(directory, "policy.yaml"), "w") as out:
        out.write("segments:\n")
        for s in range(segments):
            out.write(f"  s{s}: {{tag: {2 + s}, members_file: members/s{s}.csv}}\n")
    with open(os.path.join(directory, "rules.yaml"), "w") as out:
        out.write("policies:\n")
        for r in range(rules):
            out.write(f"  - {{name: r{r}, from: s{r % segments}, to: s{(r * 7919 + 1) % segments}, allow: [tcp/{1 + r % 60000}]}}\n")
    os.makedirs(os.path.join(directory, "members"))
    number = 0
    for s in range(segments):
        with open(os.path.join(directory, "members", f"s{s}.csv"), "w") as out:
            out.write("prefix,workload\n")
            for _ in range(per_segment):
                out.write(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255},w{number}\n")
                number += 1


def check(build: str, policy: str) -> dict:
    begin = time.monotonic()
    done = subprocess.run([os.path.join(build, "src/cli/bulkhead"), "check", policy], capture_output=True, text=True)
    took = time.monotonic() - begin
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    return {"seconds": took, "peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024}


def peak_mib(pid: int) -> float:
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1)) / 1024


class Gateway:
    """A gateway with the policy in `directory`. A context manager."""

    def __init__(self, build: str, directory: str, memory: int):
        config = os.path.join(directory, "gateway.yaml")
        with open(config, "w") as out:
            out.write(f"""gateway: {{name: load}}
dataplane:
  cores: [1]
  memory_mib: {memory}
  max_flows: 65536
  mode: wire
  file_prefix: load-{os.getpid()}
  ports: [{{name: left, device: "null"}}, {{name: right, device: "null"}}]
  wires: [[left, right]]
policy: policy/
controlplane: {{user: nobody, socket: {directory}/run/control.sock, metrics: "off", state: {directory}/state}}
""")
        self._log = open(os.path.join(directory, "log"), "w+")
        self._seen = []
        self._process = subprocess.Popen([os.path.join(build, "src/cli/bulkhead"), "run", "--config", config],
                                         stdout=self._log, stderr=self._log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=30)
        self._log.close()

    def wait_accepted(self) -> dict:
        """The figures of the next policy that is enforced."""
        end = time.monotonic() + PATIENCE_SECONDS
        reader = open(self._log.name)
        with contextlib.closing(reader):
            while time.monotonic() < end and self._process.poll() is None:
                reader.seek(0)
                found = [f for f in map(enforcement_log.accepted, reader) if f]
                if len(found) > len(self._seen):
                    self._seen = found
                    return found[-1]
                time.sleep(0.01)
            reader.seek(0)
            raise RuntimeError(reader.read()[-3000:])

    def peaks(self) -> dict:
        """Each process's peak of memory in MiB, by the name of its program."""
        found = {}
        with open(f"/proc/{self._process.pid}/task/{self._process.pid}/children") as children:
            for child in map(int, children.read().split()):
                found[os.path.basename(os.readlink(f"/proc/{child}/exe"))] = peak_mib(child)
        return found


def put(path: str, text: str) -> None:
    """Puts a file in place in one step."""
    fresh = os.path.join(os.path.dirname(path), ".fresh")
    with open(fresh, "w") as out:
        out.write(text)
    os.rename(fresh, path)


def start(build: str, directory: str, memory: int) -> dict:
    begin = time.monotonic()
    with Gateway(build, directory, memory) as gateway:
        figures = gateway.wait_accepted()
        result = {"seconds": time.monotonic() - begin, "policy": figures, "peak_mib": gateway.peaks()}
        policy = os.path.join(directory, "policy")
        put(os.path.join(policy, "one-more.yaml"), "policies: [{name: one-more, from: s0, to: s1, allow: [tcp/61000]}]\n")
        result["one_rule_more"] = {"policy": gateway.wait_accepted(), "peak_mib": gateway.peaks()}
        members = os.path.join(policy, "members", "s0.csv")
        for name in ("first_endpoint_more", "one_endpoint_more"):  # at the first change the dataplane makes its second table
            with open(members) as before:
                put(members, before.read() + f"10.255.255.{len(result)},{name}\n")
            result[name] = {"policy": gateway.wait_accepted(), "peak_mib": gateway.peaks()}
        return result


def print_start(title: str, seconds: float, result: dict) -> None:
    policy = result["policy"]
    peaks = ", ".join(f"{program.removeprefix('bulkhead-')} {mib:.0f} MiB" for program, mib in result["peak_mib"].items())
    print(f"{title:<42} {seconds:7.3f} s   peaks so far: {peaks}")
    before = seconds - policy["total_ms"] / 1e3
    if before > 0:
        print(f"  {'the processes start':<40} {before:7.3f} s")
    for key, name in STEPS:
        print(f"  {name:<40} {policy[key] / 1e3:7.3f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--endpoints", type=int, default=1_000_000)
    parser.add_argument("--segments", type=int, default=10_000)
    parser.add_argument("--rules", type=int, default=100_000)
    parser.add_argument("--memory", type=int, default=1024, help="memory_mib")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bulkhead-load-") as directory:
        os.chmod(directory, 0o755)
        write_policy(os.path.join(directory, "policy"), arguments.endpoints, arguments.segments, arguments.rules)
        checked = check(arguments.build, os.path.join(directory, "policy"))
        started = start(arguments.build, directory, arguments.memory)
    if arguments.json:
        print(json.dumps({"check": checked, "start": started}))
        return 0
    policy = started["policy"]
    print(f"{policy['endpoints']:,} endpoints in {policy['segments']:,} segments, each with a members_file; {policy['rules']:,} rules")
    print(f"{'bulkhead check':<42} {checked['seconds']:7.3f} s   peak {checked['peak_mib']:.0f} MiB")
    print_start("a gateway's start until it is enforced", started["seconds"], started)
    for key in ("one_rule_more", "first_endpoint_more", "one_endpoint_more"):
        print_start(f"{key.replace('_', ' ')}, until it is enforced", started[key]["policy"]["total_ms"] / 1e3, started[key])
    print(f"enforced: image and endpoints take {policy['enforced_mib']:.1f} MiB, "
          f"{policy['enforced_mib'] * (1 << 20) / max(1, policy['endpoints']):.0f} bytes an endpoint")
    return 0


if __name__ == "__main__":
    sys.exit(main())
