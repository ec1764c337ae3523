"""Each row of the README's tables of hostile input has a test that exists and drops for the reason that the row gives, beside one that passes.
Where no scenario is among them, the tests' sources name the reason.

Usage: rows_test.py [README]. The last line counts the rows.
"""
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROWS = [f"{letter}{n}" for letter, last in (("A", 16), ("F", 12), ("H", 6), ("T", 13), ("I", 8), ("U", 2), ("L", 11), ("M", 16)) for n in range(1, last + 1)]
PASSES = re.compile(r"=> (forward|consume)|^handshake ", re.MULTILINE)


def table_rows(text):
    """(row, reasons, what it is shown by) of each line of a table that begins with a row's id."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"[A-Z]\d+", cells[0]):
            yield cells[0], re.findall(r"`([a-z0-9_]+)`", cells[2]), re.findall(r"`([^`]+)`", cells[3])


def wrong_with_reference(reference):
    """What is wrong with `dir/case`, `some_test.cc Name` or `test_module.Class[.test]`; empty where it names a test that is there."""
    source, _, name = reference.partition(" ")
    if name:
        found = [path for path in (HERE.parent).rglob(source) if name in path.read_text()]
        return "" if found else f"no {source} under tests/ has {name}"
    if reference.startswith("test_"):
        module, *names = reference.split(".")
        path = HERE.parent / "netns" / f"{module}.py"
        missing = [n for n in names if not path.exists() or not re.search(rf"^\s*(class|def) {n}\b", path.read_text(), re.MULTILINE)]
        return f"{path.name} has no {', '.join(missing)}" if missing or not names else ""
    return "" if (HERE / "cases" / f"{reference}.scenario").exists() else f"there is no case {reference}"


def told_by(reference):
    """What the source says that has the test."""
    source = reference.split(" ")[0]
    name = f"{source.split('.')[0]}.py" if source.startswith("test_") else source
    return "".join(path.read_text() for path in HERE.parent.rglob(name))


def wrong_with_row(reasons, references):
    wrong = [w for w in map(wrong_with_reference, references) if w] or ([] if references else ["nothing shows it"])
    if wrong:
        return wrong
    cases = [(HERE / "cases" / f"{r}.scenario").read_text() for r in references if "/" in r]
    if not cases:
        told = "".join(map(told_by, references))
        return [f"none of its tests names {reason}" for reason in reasons if not re.search(rf"\b{reason}\b", told)]
    wrong = [f"none of its cases drops as {reason}" for reason in reasons if not any(re.search(rf"=> (drop|reject) {reason}\b", case) for case in cases)]
    if not any(PASSES.search(case) for case in cases):
        wrong.append("nothing passes beside it")
    return wrong


def complaints(text):
    """{row: what is wrong with it}"""
    seen, wrong = [], {}
    for row, reasons, references in table_rows(text):
        if row in seen:
            wrong.setdefault(row, []).append("it is there twice")
        seen.append(row)
        wrong.setdefault(row, []).extend(wrong_with_row(reasons, references))
    for row in set(ROWS) - set(seen):
        wrong[row] = ["it is missing"]
    for row in set(seen) - set(ROWS):
        wrong[row].append("there is no such row")
    return {row: what for row, what in wrong.items() if what}


def finds_what_is_wrong():
    """The check itself, on tables that are wrong in one thing each."""
    good = "| A1 | x | `ip_options` | `frame/ipv4` |"
    return not any(complaints(good).get("A1", [])) and all(complaints(bad).get("A1") for bad in (
        good.replace("frame/ipv4", "frame/ipv5"), good.replace("`frame/ipv4`", ""), good.replace("ip_options", "contained"), good + "\n" + good, "",
        good.replace("frame/ipv4", "test_traffic.Traffic"), good.replace("frame/ipv4", "tcp_track_test.cc NoSuchTest"),
        good.replace("frame/ipv4", "test_pmtu.NoSuchClass")))


def main():
    wrong = complaints(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "README.md").read_text())
    if not finds_what_is_wrong():
        wrong["the check"] = ["it doesn't find what is wrong"]
    for row, what in sorted(wrong.items()):
        print(f"FAIL {row}: {'; '.join(what)}")
    print(f"{len(ROWS) + 1 - len(wrong)} passed, {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
