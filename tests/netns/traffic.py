"""What workloads do on the wire in tests: servers, clients, probes that carry a mark, and captures that look for it."""
import contextlib
import errno
import itertools
import select
import socket
import struct
import threading
import time

_ETH_P_ALL = 3
# asm-generic/socket.h, linux/udp.h; Python has no names for them
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_SOL_UDP, _UDP_SEGMENT = 17, 103
# linux/if_packet.h: what says which VLAN tag the kernel has taken off a frame
_SOL_PACKET, _PACKET_AUXDATA, _TP_STATUS_VLAN_VALID = 263, 8, 0x10
_marks = itertools.count(1)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def new_mark():
    """Bytes that no other traffic carries."""
    return b"bulkhead-probe-%08d-" % next(_marks)


def tagged_socket(namespace, device):
    """What read_frame() reads from."""
    s = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
    s.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    s.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
    s.bind((device, _ETH_P_ALL))
    return s


def read_frame(s):
    """(time in ns, frame, packet type): with the VLAN tag that the kernel has taken off it."""
    frame, ancillary, _, address = s.recvmsg(65536, 128)
    said = {kind: content for _, kind, content in ancillary}
    seconds, nanoseconds = struct.unpack("qq", said[_SO_TIMESTAMPNS])
    status, *_, tci, tpid = struct.unpack("IIIHHHH", said[_PACKET_AUXDATA])
    if status & _TP_STATUS_VLAN_VALID:
        frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
    return seconds * 1_000_000_000 + nanoseconds, frame, address[2]


class Capture:
    """The frames that arrive at a device, or those that leave it, with the kernel's time of each. A context manager."""

    def __init__(self, namespace, device="eth0", leaving=False):
        self._leaving = leaving
        self._socket = tagged_socket(namespace, device)
        self._frames = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _read(self):
        """Until nothing more comes after the stop; where more keeps coming, for a moment longer."""
        end = None
        while end is None or time.monotonic() < end:
            if end is None and self._stop.is_set():
                end = time.monotonic() + 0.5
            ready, _, _ = select.select([self._socket], [], [], 0.05)
            if not ready and end is not None:
                return
            if ready:
                self._read_one()

    def _read_one(self):
        try:
            when, frame, packet_type = read_frame(self._socket)
        except OSError as error:
            if error.errno != errno.ENETDOWN:  # the device went down, and may come back
                raise
            return
        if (packet_type == socket.PACKET_OUTGOING) == self._leaving:
            self._frames.append((when, frame))

    def frames(self):
        """(time in ns, frame) of all so far, in order."""
        return list(self._frames)

    def forget(self):
        """Drops what was captured so far."""
        self._frames.clear()

    def marked(self, mark):
        """Those whose bytes hold the mark."""
        return [(t, f) for t, f in self.frames() if mark in f]


