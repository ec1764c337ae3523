"""src/contract/relay_*.h as tests speak it: in the place of the dataplane and of the control plane."""
import array
import dataclasses
import fcntl
import ipaddress
import os
import pathlib
import re
import select
import socket
import struct
import threading
import time

_SOURCE = pathlib.Path(__file__).resolve().parents[2] / "src" / "contract"
_CONTRACT_VERSION = int(re.search(r"kContractVersion = (\d+);", (_SOURCE / "messages.h").read_text())[1])
_FLOW_VERSION = int(re.search(r"kRelayFlowVersion = (\d+);", (_SOURCE / "relay_flow.h").read_text())[1])
_HELLO, _ACCEPTED, _REFUSED, _SHUTDOWN = 1, 4, 5, 9
_WELCOME, _PUBLISH, _DRAIN, _PROOF, _COUNTERS = range(32, 37)
ORIGINATE, TERMINATE = 1, 2
STARTING, READY, DRAINING = 1, 2, 3
ESTABLISHED, ENDED, FAILED = 1, 2, 3
DATAPLANE, RELAY, PORT = "169.254.254.1", "169.254.254.2", 4790
RELAY_MAC = "02:42:48:00:00:01"

_ANNOUNCEMENT = struct.Struct("<IIQQ16s16sHHHHIIB7x")
_HEARTBEAT = struct.Struct("<IIQB7x")
_RECORD = struct.Struct("<IIIIQQqqQQ16s16sHHHHBBBB32s32sHHHHHH")
_HEADER = struct.Struct("<IIII")

ENDS = re.findall(r'NAME\((\w+),\s*"', (_SOURCE / "relay_end.h").read_text())


def _packed(address):
    address = ipaddress.ip_address(address)
    return address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed


def announcement(client, client_port, server, server_port, role, source=(100, 0), destination=(200, 0), flow_id=1, generation=1):
    """`source`, `destination`: (segment tag, workload number)."""
    return _ANNOUNCEMENT.pack(_FLOW_VERSION, _ANNOUNCEMENT.size, flow_id, generation, _packed(client), _packed(server), client_port,
                              server_port, source[0], destination[0], source[1], destination[1], role)


def heartbeat(datagram):
    """(state, live)."""
    version, size, live, state = _HEARTBEAT.unpack(datagram)
    assert (version, size) == (_FLOW_VERSION, _HEARTBEAT.size)
    return state, live


def identities(generation, segments, workloads=None):
    """segments: {tag: (name, patterns, relay_id or "")}; workloads: {number: id}."""
    strings = b""

    def ref(text):
        nonlocal strings
        strings += text.encode()
        return len(strings) - len(text), len(text)

    segment_records, pattern_records, first = b"", b"", 0
    for tag, (name, patterns, relay_id) in sorted(segments.items()):
        segment_records += struct.pack("<IIIIIIH6x", *ref(name), *ref(relay_id), first, len(patterns), tag)
        pattern_records += b"".join(struct.pack("<II", *ref(pattern)) for pattern in patterns)
        first += len(patterns)
    workload_records = b"".join(struct.pack("<III", number, *ref(id)) for number, id in sorted((workloads or {}).items()))
    body = segment_records + pattern_records + workload_records + strings
    header = struct.Struct("<QIIQQQQQ")
    return header.pack(0x314449594c524b42, 1, 0, header.size + len(body), generation, len(segments), first,
                       len(workloads or {})) + body


