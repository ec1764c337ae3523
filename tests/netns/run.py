#!/usr/bin/python3 -B
"""Runs the end-to-end tests: tests/netns/run.py [PATTERN...] (fnmatch on module.Class.test; default: all).

Needs root. BULKHEAD_BUILD names the build directory (default: build/release). The last line is
`N passed, N failed, N skipped`.
"""
import fnmatch
import os
import pathlib
import signal
import sys
import time
import unittest

import net

SECONDS_A_TEST = 150


def flat(suite):
    for item in suite:
        yield from flat(item) if isinstance(item, unittest.TestSuite) else [item]


class Report(unittest.TestResult):
    """One line a test while they run, what went wrong below it."""

    def __init__(self):
        super().__init__()
        self.passed = 0

    def startTest(self, test):
        super().startTest(test)
        self._started = time.monotonic()
        signal.alarm(SECONDS_A_TEST)

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)

    def _line(self, mark, test, text=""):
        seconds = time.monotonic() - getattr(self, "_started", time.monotonic())
        print(f"{mark:<4} {test.id():<78} {seconds:6.1f} s", flush=True)
        if text:
            print("\n".join("    " + line for line in text.rstrip().splitlines()), flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        self._line("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._line("FAIL", test, self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self._line("FAIL", test, self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            recorded = self.failures if issubclass(err[0], test.failureException) else self.errors
            self._line("FAIL", subtest, recorded[-1][1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line("skip", test, reason)


def main(patterns):
    if os.geteuid() != 0:
        print("end-to-end tests need root: sudo tests/netns/run.py\n0 passed, 0 failed, 1 skipped")
        return 77
    os.umask(0o022)  # what tests write is read by the unprivileged control plane
    here = pathlib.Path(__file__).resolve().parent
    tests = list(flat(unittest.defaultTestLoader.discover(here, "test_*.py", here)))
    if patterns:
        tests = [t for t in tests if any(fnmatch.fnmatch(t.id(), f"*{p}*") for p in patterns)]

    def ran_out_of_time(*_):
        raise TimeoutError(f"the test took more than {SECONDS_A_TEST} s")

    def ended(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, ran_out_of_time)
    signal.signal(signal.SIGTERM, ended)
    net.remove_leftovers()
    report, restore_hugepages, own_pid = Report(), net.restorer_of_hugepages(), os.getpid()

    def clean_up():
        net.remove_what_is_left_of(own_pid)
        restore_hugepages()

    with net.cleaned_up(clean_up):
        unittest.TestSuite(tests).run(report)
    failed = len(report.failures) + len(report.errors)
    print(f"{report.passed} passed, {failed} failed, {len(report.skipped)} skipped")
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
