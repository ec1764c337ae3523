"""Random streams of packets between clients and servers: conversations that are in order, and what disturbs them. A seed says it all."""
import dataclasses
import random

from frames import ACK, FIN, ICMP, ICMPV6, PSH, RST, SYN, TCP, UDP, URG, icmp, ip, is_v4, tcp, udp

CLIENTS = [("10.1.0.5", "fd00:1::5"), ("10.1.0.6", "fd00:1::6")]
SERVERS = [("10.2.0.6", "fd00:2::6"), ("10.2.0.7", "fd00:2::7")]
ROUTERS = ("10.2.0.9", "fd00:2::9"), ("10.1.0.9", "fd00:1::9")  # who sends errors, behind each side
OPEN = {TCP: 80, UDP: 53}
SHUT = {TCP: 81, UDP: 54}


@dataclasses.dataclass
class Packet:
    """One of a stream. `from_client`: it arrives on the clients' side."""
    number: int
    from_client: bool
    ip: bytes
    talk: int            # which conversation it belongs to
    what: str            # "in order", or what is wrong with it
    flags: int = 0       # TCP's
    proto: int = 0


@dataclasses.dataclass
class Segment:
    """A TCP segment before it is bytes."""
    from_client: bool
    seq: int
    ack: int
    flags: int
    window: int
    size: int = 0
    scale: int | None = None


class Talk:
    """A conversation; step() has its next packets as (from client, IP packet without number, what, flags)."""
    proto = 0

    def __init__(self, rng, number):
        family = rng.random() < 0.5
        self.rng, self.number = rng, number
        self.client, self.server = rng.choice(CLIENTS)[family], rng.choice(SERVERS)[family]
        self.said = []  # what was sent, for repetitions and quotations
        self.over = False

    def ends(self, from_client):
        return (self.client, self.server) if from_client else (self.server, self.client)

    def packet(self, from_client, payload, what, flags=0, proto=None):
        self.said.append((from_client, proto or self.proto, payload, flags))
        return from_client, proto or self.proto, payload, what, flags

    def again(self):
        from_client, proto, payload, flags = self.rng.choice(self.said)
        return from_client, proto, payload, "said again", flags

    def error(self):
        """An ICMP error about something that was said, true or not."""
        rng = self.rng
        from_client, proto, payload, _ = rng.choice(self.said)
        source, destination = self.ends(from_client)
        v4 = is_v4(source)
        what, receiver = "error", source
        kind, code, rest = rng.choice([(3, 1, 0), (3, 3, 0), (3, 4, 1400), (11, 0, 0), (12, 0, 0)] if v4 else
                                      [(1, 0, 0), (1, 4, 0), (2, 0, 1400), (3, 0, 0), (4, 0, 0)])
        quoted = ip(source, destination, proto, payload)[:(28 if v4 else 48) + rng.choice([0, 12, 40])]
        twist = rng.choice(["", "", "", "tiny mtu", "forbidden", "to another", "cut", "other port", "other number"])
        if twist == "tiny mtu":
            kind, code, rest = (3, 4, 60) if v4 else (2, 0, 1000)
        elif twist == "forbidden":
            kind, code = rng.choice([(4, 0), (5, 1)]) if v4 else (137, 0)
        elif twist == "to another":
            receiver = next(a for pair in CLIENTS + SERVERS for a in pair if is_v4(a) == v4 and a not in (source, destination))
        elif twist == "cut":
            quoted = quoted[:rng.randrange(28 if v4 else 48)]
        elif twist in ("other port", "other number"):
            at = (20 if v4 else 40) + (0 if twist == "other port" else 4)
            quoted = quoted[:at] + bytes([quoted[at] ^ 0x40]) + quoted[at + 1:]
        what += ": " + (twist or "true")
        sender = ROUTERS[0 if from_client else 1][0 if v4 else 1]
        return not from_client, ICMP if v4 else ICMPV6, icmp(sender, receiver, kind, code, rest, quoted), what, 0, (sender, receiver)


