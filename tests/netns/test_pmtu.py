"""Path MTU discovery through a gateway: a link behind it is smaller than what TCP sends, and only the error that says so gets it through."""
import socket
import threading

from harness import DB, EndToEnd
from traffic import Capture, family_of
import net

POLICY = """
policies:
  - {name: web-uploads, from: web, to: db, allow: [tcp/7000]}
"""
SMALL = 1280  # IPv6's least
FAR, FAR6 = "10.2.0.200", "fd00:2::c8"
UPLOAD = 300_000
ROUTES = f'routes: [{{to: {FAR}/32, via: {DB.address}}}, {{to: "{FAR6}/128", via: "{DB.address6}"}}]'


class Sink:
    """A TCP server that counts what it gets, and says how much when its peer has ended. A context manager."""

    def __init__(self, namespace, port):
        self._listener = namespace.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._listener.bind(("::", port))
        self._listener.listen(8)

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._count, args=(peer,), daemon=True).start()

    @staticmethod
    def _count(peer):
        with peer:
            try:
                total = 0
                while piece := peer.recv(65536):
                    total += len(piece)
                peer.sendall(b"%d" % total)
            except OSError:
                pass


def upload(namespace, host, port, timeout):
    """How much of an upload the server got; None where it isn't over in time."""
    with namespace.socket(family_of(host), socket.SOCK_STREAM) as s:
        s.settimeout(timeout)
        try:
            s.connect((host, port))
            s.sendall(b"x" * UPLOAD)
            s.shutdown(socket.SHUT_WR)
            return int(s.recv(64))
        except TimeoutError:
            return None


class PathMtu(EndToEnd):
    mode, changes = "wire", {}

    def setUp(self):
        self.place = self.site(self.mode)
        self.far = self.place.enter(net.closing_namespace(self.place.directory.name + "far"))
        self.lead_far_away()
        self.place.enter(Sink(self.far, 7000))
        self.gw = self.gateway(self.place, POLICY, **self.changes)

    def lead_far_away(self):
        """web - gateway - db - far: db is a router there, and its link to far is the small one."""
        web, db, far = self.place.web, self.place.db, self.far
        mac, far_mac = "02:00:00:00:09:01", "02:00:00:00:09:02"
        net.connect_veth(db, "far0", far, "eth0", mac, far_mac)
        db.run("ip", "link", "set", "far0", "mtu", SMALL)
        for key in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            db.set_sysctl(key, 1)
        for there, back, bits in ((FAR, DB.address, 32), (FAR6, DB.address6, 128)):
            family = "-6" if bits == 128 else "-4"
            far.run("ip", family, "addr", "add", f"{there}/{bits}", "dev", "eth0")
            db.run("ip", family, "route", "add", f"{there}/{bits}", "dev", "far0")
            db.run("ip", "neigh", "add", there, "lladdr", far_mac, "dev", "far0", "nud", "permanent")
            far.run("ip", family, "route", "add", f"{back}/{bits}", "dev", "eth0")
            far.run("ip", "neigh", "add", back, "lladdr", mac, "dev", "eth0", "nud", "permanent")
            far.run("ip", family, "route", "add", "default", "via", back)
            if self.mode == "wire":
                web.run("ip", family, "route", "add", f"{there}/{bits}", "via", back)

    def expect_discovery(self, host, is_too_big):
        """Without the error the upload stands still; with it, it ends."""
        with Capture(self.place.web) as arriving:
            self.place.db.run("nft", "add table inet quiet; add chain inet quiet out { type filter hook output priority 0; }; "
                              "add rule inet quiet out icmp type destination-unreachable drop; "
                              "add rule inet quiet out icmpv6 type packet-too-big drop")
            self.assertIsNone(upload(self.place.web, host, 7000, timeout=3))
            self.assertFalse([f for _, f in arriving.frames() if is_too_big(f)])
            self.place.db.run("nft", "delete table inet quiet")
            self.assertEqual(upload(self.place.web, host, 7000, timeout=15), UPLOAD)
        self.assertTrue([f for _, f in arriving.frames() if is_too_big(f)])
        self.assertEqual({r: n for r, n in self.gw.drops().items() if r.startswith("icmp")}, {})

    def test_ipv4(self):
        self.expect_discovery(FAR, lambda f: f[12:14] == b"\x08\x00" and f[23] == 1 and f[34:36] == b"\x03\x04")

    def test_ipv6(self):
        self.expect_discovery(FAR6, lambda f: f[12:14] == b"\x86\xdd" and f[20] == 58 and f[54] == 2)


class PathMtuThroughARouter(PathMtu):
    mode, changes = "route", {"dataplane": ROUTES}
