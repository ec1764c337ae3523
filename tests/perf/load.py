"""Time and memory of a large policy: by default 1,000,000 endpoints in 10,000 segments, and 100,000 rules.

Two figures: `bulkhead check` on it (reading, validating, compiling), and a gateway that starts with it, from its start until every worker
enforces it. Memory is each process's peak (VmHWM). Needs root, as every gateway does; its ports are `null`, so no packet moves.
"""

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time


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


def children(pid: int) -> dict:
    found = {}
    with open(f"/proc/{pid}/task/{pid}/children") as listing:
        for child in listing.read().split():
            with open(f"/proc/{child}/comm") as comm:
                found[comm.read().strip()] = int(child)
    return found


def start(build: str, directory: str, memory: int) -> dict:
    socket = os.path.join(directory, "run", "control.sock")
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
controlplane: {{user: nobody, socket: {socket}, metrics: "off", state: {directory}/state}}
""")
    bulkhead = os.path.join(build, "src/cli/bulkhead")
    begin = time.monotonic()
    with open(os.path.join(directory, "log"), "w+") as log:
        gateway = subprocess.Popen([bulkhead, "run", "--config", config], stdout=log, stderr=log)
        try:
            while True:
                if time.monotonic() - begin > 120 or gateway.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(log.read()[-3000:])
                asked = subprocess.run([bulkhead, "status", "--socket", socket, "--json"], capture_output=True, text=True)
                status = json.loads(asked.stdout) if asked.returncode == 0 else {}
                if int(status.get("generation", 0)) > 0:
                    break
                time.sleep(0.05)
            took = time.monotonic() - begin
            pids = children(gateway.pid)
            result = {"seconds": took, "enforcement_seconds": status["last_enforcement_seconds"], "endpoints": int(status["endpoints"]),
                      "rules": int(status["rules"])}
            for name, pid in pids.items():
                result[name.replace("bulkhead-", "")[:12] + "_peak_mib"] = peak_mib(pid)
            return result
        finally:
            gateway.send_signal(signal.SIGTERM)
            gateway.wait(timeout=30)


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
    print(f"check: {checked['seconds']:.2f} s, peak {checked['peak_mib']:.0f} MiB")
    print(f"start to enforced: {started['seconds']:.2f} s, of which publication {started['enforcement_seconds']:.3f} s; "
          f"{started['endpoints']} endpoints, {started['rules']} rules")
    print("; ".join(f"{k.removesuffix('_peak_mib')} peak {v:.0f} MiB" for k, v in started.items() if k.endswith("_peak_mib")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
