"""Identity tags on the wire: an overlay whose other end is Linux's own VXLAN with group policy IDs, and Cisco metadata."""
import json
import socket
import struct
import time

import net
from harness import DB, WEB, EndToEnd, Gateway
from traffic import Capture, TcpClient, TcpEcho, UdpEcho, can_connect, new_mark, send_udp, write_pcap

POLICY = """
policies:
  - {name: web-calls-db, from: web, to: db, allow: [tcp/7000, udp/7000]}
  - {name: db-calls-web, from: db, to: web, allow: [udp/7000]}
"""
LOCAL, PEER = "192.0.2.1", "192.0.2.2"
UNBOUND = "10.9.0.9"  # an address of db's namespace that no segment has
AS_DB, AS_APP = 5001, 5002  # source ports whose packets db's namespace marks with these segments' tags
SOURCES = '[10.0.0.0/8, "fd00::/16"]'


class TaggedGateway(Gateway):
    """`keys`: of db's port, beside what it has."""

    def __init__(self, site, policy, keys):
        self.keys = keys
        super().__init__(site, policy)

    def _port(self, workload):
        if workload is not DB:
            return super()._port(workload)
        return f'- name: db\n  device: "{self.site.device}:{workload.device}"\n  sources: {SOURCES}\n' + \
            "".join(f"  {line}\n" for line in self.keys)


def dissect(directory, frames, *fields):
    """tshark's reading of captured frames: a list of texts for each of them."""
    path = directory / "tags.pcap"
    write_pcap(path, frames)
    shown = net.run("tshark", "-r", path, "-T", "fields", *(word for f in fields for word in ("-e", f)))
    return [line.split("\t") for line in shown.stdout.splitlines()]


def arrives(arrived, seconds=1.5):
    """Whether something is there in time."""
    end = time.monotonic() + seconds
    while not arrived() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(arrived())


def opened(gateway):
    """The flow log's lines of flows that opened."""
    lines = [json.loads(line) for line in gateway.flow_log.read_text().splitlines()]
    return [line for line in lines if line["event"] == "open"]


class Overlay(EndToEnd):
    device = "af_xdp"

    def setUp(self):
        self.place = self.site(device=self.device)
        self.web, self.db = self.place.web, self.place.db
        self.make_peer()
        for context in (TcpEcho(self.db, 7000), UdpEcho(self.db, 7000), UdpEcho(self.web, 7000)):
            self.place.enter(context)
        self.gw = TaggedGateway(self.place, POLICY, [
            "trust_tags: true", "impose_tags: vxlan_gbp", f"vxlan: {{local: {LOCAL}, vni: 42, peers: [{PEER}]}}"])
        self.gw.start()
        self.addCleanup(self.assert_conserved, self.gw)
        # Until peers and neighbours know each other, the first packets may be lost.
        self.assert_within(10, lambda: can_connect(self.web, DB.address, 7000), lambda: str(self.gw.drops()))

    def make_peer(self):
        """db's link becomes the outside, and its addresses those of a VXLAN device with group policy IDs."""
        db = self.db
        for family in ("-4", "-6"):
            db.run("ip", family, "addr", "flush", "dev", "eth0")
        db.run("ip", "neigh", "flush", "dev", "eth0", "nud", "permanent")
        db.run("ip", "addr", "add", f"{PEER}/24", "dev", "eth0")
        db.run("ip", "link", "add", "vx0", "address", "02:00:00:00:22:01", "type", "vxlan", "id", "42", "dstport", "4789",
               "local", PEER, "remote", LOCAL, "gbp")
        db.set_sysctl("ipv6.conf.vx0.accept_dad", 0)
        db.run("ip", "link", "set", "vx0", "mtu", "1450", "up")
        for address in (f"{DB.address}/8", f"{UNBOUND}/32"):
            db.run("ip", "addr", "add", address, "dev", "vx0")
        db.run("ip", "addr", "add", f"{DB.address6}/16", "dev", "vx0", "nodad")
        db.run("nft", f"""
            add table inet tags
            add chain inet tags out {{ type filter hook output priority mangle; }}
            add rule inet tags out th sport {{ 7000, {AS_DB} }} meta mark set 200
            add rule inet tags out th sport {AS_APP} meta mark set 300
            add chain inet tags in {{ type filter hook input priority filter; }}
            add rule inet tags in iifname vx0 th dport 7000 meta mark and 0xffff == 100 counter comment "web"
            add rule inet tags in iifname vx0 th dport 7000 meta mark and 0xffff != 100 counter comment "other"
            """)

    def arrived(self):
        """Packets for db's servers by what their mark says: `web` or `other`."""
        listed = json.loads(self.db.run("nft", "-j", "list", "chain", "inet", "tags", "in").stdout)
        return {rule["comment"]: next(e["counter"]["packets"] for e in rule["expr"] if "counter" in e)
                for item in listed["nftables"] if (rule := item.get("rule"))}

    def received_by_web(self, source, source_port):
        """Whether a datagram from db's namespace reaches web."""
        mark = new_mark()
        with Capture(self.web) as capture:
            send_udp(self.db, WEB.address, 7000, [mark], source, source_port)
            return arrives(lambda: capture.marked(mark))

    def test_both_directions_are_carried_with_the_sources_segment(self):
        for address in (DB.address, DB.address6):
            with TcpClient(self.web, address, 7000) as client:
                self.assertEqual(client.ask(b"x" * 200_000), b"x" * 200_000)
        counts = self.arrived()
        self.assertGreater(counts["web"], 100)
        self.assertEqual(counts["other"], 0)
        self.assertIn("binding", {line["src_source"] for line in opened(self.gw)})

    def test_segment_tag_decides_whatever_the_address(self):
        with self.assert_drops(self.gw):
            self.assertTrue(self.received_by_web(DB.address, AS_DB))
            self.assertTrue(self.received_by_web(UNBOUND, AS_DB))
        self.assert_within(5, lambda: [l["src_source"] for l in opened(self.gw)].count("tag") == 2, lambda: str(opened(self.gw)))
        with self.assert_drops(self.gw, policy_denied=1):
            self.assertFalse(self.received_by_web(DB.address, AS_APP))
        with self.assert_drops(self.gw, policy_denied=1):
            self.assertFalse(self.received_by_web(UNBOUND, AS_APP))
        with self.assert_drops(self.gw, identity_unknown=1):
            self.assertFalse(self.received_by_web(UNBOUND, 5003))
        with self.assert_drops(self.gw):
            self.assertTrue(self.received_by_web(DB.address, 5003))

    def test_what_the_gateway_sends_is_what_tshark_reads(self):
        mark = new_mark()
        with Capture(self.db) as capture:
            send_udp(self.web, DB.address, 7000, [mark])
            self.assertTrue(arrives(lambda: capture.marked(mark)))
            frames = capture.marked(mark)
        read = dissect(self.place.directory, frames, "ip.src", "udp.dstport", "vxlan.flag_g", "vxlan.flag_i", "vxlan.flag_d",
                       "vxlan.flag_a", "vxlan.gbp", "vxlan.vni", "ip.flags.df", "_ws.malformed")
        self.assertEqual(read[0], [f"{LOCAL},{WEB.address}", "4789,7000", "1", "1", "0", "1", "100", "42", "1,1", ""])

    def test_what_is_no_such_overlay_does_not_pass(self):
        """A stranger on the outside, another VNI, plain packets, each beside what passes."""
        self.assertTrue(self.received_by_web(DB.address, AS_DB))
        self.db.run("ip", "addr", "add", "192.0.2.3/24", "dev", "eth0")
        self.db.run("ip", "link", "set", "vx0", "down")
        for number, reason in (("43", "vxlan_vni_unknown"), ("42", "vxlan_peer_unknown")):
            local = PEER if number == "43" else "192.0.2.3"
            self.db.run("ip", "link", "del", "vx0")
            self.db.run("ip", "link", "add", "vx0", "address", "02:00:00:00:22:01", "type", "vxlan", "id", number, "dstport",
                        "4789", "local", local, "remote", LOCAL, "gbp")
            self.db.set_sysctl("ipv6.conf.vx0.disable_ipv6", 1)
            self.db.run("ip", "link", "set", "vx0", "mtu", "1450", "up")
            self.db.run("ip", "addr", "add", f"{DB.address}/8", "dev", "vx0")
            self.db.run("ip", "neigh", "replace", WEB.address, "lladdr", WEB.mac, "dev", "vx0", "nud", "permanent")
            with self.assert_drops(self.gw, **{reason: 1}):
                self.assertFalse(self.received_by_web(DB.address, AS_DB))


