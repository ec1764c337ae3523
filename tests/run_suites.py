"""Builds and runs the test suites, and counts test cases over all of them.

Each stage builds its kind of build, asks meson which tests belong to its suites, and runs them. End-to-end tests wait most
of their time: while they run, what later stages need is built with what the CPUs have left over. Cases are counted from
GoogleTest's XML, from a closing line `N passed, N failed, N skipped`, or else one for the executable. A build that fails,
a suite without a test and an executable that ends badly count as failed.
"""
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLOSING_LINE = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.MULTILINE)
SKIP_EXIT_CODE = 77
SHOWN_LINES = 150
PASSING_LINES = re.compile(r"^(\[ RUN      \] (.*)\n\[       OK \] \2.*\n|ok   .*\n)", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Stage:
    name: str
    build: str           # kind, as scripts/build knows it
    suites: tuple
    slower: float = 1.0  # times the timeout that a test has
    waits: bool = False  # its tests leave most of the CPUs' time

    @property
    def builds_everything(self):
        return self.build == "release"


STAGES = [
    Stage("unit", "release", ("unit", "operator", "command")),
    Stage("property", "release", ("property",)),
    Stage("scenario", "release", ("scenario",)),
    Stage("publication", "release", ("publication",)),
    Stage("netns", "release", ("netns",), waits=True),
    Stage("sanitize", "asan", ("unit", "property", "scenario", "publication"), slower=6.0),
    Stage("sanitize", "tsan", ("publication",), slower=10.0),
    Stage("fuzz", "asan", ("fuzz",)),
]
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=0:exitcode=66:second_deadlock_stack=1",
}


@dataclasses.dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other):
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


@dataclasses.dataclass
class Result:
    counts: Counts
    seconds: float
    complaint: str = ""  # what to show a person; empty where all is well
    skips: tuple = ()    # why cases were skipped


def say(line=""):
    print(line, flush=True)


def last_lines(text):
    """The end of an output, without what is said of cases that passed."""
    lines = PASSING_LINES.sub("", text).rstrip().splitlines()
    cut = [f"... ({len(lines) - SHOWN_LINES} lines before)"] if len(lines) > SHOWN_LINES else []
    return "\n".join("    " + line for line in cut + lines[-SHOWN_LINES:])


def introspect(build_dir, what):
    answer = subprocess.run(["meson", "introspect", build_dir, what], check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)


def tests_of(stage):
    """The tests that meson knows for the stage's suites, in order of suite."""
    tests = introspect(ROOT / "build" / stage.build, "--tests")
    return [t for suite in stage.suites for t in tests if any(s.split(":")[-1] == suite for s in t["suite"])]


def targets_of(stage):
    """What ninja has to build for the stage's tests and what they depend on."""
    build_dir = ROOT / "build" / stage.build
    ids = {i for test in tests_of(stage) for i in test["depends"]}
    files = [f for t in introspect(build_dir, "--targets") if t["id"] in ids for f in t["filename"]]
    return sorted(os.path.relpath(f, build_dir) for f in files)


def take_what_is_left():
    """Makes this process, and what it starts, run only when nothing else wants the CPU."""
    os.setsid()  # the kernel shares the CPUs out among sessions first
    try:
        pathlib.Path("/proc/self/autogroup").write_text("19")
    except OSError:
        pass  # a kernel without that
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def build(stage, run=subprocess.run):
    """Builds what the stage needs; returns a complaint, empty if it worked."""
    command = [ROOT / "scripts" / "build", stage.build]
    steps = [command] if stage.builds_everything else [command + ["build.ninja"], None]
    for step in steps:
        if step is None:
            targets = targets_of(stage)
            if not targets:
                return ""
            step = command + targets
        done = run(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
        if done.returncode != 0:
            return f"build {stage.build} failed\n{last_lines(done.stdout)}"
    return ""


class BuildAhead:
    """Builds stages in the background, one after the other. What goes wrong there is told when the stage's turn comes, since
    it is built again then."""

    def __init__(self, stages):
        self.child, self.ended = None, False
        self.thread = threading.Thread(target=lambda: [build(stage, self._run) for stage in stages])
        self.thread.start()

    def wait(self):
        self.thread.join()

    def stop(self):
        self.ended = True
        while self.thread.is_alive():
            if child := self.child:  # there may be one more: it began as this was called
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGTERM)
            self.thread.join(0.2)

    def _run(self, command, **options):
        if self.ended:
            return subprocess.CompletedProcess(command, 1, "")
        self.child = subprocess.Popen(command, preexec_fn=take_what_is_left, **options)
        output, _ = self.child.communicate()
        code, self.child = self.child.returncode, None
        return subprocess.CompletedProcess(command, code, output)


