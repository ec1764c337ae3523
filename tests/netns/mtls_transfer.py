"""A large transfer between workloads, and the SHA-256 of what was sent and of what arrived."""
import dataclasses
import hashlib
import os
import socket
import threading
import time

from traffic import family_of

PORT = 7000
_PIECE = 1 << 20
_PATIENCE = 30  # seconds without a byte


@dataclasses.dataclass
class Moved:
    """(bytes, SHA-256) at either end."""
    sent: tuple
    received: tuple


def send(s, size, seconds):
    """Sends bytes that never repeat themselves, until it is `size` or the time is over; (bytes, SHA-256)."""
    digest, piece, done, end = hashlib.sha256(), os.urandom(_PIECE), 0, time.monotonic() + seconds
    while done < size and time.monotonic() < end:
        piece = done.to_bytes(8, "big") + piece[8:]
        part = piece[:size - done]
        digest.update(part)
        s.sendall(part)
        done += len(part)
    s.shutdown(socket.SHUT_WR)
    return done, digest.hexdigest()


def receive(s):
    """(bytes, SHA-256) of all until the end."""
    digest, size, buffer = hashlib.sha256(), 0, memoryview(bytearray(_PIECE))
    while count := s.recv_into(buffer):
        digest.update(buffer[:count])
        size += count
    return size, digest.hexdigest()


def transfer(site, host, size, to_server=False, seconds=float("inf")):
    """Sends `size` bytes from db to web, or the other way round, or what is done of it in time."""
    with site.db.socket(family_of(host), socket.SOCK_STREAM) as listener, site.web.socket(family_of(host), socket.SOCK_STREAM) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, PORT))
        listener.listen(1)
        for s in (listener, client):
            s.settimeout(_PATIENCE)
        client.connect((host, PORT))
        server, _ = listener.accept()
        with server:
            server.settimeout(_PATIENCE)
            source, sink = (client, server) if to_server else (server, client)
            sent = []
            sender = threading.Thread(target=lambda: sent.append(send(source, size, seconds)), daemon=True)
            sender.start()
            received = receive(sink)
            sender.join(_PATIENCE)
    return Moved(sent[0], received)
