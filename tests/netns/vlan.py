"""An interface on a VLAN, for kernels without 802.1Q of their own: what is sent there leaves another device with the tag, and the
other way round."""
import fcntl
import os
import select
import socket
import struct
import threading

from traffic import read_frame, tagged_socket

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 2, 0x1000  # linux/if_tun.h
_TPID = b"\x81\x00"


class VlanInterface:
    """`name` in a namespace, over `device`. A context manager."""

    def __init__(self, namespace, name, device, number):
        self._tag = _TPID + struct.pack("!H", number)
        self._tap = namespace.inside(self._open, name)
        self._socket = tagged_socket(namespace, device)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._carry, daemon=True)

    @staticmethod
    def _open(name):
        tap = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
        return tap

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        os.close(self._tap)
        self._socket.close()

    def _carry(self):
        while not self._stop.is_set():
            for ready in select.select([self._tap, self._socket], [], [], 0.05)[0]:
                if ready is self._tap:
                    frame = os.read(self._tap, 65536)
                    self._socket.send(frame[:12] + self._tag + frame[12:])
                    continue
                _, frame, packet_type = read_frame(self._socket)
                if packet_type != socket.PACKET_OUTGOING and frame[12:16] == self._tag:
                    os.write(self._tap, frame[:12] + frame[16:])