class OverlayOnAfPacket(Overlay):
    device = "af_packet"


class CiscoMetadata(EndToEnd):
    def setUp(self):
        self.place = self.site()
        self.web, self.db = self.place.web, self.place.db
        self.gw = TaggedGateway(self.place, POLICY, ["trust_tags: true", "impose_tags: cmd"])
        self.gw.start()
        self.addCleanup(self.assert_conserved, self.gw)
        self.web.run("ip", "neigh", "replace", DB.address, "lladdr", DB.mac, "dev", "eth0", "nud", "permanent")

    def test_imposed_tag_is_what_tshark_reads(self):
        mark = new_mark()
        with Capture(self.db) as capture:
            send_udp(self.web, DB.address, 7000, [mark])
            self.assert_within(2, lambda: capture.marked(mark), "nothing came")
            frames = capture.marked(mark)
        read = dissect(self.place.directory, frames, "cmd.version", "cmd.length", "cmd.options", "cmd.sgt", "cmd.type", "ip.src",
                       "_ws.malformed")
        self.assertEqual(read, [["1", "1", "0x0001", "100", "0x0800", WEB.address, ""]])

    def send_tagged(self, sgt, mark):
        """A datagram from an address that no segment has, with a tag, put on the wire by hand."""
        payload = struct.pack("!HHHH", 5000, 7000, 8 + len(mark), 0) + mark
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, 17, 0, socket.inet_aton(UNBOUND),
                             socket.inet_aton(WEB.address))
        total = sum(struct.unpack("!10H", header))
        header = header[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xffff) + header[12:]
        link = bytes.fromhex(WEB.mac.replace(":", "") + DB.mac.replace(":", "")) + struct.pack("!HBBHHH", 0x8909, 1, 1, 1, sgt, 0x0800)
        with self.db.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as s:
            s.bind(("eth0", 0))
            s.send(link + header + payload)

    def test_believed_tag_decides_and_is_taken_off(self):
        mark = new_mark()
        with Capture(self.web) as capture, self.assert_drops(self.gw, policy_denied=1, tag_malformed=1):
            self.send_tagged(300, mark)     # app may not
            self.send_tagged(65535, mark)   # no tag at all
            self.send_tagged(200, mark)     # db may
            self.assert_within(2, lambda: capture.marked(mark), "nothing came")
        frames = [frame for _, frame in capture.marked(mark)]
        self.assertEqual(len(frames), 1)
        self.assertEqual(frames[0][12:14], b"\x08\x00")
        self.assert_within(5, lambda: [l["src_source"] for l in opened(self.gw)] == ["tag"], lambda: str(opened(self.gw)))
