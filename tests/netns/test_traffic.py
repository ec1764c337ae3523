"""What policy allows passes, what it doesn't is dropped with the exact reason: real clients, both families, every device and mode."""
import socket
import struct
import time

from harness import DB, WEB, EndToEnd, Gateway, Site
from traffic import Capture, TcpClient, TcpEcho, UdpEcho, can_connect, can_exchange_udp, new_mark, send_udp

POLICY = """
policies:
  - name: web-calls-db
    from: web
    to: db
    allow: [tcp/6379, tcp/7000, tcp/8080, tcp/5201, udp/5201, udp/7000, icmp/echo, icmp6/echo]
  - {name: no-shells, tier: guardrail, from: any, to: any, deny: [tcp/22]}
  - {name: no-telnet, tier: guardrail, from: any, to: any, deny: [tcp/23], on_deny: reject}
"""

NGINX = """
daemon off; pid {0}/nginx.pid; user nobody nogroup; worker_processes 1;
events {{}}
http {{
  access_log off;
  client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi;
  uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;
  server {{ listen 8080; listen [::]:8080; root {0}; }}
}}
"""


def listens(namespace, port):
    return f":{port} " in namespace.run("ss", "-Hltn").stdout


class Traffic:
    """The cases; subclasses name the device and the mode. One gateway serves a class."""

    device = mode = None
    cores, workers_a_core = "[1]", 1

    @classmethod
    def setUpClass(cls):
        cls.place = Site(cls.mode, cls.device)
        cls.addClassCleanup(cls.place.close)
        cls.gw = Gateway(cls.place, POLICY, cores=cls.cores, workers_a_core=cls.workers_a_core).start()
        directory = cls.place.directory / "nginx"
        directory.mkdir()
        (directory / "page").write_text("x" * 300_000)
        (directory / "nginx.conf").write_text(NGINX.format(directory))
        db = cls.place.db
        db.popen("nginx", "-p", directory, "-e", directory / "error.log", "-c", directory / "nginx.conf")
        db.popen("redis-server", "--port", "6379", "--bind", "0.0.0.0", "::", "--protected-mode", "no", "--save", "", "--dir", directory)
        for context in (TcpEcho(db, 7000), UdpEcho(db, 7000), UdpEcho(db, 7001), TcpEcho(db, 22), TcpEcho(db, 23),
                        TcpEcho(db, 9000), TcpEcho(cls.place.web, 7000)):
            cls.place.enter(context)
        end = time.monotonic() + 10
        while not all(listens(db, port) for port in (8080, 6379)):
            if time.monotonic() > end:
                raise AssertionError("the servers didn't start")
            time.sleep(0.05)

    def tearDown(self):
        self.assert_conserved(self.gw)

    @property
    def web(self):
        return self.place.web

    @property
    def db(self):
        return self.place.db

    # -- allowed --

    def test_curl_fetches_a_page_over_both_families(self):
        for url in (f"http://{DB.address}:8080/page", f"http://[{DB.address6}]:8080/page"):
            done = self.web.run("curl", "-sS", "--max-time", "10", url)
            self.assertEqual(len(done.stdout), 300_000, url)

    def test_redis_cli_writes_and_reads(self):
        for host in (DB.address, DB.address6):
            self.assertEqual(self.web.run("redis-cli", "-h", host, "SET", "k", host).stdout.strip(), "OK")
            self.assertEqual(self.web.run("redis-cli", "-h", host, "GET", "k").stdout.strip(), host)

    def test_ping_is_answered_over_both_families(self):
        for host in (DB.address, DB.address6):
            self.assertIn("3 received", self.web.run("ping", "-c", "3", "-i", "0.1", "-W", "2", host).stdout)

    def test_iperf3_moves_tcp_both_ways(self):
        for direction in ((), ("-R",)):
            server = self.db.popen("iperf3", "-s", "-1")  # one that serves on closes its listener in between
            self.assert_within(5, lambda: listens(self.db, 5201), "iperf3 didn't start")
            self.web.run("iperf3", "-c", DB.address, "-t", "1", "-f", "m", *direction, timeout=20)
            server.wait(5)

    def test_udp_is_answered_over_both_families(self):
        for host in (DB.address, DB.address6):
            self.assertTrue(can_exchange_udp(self.web, host, 7000, tries=2), host)

    def test_each_of_many_flows_has_its_own_verdict(self):
        ports = range(20_000, 20_060)
        for host in (DB.address, DB.address6):
            with Capture(self.web) as capture, self.assert_drops(self.gw, policy_denied=len(ports)):
                marks = {port: new_mark() for port in ports}
                for port, mark in marks.items():
                    send_udp(self.web, host, 7000, [mark], source_port=port)
                    send_udp(self.web, host, 7001, [mark], source_port=port)
                self.assert_within(3, lambda: all(capture.marked(mark) for mark in marks.values()), f"not all are answered by {host}")
            self.assertEqual([len(capture.marked(mark)) for mark in marks.values()], [1] * len(ports))

    # -- denied --

    def test_a_datagram_that_no_rule_allows_never_arrives(self):
        mark = new_mark()
        with Capture(self.db) as capture, self.assert_drops(self.gw, policy_denied=20):
            for host in (DB.address, DB.address6):
                send_udp(self.web, host, 7001, [mark] * 10)
        self.assertEqual(capture.marked(mark), [])

    def test_a_connection_that_a_guardrail_denies_never_arrives(self):
        with Capture(self.db) as capture, self.assert_drops(self.gw, policy_explicit_deny=1):
            self.assertFalse(can_connect(self.web, DB.address, 22))
        ssh = [f for _, f in capture.frames() if f[12:14] == b"\x08\x00" and f[23] == 6 and f[36:38] == b"\x00\x16"]
        self.assertEqual(ssh, [])

    def test_a_reject_answers_at_once(self):
        for host in (DB.address, DB.address6):
            with self.assert_drops(self.gw, policy_explicit_deny=1):
                done = self.web.run("curl", "-sS", "--max-time", "5", f"http://[{host}]:23/" if ":" in host else f"http://{host}:23/",
                                    check=False)
                self.assertEqual(done.returncode, 7, done.stderr)  # couldn't connect; running out of time would be 28

    def test_the_reverse_direction_is_denied(self):
        with self.assert_drops(self.gw, policy_denied=1):
            self.assertFalse(can_connect(self.db, WEB.address, 7000))

    def test_a_spoofed_source_is_dropped(self):
        self.assertTrue(can_exchange_udp(self.web, DB.address, 7000, tries=3))  # so that no spoofed ARP request goes before
        self.web.run("ip", "addr", "add", "10.2.0.77/32", "dev", "eth0")
        self.addCleanup(self.web.run, "ip", "addr", "del", "10.2.0.77/32", "dev", "eth0")
        mark = new_mark()
        with Capture(self.db) as capture, self.assert_drops(self.gw, spoofed_source=5):
            send_udp(self.web, DB.address, 7000, [mark] * 5, source="10.2.0.77")
        self.assertEqual(capture.marked(mark), [])

    def test_the_kernel_is_no_way_around(self):
        for address in DB.around:
            mark = new_mark()
            with Capture(self.db) as capture, self.assert_drops(self.gw, policy_denied=10):
                send_udp(self.web, address, 7001, [mark] * 10)
            self.assertEqual(capture.marked(mark), [])

    # -- seen --

    def test_flows_lists_a_live_connection(self):
        client = self.enterContext(TcpClient(self.web, DB.address, 7000))
        self.assertEqual(client.ask(b"hello"), b"hello")
        here = client.socket.getsockname()[1]
        flow = [f for f in self.gw.flows() if f["src"]["port"] == here]
        self.assertEqual(len(flow), 1)
        expected = {"proto": "tcp", "src": {"address": WEB.address, "port": here, "segment": "web"},
                    "dst": {"address": DB.address, "port": 7000, "segment": "db"}, "rule": "web-calls-db",
                    "service": "tcp/7000", "state": "established", "in": "web", "out": "db"}
        self.assertEqual({key: flow[0][key] for key in expected}, expected)


