"""What captured frames say of TCP: streams put together again, and whether they are TLS records and nothing else."""
import socket
import struct

_VLAN, _IPV4, _IPV6, _TCP = 0x8100, 0x0800, 0x86DD, 6
_FIN, SYN, RST, _ACK = 1, 2, 4, 16
# RFC 8446 §5.1: content types, the versions that TLS 1.3 writes there, and the most that a record holds (§5.2)
_CONTENT_TYPES, _VERSIONS, _MOST = (20, 21, 22, 23), (0x0301, 0x0303), 16384 + 256


class Segment:
    """A TCP segment: `ends` as (source, port, destination, port), `sequence` of its first byte."""

    def __init__(self, ends, sequence, flags, payload):
        self.ends, self.sequence, self.flags, self.payload = ends, sequence, flags, payload


def vlan_of(frame):
    """The VLAN that a frame is tagged with; None without a tag."""
    return struct.unpack_from("!H", frame, 14)[0] & 0xFFF if struct.unpack_from("!H", frame, 12)[0] == _VLAN else None


def segment_of(frame):
    """The TCP segment in a frame; None where there is none."""
    at, ether_type = 14, struct.unpack_from("!H", frame, 12)[0]
    if ether_type == _VLAN:
        at, ether_type = 18, struct.unpack_from("!H", frame, 16)[0]
    if ether_type == _IPV4 and frame[at + 9] == _TCP:
        family, addresses, size = socket.AF_INET, frame[at + 12:at + 20], 4
        end = at + struct.unpack_from("!H", frame, at + 2)[0]
        at += (frame[at] & 15) * 4
    elif ether_type == _IPV6 and frame[at + 6] == _TCP:
        family, addresses, size = socket.AF_INET6, frame[at + 8:at + 40], 16
        end = at + 40 + struct.unpack_from("!H", frame, at + 4)[0]
        at += 40
    else:
        return None
    source_port, destination_port, sequence, _, offset, flags = struct.unpack_from("!HHIIBB", frame, at)
    source, destination = (socket.inet_ntop(family, addresses[i:i + size]) for i in (0, size))
    return Segment((source, source_port, destination, destination_port), sequence, flags, frame[at + (offset >> 4) * 4:end])


def segments(frames):
    """The TCP segments among (time, frame)s."""
    return [segment for _, frame in frames if (segment := segment_of(frame))]


def streams(frames):
    """(ends, bytes) of each direction of each connection, from its SYN on, up to the first gap; of one that was there before, from what is
    seen of it first."""
    begun, current = [], {}
    for segment in segments(frames):
        opens = segment.flags & SYN
        known = current.get(segment.ends)
        if (opens and (known is None or known[0] != segment.sequence)) or (known is None and segment.payload):
            current[segment.ends] = known = (segment.sequence if opens else segment.sequence - 1, {})
            begun.append((segment.ends, known[1]))
        if segment.payload:
            first, pieces = known
            at = (segment.sequence - first - 1) % 2**32
            pieces[at] = max(pieces.get(at, b""), segment.payload, key=len)
    return [(ends, _joined(pieces)) for ends, pieces in begun]


def _joined(pieces):
    whole = bytearray()
    for at, piece in sorted(pieces.items()):
        if at > len(whole):
            break
        whole += piece[len(whole) - at:]
    return bytes(whole)


def not_tls(content):
    """What in a stream's bytes is no TLS record; None where they are records from the first byte to the last. The last may be cut off."""
    at = 0
    while at + 5 <= len(content):
        kind, version, length = struct.unpack_from("!BHH", content, at)
        if kind not in _CONTENT_TYPES or version not in _VERSIONS or not 0 < length <= _MOST:
            return f"at {at} of {len(content)}: {content[at:at + 40]}"
        at += 5 + length
    return None