def write_pcap(path, frames):
    """Writes (time in ns, frame) as a classic pcap with nanoseconds."""
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xa1b23c4d, 2, 4, 0, 0, 65535, 1))
        for t, frame in frames:
            file.write(struct.pack("<IIII", t // 10**9, t % 10**9, len(frame), len(frame)) + frame)


def read_pcap(path):
    """The frames of what write_pcap() writes."""
    content, at, frames = path.read_bytes(), 24, []
    while at < len(content):
        length = struct.unpack_from("<I", content, at + 8)[0]
        frames.append(content[at + 16:at + 16 + length])
        at += 16 + length
    return frames


def send_udp(namespace, destination, port, payloads, source=None, source_port=0):
    """Sends each payload as a datagram."""
    with namespace.socket(family_of(destination), socket.SOCK_DGRAM) as s:
        if source or source_port:
            s.bind((source or "", source_port))
        for payload in payloads:
            s.sendto(payload, (destination, port))


def _is_icmp(frame):
    return (frame[20] if frame[12:14] == b"\x86\xdd" else frame[23]) in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)


class Probes:
    """A thread that sends UDP datagrams with a mark and their number, `burst` of them every `interval` seconds. A context manager."""

    def __init__(self, namespace, destination, port, interval=0.002, burst=1):
        self.mark = new_mark()
        self.sent_at = []  # by number: the time in ns just before it was sent
        self._socket = namespace.socket(family_of(destination), socket.SOCK_DGRAM)
        self._to = (destination, port)
        self._interval, self._burst = interval, burst
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()
        self._socket.close()

    @property
    def sent(self):
        return len(self.sent_at)

    def stop(self):
        self._stop.set()
        self._thread.join()

    def _send(self):
        while not self._stop.is_set():
            for _ in range(self._burst):
                now = time.time_ns()
                try:
                    self._socket.sendto(self.mark + b"%010d" % self.sent, self._to)
                    self.sent_at.append(now)
                except OSError:  # an ICMP error that came back, or no neighbour: keep sending
                    pass
            time.sleep(self._interval)

    def numbers_in(self, capture):
        """The numbers of the probes that a capture holds, in order of arrival. Those that ICMP errors quote aren't among them: an echo that
        comes after the probes' socket was closed is answered so."""
        numbers = []
        for _, frame in capture.marked(self.mark):
            if _is_icmp(frame):
                continue
            at = frame.index(self.mark) + len(self.mark)
            numbers.append(int(frame[at:at + 10]))
        return numbers


class Flood:
    """A thread that sends `rate` marked UDP datagrams a second, by turns to each of several addresses. What it didn't get to while others had
    the CPU follows at once. A context manager."""

    _MOST = 32  # by one call

    def __init__(self, namespace, destinations, port, rate=12_000):
        self.mark = new_mark()
        self.sent = self._tried = 0
        self._sockets = [(namespace.socket(family_of(to), socket.SOCK_DGRAM), (to, port)) for to in destinations]
        self._rate = rate
        self._begin = self._end = None
        self._segments = True  # one call sends many, cut up by the kernel: not every kernel does it on every device
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self):
        self._begin = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()
        for sender, _ in self._sockets:
            sender.close()

    def stop(self):
        self._stop.set()
        self._thread.join()
        self._end = self._end or time.monotonic()

    @property
    def achieved(self):
        """Datagrams a second, since it began."""
        return self.sent / ((self._end or time.monotonic()) - self._begin)

    def _send(self):
        turns = itertools.cycle(self._sockets)
        while not self._stop.is_set():
            due = int((time.monotonic() - self._begin) * self._rate) - self._tried
            if due < self._MOST:
                time.sleep(0.002)
                continue
            sender, to = next(turns)
            self._tried += self._MOST
            with contextlib.suppress(OSError):  # an ICMP error that came back, or no neighbour: keep sending
                self._send_some(sender, to)
                self.sent += self._MOST

    def _send_some(self, sender, to):
        if self._segments:
            try:
                size = struct.pack("=H", len(self.mark))
                sender.sendmsg([self.mark * self._MOST], [(_SOL_UDP, _UDP_SEGMENT, size)], 0, to)
                return
            except OSError as error:
                if error.errno not in (errno.EIO, errno.EINVAL, errno.ENOPROTOOPT):
                    raise
                self._segments = False
        for _ in range(self._MOST):
            sender.sendto(self.mark, to)


class TcpEcho:
    """A TCP server that sends back what it gets, on all addresses of a namespace. A context manager."""

    def __init__(self, namespace, port):
        self._listener = namespace.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._listener.bind(("::", port))
        self._listener.listen(64)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _serve(self):
        peers = []
        while not self._stop.is_set():
            for ready in select.select([self._listener, *peers], [], [], 0.05)[0]:
                if ready is self._listener:
                    peers.append(ready.accept()[0])
                    continue
                try:
                    received = ready.recv(65536)
                    if received:
                        ready.sendall(received)
                        continue
                except OSError:
                    pass
                ready.close()
                peers.remove(ready)
        for s in [self._listener, *peers]:
            s.close()


class UdpEcho:
    """A UDP server that sends each datagram back. A context manager."""

    def __init__(self, namespace, port):
        self._socket = namespace.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._socket.bind(("::", port))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _serve(self):
        while not self._stop.is_set():
            if select.select([self._socket], [], [], 0.05)[0]:
                try:
                    received, peer = self._socket.recvfrom(65536)
                    self._socket.sendto(received, peer)
                except OSError:
                    pass


class TcpClient:
    """One connection. Errors: those of connect(), TimeoutError among them."""

    def __init__(self, namespace, destination, port, timeout=3.0):
        self.socket = namespace.socket(family_of(destination), socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect((destination, port))
        except OSError:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, question):
        """Sends bytes and returns as many that came back."""
        self.socket.sendall(question)
        answer = b""
        while len(answer) < len(question):
            piece = self.socket.recv(65536)
            if not piece:
                raise ConnectionError("the peer closed")
            answer += piece
        return answer


def can_connect(namespace, destination, port, timeout=0.7):
    """Whether a TCP connection opens in time. A refusal by RST is False as well."""
    try:
        with TcpClient(namespace, destination, port, timeout):
            return True
    except OSError:
        return False


def can_exchange_udp(namespace, destination, port, timeout=0.5, tries=1):
    """Whether a datagram comes back from an echo server."""
    mark = new_mark()
    with namespace.socket(family_of(destination), socket.SOCK_DGRAM) as s:
        s.settimeout(timeout)
        for _ in range(tries):
            try:
                s.sendto(mark, (destination, port))
                if s.recv(65536) == mark:
                    return True
            except OSError:
                pass
    return False