class AfXdpWire(Traffic, EndToEnd):
    device, mode = "af_xdp", "wire"


class AfPacketWire(Traffic, EndToEnd):
    device, mode = "af_packet", "wire"


class Workers(Traffic):
    """The same verdicts with several workers, more than there are CPUs. A link has one queue: most packets come to another
    worker than their flow's."""

    def test_every_worker_takes_part(self):
        def busy():
            for port in range(20_000, 20_060):
                send_udp(self.web, DB.address, 7000, [new_mark()] * 5, source_port=port)
            return [w["busy_ratio"] > 0 for w in self.gw.status()["workers"]]

        self.assertEqual(len(busy()), self.workers_a_core * 2)
        self.assert_within(10, lambda: all(busy()), lambda: f"busy are {busy()}")


class AfXdpWireTwoWorkers(Workers, EndToEnd):
    device, mode, cores = "af_xdp", "wire", "[0, 1]"


class AfXdpRouteFourWorkers(Workers, EndToEnd):
    device, mode, cores, workers_a_core = "af_xdp", "route", "[0, 1]", 2


class AfPacketWireFourWorkers(Workers, EndToEnd):
    device, mode, cores, workers_a_core = "af_packet", "wire", "[0, 1]", 2


class AfXdpRoute(Traffic, EndToEnd):
    device, mode = "af_xdp", "route"


class AfPacketRoute(Traffic, EndToEnd):
    device, mode = "af_packet", "route"


def arp_request(mac, address, target):
    """A broadcast ARP request: who has `target`, tell `address` at `mac` (RFC 826)."""
    sender = bytes.fromhex(mac.replace(":", ""))
    return (b"\xff" * 6 + sender + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + sender
            + socket.inet_aton(address) + b"\x00" * 6 + socket.inet_aton(target))


class ArpOnAWire(EndToEnd):
    def test_an_announcement_of_somebody_elses_address_never_arrives_and_ones_own_does(self):
        site = self.site()
        gateway = self.gateway(site, POLICY)
        with site.web.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw, Capture(site.db) as capture:
            raw.bind(("eth0", 0))
            honest, liar = (arp_request(WEB.mac, address, address) for address in (WEB.address, DB.address))
            with self.assert_drops(gateway, arp_invalid=1):
                raw.send(honest)
                raw.send(liar)
            self.assert_within(2, lambda: capture.marked(honest), "the honest one didn't arrive")
            self.assertEqual(capture.marked(liar), [])


class WithoutGateway(EndToEnd):
    """The control of all tests above: these namespaces do carry the traffic when no gateway stands in between."""

    def test_the_kernel_carries_everything_where_no_gateway_runs(self):
        for mode in ("wire", "route"):
            site, mark = self.site(mode), new_mark()
            ordinary = (DB.address, DB.address6) if mode == "route" else ()  # a wire's ends have nothing between them now
            with Capture(site.db) as capture:
                for address in (*DB.around, *ordinary):
                    send_udp(site.web, address, 7001, [mark] * 10)
                self.assert_within(3, lambda: len(capture.marked(mark)) == 10 * len((*DB.around, *ordinary)), f"not in mode {mode}")
