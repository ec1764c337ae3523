"""The demo's second scene: workloads of two sites that speak in clear, and TLS 1.3 between their gateways with both ends' certificates."""
import collections
import os
import pwd
import shutil
import signal
import time

import net
from demo_capture import Link, tls_in
from demo_stage import (BULKHEAD, PLACE, PREFIX, ROOT, SCREEN, Attempt, Gateway, curl, redis, start_http_server, start_nginx, start_redis,
                        try_all)
from traffic import write_pcap

HERE = PLACE / "mtls"
DOMAIN = "demo.example"
ID = f"spiffe://{DOMAIN}/"
RELAY_USER = "daemon"  # as config/mtls says
NUMBERS = {"shop": 1, "stock": 2, "partner": 3}
IMPOSTOR = "10.20.3.66"
PARTNER = HERE / "partner"
CAPTURE = HERE / "between.pcap"
MARK = "open-sesame"


def address(workload):
    return f"10.20.{NUMBERS[workload]}.10"


def address6(workload):
    return f"fd00:20:{NUMBERS[workload]}::10"


def curl_as(name, *words):
    """curl with an SVID. -k: an SVID holds an ID, and no host name that curl could compare."""
    return curl("-k", "--cert", f"{PARTNER}/svids/{name}.pem", "--key", f"{PARTNER}/svids/{name}.key", *words)


def redis_as(name, *words):
    """redis-cli with an SVID; it verifies that the other end's is of the trust domain."""
    return redis(address("stock"), "--tls", "--cacert", f"{PARTNER}/bundles/{DOMAIN}.pem",
                 "--cert", f"{PARTNER}/svids/{name}.pem", "--key", f"{PARTNER}/svids/{name}.key", *words)


STOCK = f"{address('stock')}:8080/"
MARKED = [
    Attempt("shop", "stock", "redis SET, in clear", redis(address("stock"), "SET", "password", MARK), "OK", "allow"),
    Attempt("shop", "stock", "the same over IPv6", redis(address6("stock"), "SET", "password", MARK), "OK", "allow"),
]
ATTEMPTS = [
    Attempt("shop", "partner", "curl http; nginx asks for mTLS", curl(f"http://{address('partner')}:8443/"), "SUCCESS", "allow"),
    Attempt("partner", "stock", "curl https as partner/orders", curl_as("partner-orders", f"https://{STOCK}"), "the stock", "allow"),
    Attempt("partner", "stock", "redis --tls as partner/sync", redis_as("partner-sync", "GET", "password"), MARK, "allow"),
    Attempt("partner", "stock", "curl http, in clear", curl(f"http://{STOCK}"), "the stock", "reject", "handshake_failed"),
    Attempt("partner", "stock", "curl https, no certificate", curl("-k", f"https://{STOCK}"), "the stock", "reject",
            "svid_missing_at_peer"),
    Attempt("partner", "stock", "curl https as shop/till", curl_as("shop-till", f"https://{STOCK}"), "the stock", "reject",
            "identity_mismatch"),
    Attempt("shop", "partner", "curl http; server is shop/till", curl(f"http://{IMPOSTOR}:8443/"), "SUCCESS", "reject",
            "identity_mismatch"),
    Attempt("partner", "shop", "curl https as partner/orders", curl_as("partner-orders", f"https://{address('shop')}:8080/"), "Hello",
            "deny", "policy_denied"),
]
AFTER_THE_REVOCATION = [
    Attempt("partner", "stock", "redis --tls as partner/sync", redis_as("partner-sync", "PING"), "PONG", "reject", "svid_refused: revoked"),
    Attempt("partner", "stock", "curl https as partner/orders", curl_as("partner-orders", f"https://{STOCK}"), "the stock", "allow"),
]
SPOKE = {  # (gateway, client, server, role): connections that both ends were verified of
    ("a", "shop/relay", "stock/relay", "originate"): 2,
    ("a", "shop/relay", "partner/nginx", "originate"): 1,
    ("b", "shop/relay", "stock/relay", "terminate"): 2,
    ("b", "partner/orders", "stock/relay", "terminate"): 2,
    ("b", "partner/sync", "stock/relay", "terminate"): 2,
}
PROOF = "  {:<1}  {:<37} {:<36} {:<11} {:<4} {:<23} {}"
FAILURE = "  {:<1}  {:<22} {}"