def cases_in(xml_file):
    """Counts of a GoogleTest XML file, and the reasons of what was skipped; None where there is no such file."""
    try:
        root = xml.etree.ElementTree.parse(xml_file).getroot()
    except (FileNotFoundError, xml.etree.ElementTree.ParseError):
        return None
    counts, skips = Counts(), []
    for case in root.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            counts.failed += 1
        elif case.get("status") == "notrun":
            continue
        elif case.find("skipped") is not None or case.get("result") == "skipped":
            counts.skipped += 1
            why = case.find("skipped")
            text = (why.get("message") or "") if why is not None else ""
            skips.append(f"{case.get('classname')}.{case.get('name')}: {text.strip().splitlines()[-1] if text.strip() else ''}")
        else:
            counts.passed += 1
    return counts, tuple(skips)


def run_test(stage, test):
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bulkhead-test-") as scratch:
        command, xml_file = list(test["cmd"]), None
        if test["protocol"] == "gtest":
            xml_file = os.path.join(scratch, "cases.xml")
            command.append(f"--gtest_output=xml:{xml_file}")
        environment = {**os.environ, **SANITIZER_OPTIONS, **test["env"], "GTEST_COLOR": "no"}
        timeout = test["timeout"] * stage.slower if test["timeout"] > 0 else None
        try:
            done = subprocess.run(command, cwd=test["workdir"] or ROOT / "build" / stage.build, env=environment, timeout=timeout,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            output, code = done.stdout.decode(errors="replace"), done.returncode
        except subprocess.TimeoutExpired as expired:
            output, code = (expired.stdout or b"").decode(errors="replace") + "\nran out of time", -1
        counted = cases_in(xml_file) if xml_file else None
    counts, skips = counted or (Counts(), ())
    closing = CLOSING_LINE.findall(output)
    if counted is None and test["protocol"] != "gtest":
        if closing:
            counts = Counts(*(int(n or 0) for n in closing[-1]))
        elif code == SKIP_EXIT_CODE:
            counts = Counts(skipped=1)
        elif code == 0:
            counts = Counts(passed=1)
    if code not in (0, SKIP_EXIT_CODE) and counts.failed == 0:
        counts.failed = 1
    if counts == Counts():
        counts, output = Counts(failed=1), output + "\nran no test"
    complaint = last_lines(output) if counts.failed else ""
    return Result(counts, time.monotonic() - started, complaint, skips)


def report(name, result):
    mark = "FAIL" if result.counts.failed else "ok  "
    say(f"  {mark} {name:<34} {result.counts!s:<40} {result.seconds:6.1f} s")
    for why in result.skips:
        say(f"         skipped {why}")
    if result.complaint:
        say(result.complaint)


def run_stage(stage):
    say(f"== {stage.name} ({stage.build})")
    started = time.monotonic()
    complaint = build(stage)
    say(f"  built in {time.monotonic() - started:.0f} s")
    if complaint:
        report("build", Result(Counts(failed=1), 0.0, complaint))
        return Counts(failed=1)
    tests = tests_of(stage)
    if not tests:
        report("no test in this suite", Result(Counts(failed=1), 0.0))
        return Counts(failed=1)
    total = Counts()
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        side_by_side = [(t, pool.submit(run_test, stage, t)) for t in tests if t["is_parallel"]]
        for test, future in side_by_side:
            report(test["name"], future.result())
            total += future.result().counts
    for test in tests:
        if not test["is_parallel"]:
            result = run_test(stage, test)
            report(test["name"], result)
            total += result.counts
    return total


def run_beside_builds(stage, later):
    """Runs a stage, and builds later ones with the time that it leaves."""
    ahead = BuildAhead(later)
    try:
        counts = run_stage(stage)
        ahead.wait()
        return counts
    finally:
        ahead.stop()


def run_lint():
    say("== lint")
    started = time.monotonic()
    done = subprocess.run([ROOT / "scripts" / "lint"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    closing = CLOSING_LINE.findall(done.stdout)
    counts = Counts(*(int(n or 0) for n in closing[-1])) if closing else Counts()
    if done.returncode != 0 and counts.failed == 0:
        counts.failed = 1
    report("lint", Result(counts, time.monotonic() - started, last_lines(done.stdout) if counts.failed else ""))
    return counts


def main(wanted):
    known = ["lint"] + list(dict.fromkeys(s.name for s in STAGES))
    unknown = [name for name in wanted if name not in known]
    if unknown:
        say(f"no such stage: {', '.join(unknown)}; there are {', '.join(known)}")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: what runs is ended
    total, started = Counts(), time.monotonic()
    if not wanted or "lint" in wanted:
        total += run_lint()
    stages = [stage for stage in STAGES if not wanted or stage.name in wanted]
    for number, stage in enumerate(stages):
        total += run_beside_builds(stage, stages[number + 1:]) if stage.waits else run_stage(stage)
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    say(f"\nin {minutes} min {seconds} s")
    say(str(total))
    return 0 if total.failed == 0 and total.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
