"""What was seen on a link: every frame of both directions, and what tshark says of the TLS in them."""
import collections
import dataclasses

import net
from traffic import Capture

FIELDS = ("tcp.len", "tls.record.length", "tls.record.content_type", "tls.record.opaque_type", "tls.handshake.type",
          "tls.handshake.extensions.supported_version", "tls.handshake.ciphersuite")
RECORDS = {"20": "change_cipher_spec", "21": "alert", "22": "handshake", "23": "application_data"}
SERVER_HELLO = "2"
CIPHERS = {"0x1301": "TLS_AES_128_GCM_SHA256", "0x1302": "TLS_AES_256_GCM_SHA384", "0x1303": "TLS_CHACHA20_POLY1305_SHA256"}
VERSIONS = {"0x0304": "1.3", "0x0303": "1.2"}


class Link:
    """Captures at a device while the context lasts."""

    def __init__(self, namespace, device):
        self._directions = [Capture(namespace, device), Capture(namespace, device, leaving=True)]

    def __enter__(self):
        for direction in self._directions:
            direction.__enter__()
        return self

    def __exit__(self, *error):
        for direction in self._directions:
            direction.__exit__(*error)

    def frames(self):
        """(time in ns, frame), in order."""
        return sorted(frame for direction in self._directions for frame in direction.frames())

    def marked(self, mark):
        return sum(mark.encode() in frame for _, frame in self.frames())


@dataclasses.dataclass
class Tls:
    """What the TCP payload of a capture was."""
    payload: int = 0            # bytes
    in_records: int = 0         # of them, those that are TLS records, headers included
    records: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    agreed: set = dataclasses.field(default_factory=set)  # (version, cipher suite) of each ServerHello


def tls_in(path, port):
    """Dissects a capture whose server listens on `port`."""
    options = [word for field in FIELDS for word in ("-e", field)]
    said = net.run("tshark", "-n", "-r", path, "-d", f"tcp.port=={port},tls", "-Y", "tcp.len > 0 && !tcp.analysis.retransmission",
                   "-T", "fields", "-E", "separator=;", *options).stdout
    found = Tls()
    for line in said.splitlines():
        payload, lengths, types, opaque, handshakes, versions, ciphers = (field.split(",") if field else [] for field in line.split(";"))
        found.payload += sum(map(int, payload))
        found.in_records += sum(int(length) + 5 for length in lengths)
        found.records.update(RECORDS.get(kind, kind) for kind in types + opaque)
        if SERVER_HELLO in handshakes:
            found.agreed.update((VERSIONS.get(version, version), CIPHERS.get(cipher, cipher)) for version in versions for cipher in ciphers)
    return found
