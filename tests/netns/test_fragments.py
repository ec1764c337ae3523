"""Fragmented datagrams through live gateways: whole or not at all, in any order, and beside a flood of those that never are."""
import pathlib
import random
import socket
import struct
import threading
import time

from harness import APP, DB, WEB, EndToEnd
from traffic import Capture, UdpEcho, family_of, new_mark, send_udp

POLICY = """
policies:
  - {name: open, from: [web, app], to: db, allow: [udp/7000, icmp/echo, icmp6/echo]}
  - {name: ping-gateway, from: web, to: gateway, allow: [icmp/echo, icmp6/echo]}
"""
LONGEST = 65507  # bytes of UDP's own in an IPv4 packet


def exchange(namespace, host, port, payload, timeout=5.0):
    """What comes back for a datagram."""
    with namespace.socket(family_of(host), socket.SOCK_DGRAM) as s:
        s.settimeout(timeout)
        s.sendto(payload, (host, port))
        return s.recv(65536)


def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def udp_fragments(source, destination, to_mac, from_mac, identification, port, payload, size):
    """A UDP datagram's frames, in pieces of `size` bytes."""
    family = family_of(source)
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    length = 8 + len(payload)
    pseudo = ends + struct.pack("!II", length, 17)
    total = checksum(pseudo + struct.pack("!HHHH", 4000, port, length, 0) + payload)
    datagram = struct.pack("!HHHH", 4000, port, length, total or 0xffff) + payload
    link = bytes.fromhex(to_mac.replace(":", "") + from_mac.replace(":", ""))
    frames = []
    for at in range(0, length, size):
        piece, more = datagram[at:at + size], at + size < length
        if family == socket.AF_INET:
            header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(piece), identification, more << 13 | at // 8, 64, 17, 0) + ends
            header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
            frames.append(link + b"\x08\x00" + header + piece)
        else:
            header = struct.pack("!IHBB", 6 << 28, 8 + len(piece), 44, 64) + ends
            frames.append(link + b"\x86\xdd" + header + struct.pack("!BBHI", 17, 0, at | more, identification) + piece)
    return frames


class Fragments(EndToEnd):
    mode, device, changes = "wire", "af_xdp", {}

    def setUp(self):
        self.place = self.site(self.mode, self.device)
        self.place.enter(UdpEcho(self.place.db, 7000))
        self.gw = self.gateway(self.place, POLICY, dataplane="fragments: {timeout: 2s}", **self.changes)

    def raw(self, workload):
        s = getattr(self.place, workload.name).socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        s.bind(("eth0", 0))
        self.addCleanup(s.close)
        return s

    def next_mac(self):
        """Whom web's frames to db go to."""
        return WEB.gateway_mac if self.mode == "route" else DB.mac

    def assert_nothing_is_held(self):
        self.assert_within(6.0, lambda: int(self.gw.status()["conservation"]["held"]) == 0,
                           lambda: f"held: {self.gw.status()['conservation']}")

    def test_long_datagrams_of_both_families_pass_both_ways(self):
        web = self.place.web
        for host in (DB.address, DB.address6):
            for size in (1473, 3000, 20_000, 60_000, LONGEST):
                payload = new_mark() + random.randbytes(size - 30)
                self.assertEqual(exchange(web, host, 7000, payload), payload, f"{size} bytes to {host}")
            ping = web.run("ping", "-c", "5", "-i", "0.05", "-W", "5", "-s", "60000", host)
            self.assertIn("5 received", ping.stdout)
        self.assertEqual({r for r in self.gw.drops() if r.startswith("fragment")}, set())
        flow = [f for f in self.gw.flows() if f["proto"] == "udp" and f["src"]["address"] == WEB.address][0]
        self.assertGreater(int(flow["bytes_out"]), 1473)
        self.assert_nothing_is_held()

    def test_denied_ones_never_arrive(self):
        mark = new_mark()
        with Capture(self.place.db) as capture:
            for host in (DB.address, DB.address6):
                with self.assert_drops(self.gw, policy_denied=5):
                    send_udp(self.place.web, host, 7001, [mark * 250])
            self.assertEqual(exchange(self.place.web, DB.address, 7000, b"x" * 5000), b"x" * 5000)
        self.assertEqual(capture.marked(mark), [])
        self.assert_nothing_is_held()

    def test_any_order_is_as_good(self):
        raw = self.raw(WEB)
        for source, host in ((WEB.address, DB.address), (WEB.address6, DB.address6)):
            with self.place.web.socket(family_of(host), socket.SOCK_DGRAM) as receiver:
                receiver.settimeout(5)
                receiver.bind(("", 4000))
                for number in range(20):
                    payload = random.randbytes(random.randint(100, 60_000))
                    size = random.choice([512, 1024, 1448])
                    frames = udp_fragments(source, host, self.next_mac(), WEB.mac, 1000 + number, 7000, payload, size)
                    random.shuffle(frames)
                    for frame in frames:
                        raw.send(frame)
                    self.assertEqual(receiver.recv(65536), payload)
        self.assert_nothing_is_held()

    def test_what_overlaps_or_never_is_whole_does_not_arrive(self):
        raw, mark = self.raw(WEB), new_mark()
        with Capture(self.place.db) as capture:
            for source, host in ((WEB.address, DB.address), (WEB.address6, DB.address6)):
                def frames(identification, payload, source=source, host=host):
                    return udp_fragments(source, host, self.next_mac(), WEB.mac, identification, 7000, payload, 512)
                one, other = frames(1, mark * 60), frames(1, b"y" + mark * 60)
                with self.assert_drops(self.gw, fragment_overlap=4, fragment_incomplete=2):
                    for frame in one[0], one[2], other[2], one[1]:
                        raw.send(frame)
                    for frame in frames(2, mark * 60)[1:3]:
                        raw.send(frame)
                    time.sleep(2.5)
        self.assertEqual(capture.marked(mark), [])
        self.assert_nothing_is_held()


