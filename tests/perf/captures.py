"""Captures for the self-fed rig: both directions of many flows, shuffled, without a packet library."""

import random
import struct

ETHERNET_BYTES = 14


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source: int, destination: int, proto: int, l4: bytes) -> bytes:
    header = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(l4), 0, 0x4000, 64, proto, 0, source, destination)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + l4


def pseudo(source: int, destination: int, proto: int, length: int) -> bytes:
    return struct.pack("!IIBBH", source, destination, 0, proto, length)


def udp(source: int, destination: int, ports: tuple, payload: bytes) -> bytes:
    header = struct.pack("!HHHH", *ports, 8 + len(payload), 0)
    value = checksum(pseudo(source, destination, 17, 8 + len(payload)) + header + payload) or 0xFFFF
    return ipv4(source, destination, 17, header[:6] + struct.pack("!H", value) + payload)


def tcp(source: int, destination: int, ports: tuple, sequence: int, acknowledgement: int, flags: int, payload: bytes) -> bytes:
    header = struct.pack("!HHIIBBHHH", *ports, sequence, acknowledgement, 0x50, flags, 65000, 0, 0)
    value = checksum(pseudo(source, destination, 6, 20 + len(payload)) + header + payload)
    return ipv4(source, destination, 6, header[:16] + struct.pack("!H", value) + header[18:] + payload)


def frame(ip: bytes, forward: bool, size: int) -> bytes:
    left, right = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"
    return ((right + left) if forward else (left + right)) + b"\x08\x00" + ip + bytes(max(0, size - ETHERNET_BYTES - len(ip)))


def write_pcap(path: str, frames: list) -> None:
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for data in frames:
            out.write(struct.pack("<IIII", 0, 0, len(data), len(data)) + data)


def flow_frames(number: int, is_tcp: bool, size: int) -> tuple:
    """One flow's frames of one round: (from the left, from the right). Flow `number` is web i to db j, to a port that policy allows."""
    source = 0x0A010000 | (number & 0xFFFF) + 1
    destination = 0x0A020000 | (number >> 16) + 1
    sport, dport = 1024 + number % 60000, 5000 + number % 1000
    there, back = (sport, dport), (dport, sport)
    if not is_tcp:
        payload = bytes(max(0, size - ETHERNET_BYTES - 28))
        return [frame(udp(source, destination, there, payload), True, size)], [frame(udp(destination, source, back, payload), False, size)]
    payload = bytes(max(0, size - ETHERNET_BYTES - 40))
    data = [frame(tcp(source, destination, there, 1001, 5001, 0x18, payload), True, size)]
    answer = [frame(tcp(destination, source, back, 5001, 1001, 0x18, payload), False, size)]
    return data, answer


def handshakes(number: int) -> tuple:
    """SYN and final ACK from the left, SYN-ACK from the right."""
    source = 0x0A010000 | (number & 0xFFFF) + 1
    destination = 0x0A020000 | (number >> 16) + 1
    sport, dport = 1024 + number % 60000, 5000 + number % 1000
    syn = frame(tcp(source, destination, (sport, dport), 1000, 0, 0x02, b""), True, 60)
    ack = frame(tcp(source, destination, (sport, dport), 1001, 5001, 0x10, b""), True, 60)
    syn_ack = frame(tcp(destination, source, (dport, sport), 5000, 1001, 0x12, b""), False, 60)
    return [syn, ack], [syn_ack]


def make(left: str, right: str, flows: int, tcp_share: float, size: int = 60, packets: int = 131072, seed: int = 1) -> int:
    """Writes one capture a port, and says how many frames both hold. A TCP flow's handshake stands once in each round, among at least
    `packets` data packets a port: with as many as that, no CPU holds them all in its cache, and macswap takes the same time for few flows as for
    many."""
    random.seed(seed)
    tcp_flows = {n for n in range(flows) if random.random() < tcp_share}
    pairs = [flow_frames(n, n in tcp_flows, size) for n in range(flows)]
    rounds = -(-packets // flows)
    lefts = [frame for there, _ in pairs for frame in there] * rounds
    rights = [frame for _, back in pairs for frame in back] * rounds
    random.shuffle(lefts)
    random.shuffle(rights)
    opened = [handshakes(n) for n in sorted(tcp_flows)]
    lefts = [there[0] for there, _ in opened] + lefts + [there[1] for there, _ in opened]
    rights += [back[0] for _, back in opened]
    write_pcap(left, lefts)
    write_pcap(right, rights)
    return len(lefts) + len(rights)