def sealed(content):
    """A memfd that nobody changes any more."""
    fd = os.memfd_create("identities", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


@dataclasses.dataclass
class Proof:
    flow_id: int
    generation: int
    time_ns: int
    handshake_ns: int
    bytes_from_client: int
    bytes_from_server: int
    tls_version: int
    cipher: int
    moment: int
    role: int
    end: str
    resumed: int
    own_certificate: str
    peer_certificate: str
    own_id: str
    peer_id: str
    detail: str


def _proof(packet):
    (_, _, _, _, flow_id, generation, time_ns, handshake_ns, from_client, from_server, _, _, _, _, tls, cipher, moment, role, end,
     resumed, own, peer, own_bytes, peer_bytes, detail_bytes, *_) = _RECORD.unpack_from(packet)
    texts, at = [], _RECORD.size
    for size in (own_bytes, peer_bytes, detail_bytes):
        texts.append(packet[at:at + size].decode())
        at += size
    assert at == len(packet)
    return Proof(flow_id, generation, time_ns, handshake_ns, from_client, from_server, tls, cipher, moment, role,
                 ENDS[end] if end < len(ENDS) else "", resumed, own.hex(), peer.hex(), *texts)


class Counters:
    def __init__(self, packet):
        words = struct.unpack("<%dQ" % ((len(packet) - 16) // 8), packet[16:])
        roles, ends = 2, len(ENDS)
        take = iter(words)
        self.live, self.opening = next(take), next(take)
        self.established = [next(take) for _ in range(roles)]
        self.failed, self.ended = ([{name: n for name in ENDS if (n := next(take))} for _ in range(roles)] for _ in range(2))
        (self.unannounced, self.resumed, self.bytes_from_client, self.bytes_from_server, self.memory, self.announcements,
         self.wrong, self.expired, self.lost) = take
        assert ends == len(ENDS)


class Refused(Exception):
    pass


class ControlPlane:
    """An attached control plane that reads all that it is sent."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.connect(str(path))
        self._send(_HELLO, struct.pack("<Q", os.getpid()))
        kind, packet = self._receive()
        if kind == _REFUSED:
            self._socket.close()
            raise Refused(packet[28:].split(b"\0")[0].decode())
        assert kind == _WELCOME, kind
        self.pid, self.generation, _, self.live, self.state = struct.unpack_from("<QQQQB", packet, 16)
        self.proofs, self.counters, self._answers = [], None, []
        self._stop = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self):
        self._stop = True
        self._thread.join()
        self._socket.close()

    def _send(self, kind, body, fds=()):
        packet = _HEADER.pack(_CONTRACT_VERSION, kind, _HEADER.size + len(body), 0) + body
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self._socket.sendmsg([packet], rights)

    def _receive(self):
        packet = self._socket.recv(16384)
        if not packet:
            raise EOFError("the relay closed the channel")
        return _HEADER.unpack_from(packet)[1], packet

    def _read(self):
        while not self._stop:
            if not select.select([self._socket], [], [], 0.05)[0]:
                continue
            try:
                kind, packet = self._receive()
            except (EOFError, OSError):
                return
            if kind == _PROOF:
                self.proofs.append(_proof(packet))
            elif kind == _COUNTERS:
                self.counters = Counters(packet)
            else:
                self._answers.append((kind, packet))

    def publish(self, content, generation, size=None):
        """Hands identities over, and waits until every connection is judged by them. Raises Refused."""
        fd = sealed(content)
        try:
            self._send(_PUBLISH, struct.pack("<QQ", generation, size or len(content)), [fd])
        finally:
            os.close(fd)
        end = time.monotonic() + 5
        while not self._answers:
            if time.monotonic() > end:
                raise TimeoutError("no answer to identities")
            time.sleep(0.002)
        kind, packet = self._answers.pop(0)
        if kind == _REFUSED:
            raise Refused(packet[28:].split(b"\0")[0].decode())
        assert kind == _ACCEPTED, kind

    def drain(self):
        self._send(_DRAIN, b"")

    def shutdown(self):
        self._send(_SHUTDOWN, b"")

    def send_raw(self, packet, fds=()):
        self._socket.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])

    def proof(self, flow_id, moment=None, timeout=5):
        """The proof of a flow, at a moment if one is named; waits for it."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for proof in list(self.proofs):
                if proof.flow_id == flow_id and moment in (None, proof.moment):
                    return proof
            time.sleep(0.01)
        raise AssertionError(f"no proof of flow {flow_id} at moment {moment}; there are {self.proofs}")
