"""The demo itself: scripts/demo starts it, with everything built and as root. What it makes has names of its own
(namespaces bulkhead-demo-*, /run/bulkhead-demo), so that what a killed demo left is found and removed by the next.
"""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import sys
import time

from demo_stage import BULKHEAD, PLACE, PREFIX, SCREEN, Stage
from demo_mtls import Mtls
from demo_segments import Segments
import net

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGHUP: leave by the way that cleans up."""


def remove_leftovers():
    """What an earlier demo left that was killed."""
    for leftover in pathlib.Path("/run/netns").glob(PREFIX + "*"):
        net.remove_namespace(leftover.name)
    shutil.rmtree(PLACE, ignore_errors=True)


def show(stage, then_end):
    SCREEN.title("Three workloads behind one gateway")
    SCREEN.say("  web  10.10.1.10  nginx          \\\n"
               "  app  10.10.2.10  Python http    -- bulkhead (af_xdp, route mode, default deny)\n"
               "  db   10.10.3.10  redis          /")
    segments = Segments(stage)
    surprises = segments.show()
    SCREEN.title("Two sites, and a network between them that nobody here controls")
    SCREEN.say("  shop     10.20.1.10  redis-cli, curl         -- in clear -- bulkhead a ===\\\n"
               "  stock    10.20.2.10  redis, Python http      -- in clear -- bulkhead b ===== TLS 1.3 that proves both ends, or nothing\n"
               "  partner  10.20.3.10  curl, redis-cli, nginx  === speaks mTLS itself ======/")
    mtls = Mtls(stage)
    surprises += mtls.show()
    SCREEN.say("\n" + ("Everything as expected." if not surprises else f"{surprises} not as expected."))
    if not then_end:
        hints(segments, mtls)
        while True:
            stage.check_gateways()
            time.sleep(0.2)
    return 1 if surprises else 0


def hints(*scenes):
    SCREEN.title("It keeps running. From another terminal (Ctrl-C here ends it):")
    for scene in scenes:
        for line in scene.hints():
            SCREEN.say("  " + line)
    SCREEN.say(f"  (bulkhead is {BULKHEAD})")


def only_demo():
    """What this demo holds as long as it runs, clean-up included; None where another one does."""
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind("\0bulkhead-demo")  # abstract: gone with the last process that has it
    except OSError:
        return None
    return held


def run(arguments):
    """The exit code. Whatever happens, a kill -9 included, what the demo made is gone afterwards."""
    restore_hugepages = net.restorer_of_hugepages()

    def clean_up():
        remove_leftovers()
        restore_hugepages()

    with net.cleaned_up(clean_up), contextlib.ExitStack() as stack:
        try:
            return show(Stage(stack), then_end="--exit" in arguments)
        finally:
            for number in ENDING_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            with contextlib.suppress(OSError):  # the reader may be gone
                SCREEN.say("\nCleaning up.")


def main(arguments):
    os.umask(0o022)  # what the demo writes is read by the unprivileged control plane
    held = only_demo()
    if held is None:
        print("scripts/demo: a demo is running already; end it with Ctrl-C in its terminal first", file=sys.stderr)
        return 1

    def leave(number, _):
        raise Interrupted(number)

    for number in ENDING_SIGNALS:
        signal.signal(number, leave)
    try:
        remove_leftovers()
        return run(arguments)
    except Interrupted as by:
        return 0 if by.args[0] == signal.SIGINT and "--exit" not in arguments else 128 + by.args[0]
    except BrokenPipeError:
        return 1
    except RuntimeError as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
