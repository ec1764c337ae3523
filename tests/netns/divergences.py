"""Where Bulkhead and Linux's connection tracking (6.x) differ on purpose, and why. What no entry here explains is a mistake of one of them.

Linux accepts what is `established` or `related` to its entry, and reads "ignored" segments as such; Bulkhead asks more of a segment
before it passes. Some differences are of one packet. After others the two know different things of a connection, until both see it begin
anew: what follows in the same conversation is counted under that entry, as "after ...".
"""
import dataclasses
import struct

from frames import ACK, RST, SYN, TCP


@dataclasses.dataclass
class Knowledge:
    """What is known of a conversation."""
    apart: str | None = None  # the entry since which the two know different things
    syn: int | None = None    # the sequence number of its SYN, and of the answer
    answer: int | None = None


@dataclasses.dataclass
class Seen:
    """A packet, and what the two did with it."""
    packet: object
    linux: bool
    bulkhead: bool
    verdict: dict
    talk: Knowledge

    @property
    def differs(self):
        return self.linux != self.bulkhead

    @property
    def reason(self):
        return self.verdict["reason"]

    @property
    def sequence(self):
        return struct.unpack_from("!I", self.packet.ip, (20 if self.packet.ip[0] >> 4 == 4 else 40) + 4)[0]

    @property
    def quoted_proto(self):
        """Of an ICMP error."""
        return self.packet.ip[28 + 9] if self.packet.ip[0] >> 4 == 4 else self.packet.ip[48 + 6]

    def is_flags(self, flags, mask=SYN | ACK | RST):
        return self.packet.proto == TCP and self.packet.flags & mask == flags

    def __str__(self):
        p = self.packet
        return (f"packet {p.number} of talk {p.talk} ({p.what}, flags {p.flags:#x}, from {'client' if p.from_client else 'server'}): "
                f"Linux {'passes' if self.linux else 'drops'} it, Bulkhead says {self.verdict['verdict']} {self.reason}")


@dataclasses.dataclass(frozen=True)
class Divergence:
    name: str
    why: str
    holds: object          # of a Seen that differs
    lasting: bool = False  # the two know different things afterwards


def only_linux(*reasons):
    return lambda s: s.linux and not s.bulkhead and s.reason in reasons


def both(*conditions):
    return lambda s: all(condition(s) for condition in conditions)


def is_what(*whats):
    return lambda s: s.packet.what in whats


def is_flags_of_data(s):
    return s.is_flags(ACK)


def opening_refused(s):
    """Linux passes what Bulkhead finds out of place in the handshake of a flow that it knows."""
    return s.linux and s.reason == "tcp_no_state" and s.verdict["flow"] == "established"