class Mtls:
    """`stage`: where all of it is made, and gone afterwards."""

    def __init__(self, stage):
        self._stage = stage
        HERE.mkdir()
        shutil.copytree(ROOT / "config" / "mtls", HERE / "config", copy_function=shutil.copyfile)
        self._between = stage.namespace("between")
        self._between.run("ip", "link", "add", "switch", "type", "bridge", "mcast_snooping", "0")
        self._between.set_sysctl("ipv6.conf.switch.disable_ipv6", 1)  # it has nothing to say
        self._between.run("ip", "link", "set", "switch", "up")
        self._workloads = {name: stage.namespace(name) for name in NUMBERS}
        self._a = self._site("a", "shop")
        self._b = self._site("b", "stock")
        self._plug("partner", self._workloads["partner"], "eth0", 3)
        for name, namespace in self._workloads.items():
            namespace.run("ip", "addr", "add", f"{address(name)}/16", "dev", "eth0")
            namespace.run("ip", "addr", "add", f"{address6(name)}/32", "dev", "eth0", "nodad")
        self._workloads["partner"].run("ip", "addr", "add", f"{IMPOSTOR}/16", "dev", "eth0")

    def _site(self, letter, workload):
        """A workload, a link, a gateway, and its link to the network between."""
        router, number = self._stage.router(f"gw-{letter}"), NUMBERS[workload]
        net.connect_veth(self._workloads[workload], "eth0", router, "site", f"02:00:00:14:{number:02x}:10", f"02:00:00:14:{number:02x}:01")
        self._plug(f"site-{letter}", router, "outside", number)
        return Gateway(self._stage, f"site {letter.upper()}'s gateway", router, HERE / "config" / f"site-{letter}.yaml", HERE / letter)

    def _plug(self, port, namespace, device, number):
        """Connects a device to the switch of the network between."""
        net.connect_veth(self._between, port, namespace, device, f"02:00:00:14:{number:02x}:fe", f"02:00:00:14:{number:02x}:02")
        self._between.set_sysctl(f"ipv6.conf.{port}.disable_ipv6", 1)
        self._between.run("ip", "link", "set", port, "master", "switch")

    def show(self):
        """Returns how many surprises."""
        self._mint()
        self._start()
        SCREEN.title("What is in clear at both sites is TLS between them")
        surprises = self._capture()
        SCREEN.title("Who may call whom, and as whom")
        SCREEN.say("  An attempt `as X` shows the SVID of X. shop/till is a good one, shown by addresses that aren't the shop's.")
        surprises += self._try(ATTEMPTS)
        surprises += self._revoke_under_a_live_connection()
        return surprises + self._show_proofs()

    # -- identities --

    def _svid(self, *words):
        """Runs `bulkhead svid` before the reader's eyes."""
        SCREEN.command("bulkhead", "svid", *words)
        return net.run(BULKHEAD, "svid", *words, cwd=HERE).stdout

    def _mint(self):
        SCREEN.title("A trust domain, and certificates for the gateways and the partner (X.509-SVIDs)")
        SCREEN.command("cd", HERE)
        self._svid("init", "--authority", "ca", "--trust-domain", DOMAIN)
        for path, out in (("shop/relay", "a/svid"), ("stock/relay", "b/svid"), ("partner/orders", "partner"), ("partner/sync", "partner"),
                          ("partner/nginx", "partner"), ("shop/till", "partner")):
            self._svid("mint", "--authority", "ca", "--id", ID + path, "--out", out)
        SCREEN.command("chown", f"{RELAY_USER}:", "a/svid/svids/*.key", "b/svid/svids/*.key", "   # whom their relays run as")
        owner = pwd.getpwnam(RELAY_USER)
        for gateway in ("a", "b"):
            for key in (HERE / gateway / "svid" / "svids").glob("*.key"):
                os.chown(key, owner.pw_uid, owner.pw_gid)

    # -- traffic --

    def _start(self):
        for gateway in (self._a, self._b):
            gateway.launch()
        stock, partner = self._workloads["stock"], self._workloads["partner"]
        start_redis(stock, HERE / "redis")
        start_http_server(stock, HERE / "http", "Hello from the stock.")
        start_nginx(partner, HERE / "nginx", mtls_server(address("partner"), "partner-nginx") + mtls_server(IMPOSTOR, "shop-till"), "")
        for namespace, port in ((stock, 6379), (stock, 8080), (partner, 8443)):
            self._stage.wait_listens(namespace, port)
        for gateway in (self._a, self._b):
            gateway.wait_in_force()
            self._stage.wait(lambda: "bulkhead_relay_up 1" in gateway.metrics(), 10, f"{gateway.name} has no relay")

    def _refusals(self):
        """What either gateway dropped, and what its relay refused."""
        counts = {}
        for gateway in (self._a, self._b):
            for reason, packets in gateway.drops().items():
                if reason != "tcp_no_state":  # what a client still sends on a connection that was reset
                    counts[reason] = counts.get(reason, 0) + packets
        for _, line in self._events("mtls_failed"):
            counts[why(line)] = counts.get(why(line), 0) + 1
        return counts

    def _try(self, attempts):
        return try_all(self._workloads, self._refusals, attempts)

    def _capture(self):
        shop, stock = (Link(self._workloads[name], "eth0") for name in ("shop", "stock"))
        with shop, stock, Link(self._between, "site-a") as between:
            surprises = self._try(MARKED)
            time.sleep(0.3)  # until the connections are closed
        frames = between.frames()
        write_pcap(CAPTURE, frames)
        tls = tls_in(CAPTURE, 6379)
        SCREEN.say(f"  between the sites: {len(frames)} packets, {sum(len(frame) for _, frame in frames)} bytes; "
                   f"{tls.in_records} of {tls.payload} bytes of TCP payload are TLS records:")
        SCREEN.say("    " + ", ".join(f"{count} {name}" for name, count in tls.records.items()) + "; agreed on: "
                   + ", ".join(f"TLS {version} ({cipher})" for version, cipher in sorted(tls.agreed)))
        surprises += SCREEN.judge("nothing but TLS 1.3 there",
                                  tls.in_records == tls.payload > 0 and {version for version, _ in tls.agreed} == {"1.3"})
        here, there, nowhere = (link.marked(MARK) for link in (shop, stock, between))
        return surprises + SCREEN.judge(f"packets with '{MARK}': {here} on the shop's link, {nowhere} between, {there} on the stock's link",
                                        here >= 2 and there >= 2 and nowhere == 0)

    # -- revocation --

    def _revoke_under_a_live_connection(self):
        SCREEN.title("A live connection: the partner keeps asking the stock as partner/sync")
        said = HERE / "client.txt"
        with open(said, "w") as out:
            client = self._workloads["partner"].popen(*redis_as("partner-sync", "-r", "-1", "-i", "0.02", "PING")[2:], stdout=out)
        self._stage.wait(lambda: said.read_text().count("PONG") > 10, 5, "the partner's redis-cli isn't answered")
        self._b.show("flows", "--segment", "partner", "--service", "tcp/6379")
        SCREEN.title("Its certificate is revoked")
        began = time.monotonic()
        for out in ("b/svid", "a/svid"):
            SCREEN.output(self._svid("revoke", "--authority", "ca", "--out", out, ID + "partner/sync"))
        self._stage.within(3, lambda: said.read_text().replace("PONG\n", "").strip())
        seconds = time.monotonic() - began
        os.killpg(client.pid, signal.SIGKILL)
        words = said.read_text().replace("PONG\n", "").split("\n")[0]
        SCREEN.say(f"  the client said: PONG ... {words}")
        cut = SCREEN.judge(f"the live connection ended {seconds:.2f} s after the command began", seconds < 1)
        return cut + self._try(AFTER_THE_REVOCATION)

    # -- proofs --

    def _show_proofs(self):
        """What the flow logs say of who spoke with whom. Returns how many surprises."""
        SCREEN.title("What the gateways' flow logs have of it")
        self._stage.within(5, lambda: sum(self._proofs().values()) >= sum(SPOKE.values()))
        proofs = self._proofs()
        SCREEN.head(PROOF.format("", "src_svid", "dst_svid", "relay_role", "tls", "cipher", "lines"))
        for proof, lines in proofs.items():
            SCREEN.say(PROOF.format(*proof, lines))
        SCREEN.say()
        SCREEN.head(FAILURE.format("", "refused because of", "detail"))
        for failure in dict.fromkeys((letter, line["reason"], line["detail"]) for letter, line in self._events("mtls_failed")):
            SCREEN.say(FAILURE.format(*failure))
        found = {(letter, client.removeprefix(ID), server.removeprefix(ID), role): lines
                 for (letter, client, server, role, *_), lines in proofs.items()}
        return SCREEN.judge("every connection that was allowed is there, with both ends' IDs, and no other", found == SPOKE)

    def _events(self, kind):
        return [(letter, line) for letter, gateway in (("a", self._a), ("b", self._b)) for line in gateway.events(kind)]

    def _proofs(self):
        """Who spoke with whom, and how: lines of the flow logs."""
        return collections.Counter((letter, line["src_svid"], line["dst_svid"], line["relay_role"], line["tls_version"], line["cipher"])
                                   for letter, line in self._events("mtls"))

    def hints(self):
        return (
            f"ip netns exec {PREFIX}shop redis-cli -h {address('stock')} GET password       in clear, as far as it can tell",
            f"cd {PARTNER}/svids && ip netns exec {PREFIX}partner "
            f"curl -k --cert partner-orders.pem --key partner-orders.key https://{STOCK}",
            f"tshark -r {CAPTURE} -d tcp.port==6379,tls       what was captured between the sites",
            f"bulkhead svid show {PARTNER}       the certificates that the partner has",
            f"bulkhead flows --socket {self._b.socket}",
            f"tail -f {self._b.flow_log}")


def why(failure):
    """The reason of a flow log's line; where it is the certificate itself, also what is wrong with that."""
    return failure["reason"] + (f": {failure['detail']}" if failure["reason"] == "svid_refused" else "")


def mtls_server(host, name):
    """nginx's `server` that wants a certificate of the trust domain, and has an SVID itself."""
    return f"""
  server {{
    listen {host}:8443 ssl;
    ssl_protocols TLSv1.3;
    ssl_certificate {PARTNER}/svids/{name}.pem;
    ssl_certificate_key {PARTNER}/svids/{name}.key;
    ssl_client_certificate {PARTNER}/bundles/{DOMAIN}.pem;
    ssl_verify_client on;
    location / {{ return 200 "Your certificate: $ssl_client_verify\\n"; }}
  }}"""
