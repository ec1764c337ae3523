"""Frames as bytes, every field given: what a differential test sends. Each carries its number where no gateway changes it."""
import socket
import struct

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def is_v4(address):
    return ":" not in address


def packed(address):
    return socket.inet_pton(socket.AF_INET if is_v4(address) else socket.AF_INET6, address)


def ip(source, destination, proto, payload, number=0):
    """An IP packet. `number`: its ID, or its flow label."""
    if is_v4(source):
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), number, 0x4000, 64, proto, 0) + packed(source) + packed(destination)
        return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload
    return struct.pack("!IHBB", 6 << 28 | number, len(payload), proto, 64) + packed(source) + packed(destination) + payload


def frame(packet, to_mac, from_mac):
    ether_type = 0x0800 if packet[0] >> 4 == 4 else 0x86dd
    return bytes.fromhex((to_mac + from_mac).replace(":", "")) + struct.pack("!H", ether_type) + packet


def number_of(sent):
    """The number of a frame that ip() made; None of others."""
    if sent[12:14] == b"\x08\x00":
        return struct.unpack_from("!H", sent, 18)[0]
    return struct.unpack_from("!I", sent, 14)[0] & 0xfffff if sent[12:14] == b"\x86\xdd" else None


def _with_checksum(source, destination, proto, segment, at, spoil):
    pseudo = packed(source) + packed(destination) + struct.pack("!II", len(segment), proto)
    value = checksum((b"" if proto == ICMP else pseudo) + segment) ^ (0x5555 if spoil else 0)
    return segment[:at] + struct.pack("!H", value or 0xffff) + segment[at + 2:]


def tcp(source, destination, ports, seq, ack, flags, window, payload=b"", scale=None, spoil=False):
    options = b"" if scale is None else struct.pack("!BBBB", 1, 3, 3, scale)
    header = struct.pack("!HHIIBBHHH", *ports, seq % 2**32, ack % 2**32, (20 + len(options)) // 4 << 4, flags, window, 0, 0)
    return _with_checksum(source, destination, TCP, header + options + payload, 16, spoil)


def udp(source, destination, ports, payload=b"", spoil=False):
    return _with_checksum(source, destination, UDP, struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload, 6, spoil)


def icmp(source, destination, kind, code, rest, payload=b"", spoil=False):
    """`rest`: the second word of the header."""
    proto = ICMP if is_v4(source) else ICMPV6
    return _with_checksum(source, destination, proto, struct.pack("!BBHI", kind, code, 0, rest) + payload, 2, spoil)