DIVERGENCES = [
    Divergence("icmp: MTU that no link has", "Linux passes any next-hop MTU; under 68 (RFC 1191 §3) or 1280 (RFC 8201 §4) it would cut a sender's packets to "
               "pieces", both(is_what("error: tiny mtu"), only_linux("icmp_forbidden"))),
    Divergence("icmp: redirects and source quench", "Linux has them as related; no router of a workload's may redirect it (RFC 4890 §4.3.3), and source quench "
               "is dead (RFC 6633)", both(is_what("error: forbidden"), only_linux("icmp_forbidden"))),
    Divergence("icmp: a quotation that is cut", "Linux makes do with the ports; an error quotes at least 8 bytes behind the IP header (RFC 792)",
               both(is_what("error: cut"), only_linux("icmp_unrelated"))),
    Divergence("icmp: a segment that isn't in flight", "Linux doesn't look at the quoted sequence number (RFC 5927 §4.1)",
               lambda s: s.packet.what.startswith("error") and s.linux and s.reason == "icmp_unrelated" and s.quoted_proto == TCP),
    Divergence("tcp: behind the window", "Linux passes what is under the lower bounds without believing it; RFC 9293 §3.10.7.4 calls it unacceptable",
               both(is_what("sequence behind", "acknowledgement behind", "said again"), is_flags_of_data, only_linux("tcp_out_of_window"))),
    Divergence("tcp: ahead of the window", "Linux lets a sender overshoot by as much as a window, and takes it over",
               both(is_what("sequence ahead"), only_linux("tcp_out_of_window")), lasting=True),
    Divergence("tcp: an ACK before the answer", "Linux passes a bare ACK where a SYN wasn't answered yet, and learns its numbers; a split handshake begins "
               "like that", lambda s: opening_refused(s) and s.is_flags(ACK), lasting=True),
    Divergence("tcp: a stale answer", "Linux takes a SYN-ACK that acknowledges another SYN than the one that was sent",
               lambda s: opening_refused(s) and s.is_flags(SYN | ACK) and not s.packet.from_client, lasting=True),
    Divergence("tcp: the initiator's SYN-ACK", "Linux passes it as of a simultaneous open, though the responder has sent no SYN of its own, and takes its "
               "numbers over", lambda s: opening_refused(s) and s.is_flags(SYN | ACK) and s.packet.from_client, lasting=True),
    Divergence("tcp: SYN against SYN", "Linux lets a responder open towards the initiator though no rule does; Bulkhead asks policy for that direction too",
               lambda s: opening_refused(s) and s.is_flags(SYN) and not s.packet.from_client, lasting=True),
    Divergence("tcp: the initiator takes its SYN back", "Linux has no reset of it by an ACK before the answer; at the exact number it is one for Bulkhead",
               lambda s: s.bulkhead and not s.linux and s.is_flags(RST | ACK) and s.packet.from_client and s.talk.answer is None),
    Divergence("tcp: reset in the window", "Linux believes a reset anywhere in the window; RFC 5961 §3.2 wants the exact number",
               lambda s: s.linux and s.reason == "tcp_out_of_window" and s.is_flags(RST, RST), lasting=True),
]
# What both pass and read differently.
RESET = "tcp: reset"                 # Linux keeps the entry for ten seconds and passes what still comes; Bulkhead forgets it
SECOND_SYN = "tcp: second SYN"       # before an answer: for Bulkhead another attempt, whose answer must name it; on a live connection Linux
                                     # follows a new handshake, where Bulkhead waits for the old connection's reset
SECOND_ANSWER = "tcp: second answer"  # Bulkhead follows the latest SYN-ACK that names the SYN, Linux the first


def explain(seen):
    """The name of what explains that the two differ; None where nothing does."""
    found = next((d for d in DIVERGENCES if d.holds(seen)), None)
    if seen.talk.apart == RESET and not seen.linux:
        return None  # Bulkhead knows less then, never more
    if seen.talk.apart:
        return found.name if found and not found.lasting else f"after {seen.talk.apart}"
    if found and found.lasting:
        seen.talk.apart = found.name
    return found and found.name


def learn(seen):
    """Takes note of what a packet changes in what the two know."""
    talk = seen.talk
    if seen.packet.proto != TCP or not (seen.linux or seen.bulkhead):
        return
    if seen.is_flags(SYN) and seen.packet.from_client:
        if seen.verdict["flow"] == "new" and talk.answer is None and talk.syn is not None:
            talk.apart = SECOND_SYN
        elif seen.verdict["flow"] == "new" and seen.linux and talk.apart in (None, RESET):
            talk.apart = None  # both begin anew
        elif seen.sequence != talk.syn:
            talk.apart = talk.apart or SECOND_SYN
        if seen.verdict["flow"] == "new":
            talk.syn, talk.answer = seen.sequence, None
    elif seen.is_flags(SYN | ACK) and not seen.packet.from_client:
        if talk.answer not in (None, seen.sequence):
            talk.apart = talk.apart or SECOND_ANSWER
        talk.answer = seen.sequence
    elif seen.is_flags(RST, RST):
        talk.apart = talk.apart or RESET