class TcpTalk(Talk):
    proto = TCP

    def __init__(self, rng, number):
        super().__init__(rng, number)
        self.ports = 2000 + number, (OPEN if rng.random() < 0.85 else SHUT)[TCP]
        self.begin()

    def begin(self):
        rng = self.rng
        self.next = {True: rng.choice([rng.getrandbits(32), 2**32 - 300]), False: rng.getrandbits(32)}  # not wrapped
        self.window = {True: rng.choice([500, 8000, 65535]), False: rng.choice([500, 8000, 65535])}
        self.scale = {side: rng.choice([None, 0, 7, 14]) for side in (True, False)}
        self.allowed = {True: None, False: None}  # the sequence number up to which a side may send
        self.plan = ["syn", "answer", "ack"] + ["data"] * rng.randrange(1, 8) + rng.choice([["fin", "fin back", "last"], ["fin", "data back", "fin back", "last"], ["rst"], []])

    def bytes_of(self, s, spoil=False):
        ports = self.ports if s.from_client else self.ports[::-1]
        return tcp(*self.ends(s.from_client), ports, s.seq, s.ack, s.flags, s.window, b"x" * s.size, s.scale, spoil)

    def now(self, from_client, flags, size=0):
        return Segment(from_client, self.next[from_client], self.next[not from_client] if flags & ACK else 0, flags, self.window[from_client], size)

    def steps(self):
        """What comes next, and before it perhaps what disturbs."""
        if self.plan[:1] != ["syn"] and self.rng.random() < 0.4:
            yield self.disturbance()
        if not self.plan:
            if self.rng.random() < 0.4:
                self.begin()
            else:
                self.over = True
            return
        s = self.in_order(self.plan.pop(0))
        yield self.packet(s.from_client, self.bytes_of(s), "in order", s.flags)

    def in_order(self, step):
        rng = self.rng
        if step in ("syn", "answer"):
            s = self.now(step == "syn", SYN if step == "syn" else SYN | ACK)
            s.scale = self.scale[s.from_client]
        elif step in ("fin", "fin back"):
            s = self.now(step == "fin", FIN | ACK)
        elif step == "rst":
            s = self.now(rng.random() < 0.5, RST | ACK)
        else:
            side = {"ack": True, "last": True, "data back": False}.get(step, rng.random() < 0.5)
            s = self.now(side, ACK)
            if step not in ("ack", "last"):
                s.size = min(rng.choice([1, 100, 400]), max(0, self.allowed[side] - s.seq))
        if s.flags & ACK:
            both = None not in self.scale.values() and step != "answer"
            self.allowed[not s.from_client] = max(self.allowed[not s.from_client] or 0, s.ack + (s.window << (self.scale[s.from_client] if both else 0)))
        self.next[s.from_client] = (s.seq + s.size + bool(s.flags & SYN) + bool(s.flags & FIN))
        return s

    def disturbance(self):
        rng = self.rng
        kind = rng.choice(["sequence", "acknowledgement", "flags", "reset", "syn", "syn-ack", "checksum", "port", "again", "error", "error"])
        if kind == "again":
            return self.again()
        if kind == "error":
            return self.error()
        s = self.now(rng.random() < 0.5, ACK, rng.choice([0, 1, 100]))
        far = rng.choice([1, 50, self.window[not s.from_client] + 1, 66_001, 2**20, 2**30 + 5, rng.getrandbits(31)]) * rng.choice([1, -1])
        what = kind
        if kind == "sequence":
            s.seq, what = s.seq + far, "sequence ahead" if far > 0 else "sequence behind"
        elif kind == "acknowledgement":
            s.ack, what = s.ack + far, "acknowledgement ahead" if far > 0 else "acknowledgement behind"
        elif kind == "flags":
            s.flags = rng.getrandbits(6)
        elif kind == "reset":
            s.flags, s.size = rng.choice([RST, RST | ACK]), 0
            s.seq += rng.choice([0, 1, -1, 100, far])
        elif kind in ("syn", "syn-ack"):
            s.flags, s.size = SYN | (ACK if kind == "syn-ack" else 0), 0
            s.seq += rng.choice([-1, far])
        ports, self.ports = self.ports, (self.ports[0] + 1000, self.ports[1]) if kind == "port" else self.ports
        payload = self.bytes_of(s, spoil=kind == "checksum")
        self.ports = ports
        return s.from_client, TCP, payload, what, s.flags


class UdpTalk(Talk):
    proto = UDP

    def __init__(self, rng, number):
        super().__init__(rng, number)
        self.ports = 2000 + number, (OPEN if rng.random() < 0.8 else SHUT)[UDP]
        self.left = rng.randrange(2, 8)

    def datagram(self, from_client, shift=0, spoil=False):
        ports = self.ports if from_client else (self.ports[1] + shift, self.ports[0])
        return udp(*self.ends(from_client), ports, b"x" * self.rng.randrange(40), spoil)

    def steps(self):
        rng = self.rng
        kind = rng.choice(["in order"] * 4 + ["checksum", "port", "error"])
        if kind == "error" and self.said:
            yield self.error()
        elif kind in ("checksum", "port"):
            from_client = kind == "checksum" and rng.random() < 0.5
            yield from_client, UDP, self.datagram(from_client, int(kind == "port"), kind == "checksum"), kind, 0
        else:
            from_client = rng.random() < 0.6
            yield self.packet(from_client, self.datagram(from_client), "in order")
        self.left -= 1
        self.over = self.left <= 0


class EchoTalk(Talk):
    def __init__(self, rng, number):
        super().__init__(rng, number)
        self.proto = ICMP if is_v4(self.client) else ICMPV6
        self.left = rng.randrange(2, 8)

    def steps(self):
        rng = self.rng
        asks, answers = (8, 0) if self.proto == ICMP else (128, 129)
        what = rng.choice(["in order"] * 4 + ["backwards", "checksum", "other id", "error"])
        from_client = rng.random() < 0.6
        if what == "error" and self.said:
            yield self.error()
        else:
            kind = asks if from_client != (what == "backwards") else answers
            payload = icmp(*self.ends(from_client), kind, 0, (self.number + 500 * (what == "other id" and not from_client)) << 16 | self.left,
                           b"ping", what == "checksum")
            yield self.packet(from_client, payload, what)
        self.left -= 1
        self.over = self.left <= 0


def stream(seed, count):
    """`count` packets of interleaved conversations."""
    rng, packets, talks, begun = random.Random(seed), [], [], 0
    while len(packets) < count:
        while len(talks) < 6:
            talks.append(rng.choice([TcpTalk, TcpTalk, TcpTalk, UdpTalk, EchoTalk])(rng, begun))
            begun += 1
        talk = rng.choice(talks)
        for from_client, proto, payload, what, flags, *ends in talk.steps():
            source, destination = ends[0] if ends else talk.ends(from_client)
            number = len(packets) + 1
            packets.append(Packet(number, from_client, ip(source, destination, proto, payload, number), talk.number, what, flags, proto))
        talks = [t for t in talks if not t.over]
    return packets[:count]
