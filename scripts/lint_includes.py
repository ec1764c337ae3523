"""Checks that includes point only the way that ARCHITECTURE.md says, and that libraries stay behind their owners.

    base <- svid <- wire <- policy <- contract <- config <- {dataplane/*, controlplane/*} <- cli

Prints FILE:LINE: and what is wrong; exits 1 if anything is.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAYERS = ["base", "svid", "wire", "policy", "contract", "config", "planes", "cli"]
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
# Who alone may include a library: pattern of the header, the directory.
OWNERS = [
    (re.compile(r"rte_"), "dataplane/fastpath"),
    (re.compile(r"(bpf/(?!bpf_helpers|bpf_endian)|xdp/)"), "dataplane/guard"),
    (re.compile(r"yaml-cpp/"), "config"),
]
# The dataplane parses nothing but packets and its own contract; of its processes the relay alone speaks TLS, the fetcher alone gRPC.
NOT_IN_DATAPLANE = re.compile(r"(yaml-cpp|nlohmann|google/protobuf|httplib|curl)")
NOT_BUT_IN_FETCHER = re.compile(r"grpc")
NOT_IN_PACKET_PATH = re.compile(r"(openssl/|svid/(?!spiffe_id))")


def layer_of(path):
    """The layer and the plane ("dataplane", "controlplane", "") of a path as includes write it; None outside of them."""
    parts = path.split("/")
    if parts[0] == "src":
        parts = parts[1:]
    if parts[0] in ("dataplane", "controlplane"):
        return "planes", parts[0]
    if parts[0] in LAYERS and len(parts) > 1:
        return parts[0], ""
    return None


def complaints_of(file):
    """What is wrong with each include of a file of the product."""
    where = file.relative_to(ROOT).as_posix()
    own = layer_of(where)
    for number, line in enumerate(file.read_text().splitlines(), 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        header = found[2]
        target = layer_of(header) if found[1] == '"' else None
        if target and LAYERS.index(target[0]) > LAYERS.index(own[0]):
            yield f"{where}:{number}: {own[0]} must not include {header}: {target[0]} stands above it"
        if target and target[1] and own[1] and target[1] != own[1]:
            yield f"{where}:{number}: {own[1]} must not include {header}: the planes share only the contract"
        for pattern, owner in OWNERS:
            if pattern.match(header) and not where.startswith(owner + "/"):
                yield f"{where}:{number}: only {owner} includes {header}"
        if own[1] == "dataplane" and NOT_IN_DATAPLANE.match(header):
            yield f"{where}:{number}: the dataplane must not include {header}"
        if own[1] == "dataplane" and not where.startswith("dataplane/fetcher/") and NOT_BUT_IN_FETCHER.match(header):
            yield f"{where}:{number}: of the dataplane only the fetcher includes {header}"
        if own[1] == "dataplane" and not where.startswith("dataplane/relay/") and NOT_IN_PACKET_PATH.match(header):
            yield f"{where}:{number}: of the dataplane only the relay includes {header}"


def main():
    files = [f for top in ("src", "config", "dataplane", "controlplane") for f in sorted((ROOT / top).rglob("*"))
             if f.suffix in (".cc", ".h", ".c")]
    if not files:
        print("found no source file: is this the project's root?")
        return 1
    complaints = [c for f in files for c in complaints_of(f)]
    print("\n".join(complaints))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
