"""What a gateway's log says of each policy that it accepted: where the time went."""

import re

_ACCEPTED = re.compile(
    r"policy accepted: (?P<segments>\d+) segments, (?P<rules>\d+) rules, (?P<endpoints>\d+) endpoints, (?P<enforced_mib>[\d.]+) MiB in all; "
    r"generation (?P<generation>\d+) enforced in (?P<total_ms>[\d.]+) ms \(read in (?P<read_ms>[\d.]+) ms, compiled in (?P<compile_ms>[\d.]+) ms, "
    r"copied and checked in (?P<check_ms>[\d.]+) ms, by every worker (?P<enforce_ms>[\d.]+) ms after it was sent\)")


def accepted(line: str) -> dict:
    """The figures of such a line, in ms; {} for any other line.

    total_ms is from the change's first sign to every worker's agreement, and what these make up: wait_ms (for the change to be whole, and
    handing over), read_ms, compile_ms, check_ms (the dataplane's copy and checks), workers_ms (until every worker enforced it).
    """
    found = _ACCEPTED.search(line)
    if found is None:
        return {}
    figures = {name: float(value) if "." in value else int(value) for name, value in found.groupdict().items()}
    enforce_ms = figures.pop("enforce_ms")
    figures["workers_ms"] = enforce_ms - figures["check_ms"]
    figures["wait_ms"] = figures["total_ms"] - figures["read_ms"] - figures["compile_ms"] - enforce_ms
    return figures