class FragmentsOfTwoWorkers(Fragments):
    changes = {"cores": "[0, 1]"}


class FragmentsOfFourWorkers(Fragments):
    changes = {"cores": "[0, 1]", "workers_a_core": 2}


class RoutedFragments(Fragments):
    mode = "route"

    def test_gateway_answers_long_pings(self):
        for address in (WEB.gateway_address, WEB.gateway_address6):
            ping = self.place.web.run("ping", "-c", "3", "-i", "0.05", "-W", "5", "-s", "60000", address)
            self.assertIn("3 received", ping.stdout)
        self.assert_nothing_is_held()

    def test_flood_of_another_segment_costs_nobody_else(self):
        """Fragments that never are complete, of ever new IDs and sources, come faster than they run out."""
        stop, sent = threading.Event(), []
        raw = self.raw(APP)

        def flood():
            number = 0
            while not stop.is_set():
                for _ in range(50):
                    number += 1
                    source = f"10.3.0.{1 + number % 250}"
                    frame = udp_fragments(source, DB.address, APP.gateway_mac, APP.mac, number & 0xffff, 7000, b"z" * 1200, 1024)[1]
                    try:
                        raw.send(frame)
                    except OSError:  # no room at once
                        continue
                sent.append(number)
                time.sleep(0.002)
        thread = threading.Thread(target=flood, daemon=True)
        process = pathlib.Path(f"/proc/{self.gw.process_ids('bulkhead-dataplane')[0]}/status")

        def resident_kib():
            return int([line for line in process.read_text().splitlines() if line.startswith("VmRSS")][0].split()[1])
        thread.start()
        try:
            time.sleep(2)
            before = resident_kib()
            end, answers = time.monotonic() + 6, 0
            while time.monotonic() < end:
                for host in (DB.address, DB.address6):
                    payload = random.randbytes(20_000)
                    self.assertEqual(exchange(self.place.web, host, 7000, payload), payload)
                    answers += 1
            self.assertLess(resident_kib() - before, 4096)
        finally:
            stop.set()
            thread.join()
        self.assertGreater(answers, 20)
        self.assertGreater(sent[-1], 4000)
        drops = self.gw.drops()
        self.assertGreater(drops.get("fragment_limit", 0) + drops.get("fragment_incomplete", 0), 1000)
        self.assert_nothing_is_held()


class RoutedFragmentsOfTwoWorkers(RoutedFragments):
    changes = {"cores": "[0, 1]"}
