"""Two gateways in a row, with an uncontrolled network between them: what policy says is mTLS is plain on both outer links only.

    web - gateway a - mid - gateway b - db
"""
import contextlib
import os
import pathlib
import pwd
import shutil
import tempfile

import net
import svids
from harness import DB, WEB, Gateway, Workload
from vlan import VlanInterface

RELAY_USER = "daemon"
MID = Workload("mid", 7)  # the link between the gateways
TAGGED = 20               # a VLAN that both links carry in wire mode

SEGMENTS = f"""
    segments:
      web: {{tag: 100, members: {WEB.prefixes}, spiffe: ["spiffe://corp.example/web/*"], relay_id: "spiffe://corp.example/web/relay"}}
      db: {{tag: 200, members: {DB.prefixes}, spiffe: ["spiffe://corp.example/db/*"], relay_id: "spiffe://corp.example/db/relay"}}
"""


class Half:
    """One gateway's part of the site, as Gateway wants a site. `number`: its host part on the link between, in route mode."""

    def __init__(self, whole, name, number, outer, device):
        self.name, self.mode, self.device, self.outer = name, whole.mode, device, outer
        self.far_outer = DB if outer is WEB else WEB
        self.mid_mac = f"02:00:00:00:{MID.number:02x}:{number:02x}"
        self.mid_addresses = f"10.{MID.number}.0.{number}", f"fd00:{MID.number}::{number}"
        self._outside = {outer.name: (getattr(whole, outer.name), "eth0"), MID.name: (whole.mid, f"to{name}")}
        self.directory = whole.directory / name
        self.directory.mkdir()
        os.chmod(self.directory, 0o755)
        self.gateway_ns = whole.namespace(f"gw{name}")
        for key in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            self.gateway_ns.set_sysctl(key, 1)
        self.workloads = (outer, MID)
        self.callback = whole.callback
        user = pwd.getpwnam(RELAY_USER)
        self.svids = svids.SvidDirectory(self.directory / "svid", user.pw_uid)
        self.svid_source = f"directory: {self.svids.path}"

    def far_end(self, port):
        """(namespace, device) at the other end of a port's link; None: the relay's."""
        return self._outside.get(port)


class MtlsGateway(Gateway):
    """Its outer port leads to workloads, the other one to no man's land."""

    def __init__(self, half, policy):
        super().__init__(half, policy, name=half.name)
        self.write_policy("segments.yaml", SEGMENTS)

    def config_text(self, **changes):
        text = super().config_text(**changes) + f"svid: {{{self.site.svid_source}, user: {RELAY_USER}}}\n"
        if self.site.mode == "wire":
            return text.replace("[[web, db]]", f"[[{self.site.outer.name}, mid]]")
        far, via = self.site.far_outer, self.site.peer.mid_addresses
        return text.replace("policy: policy/\n", f'  routes: [{{to: 10.{far.number}.0.0/24, via: {via[0]}}}, '
                            f'{{to: "fd00:{far.number}::/64", via: "{via[1]}"}}]\npolicy: policy/\n')

    def _port(self, workload):
        vlans = f"\n  vlans: [{TAGGED}]" if self.site.mode == "wire" else ""
        if workload is self.site.outer:
            return super()._port(workload) + vlans
        port = f'- name: mid\n  device: "{self.site.device}:{workload.device}"\n  link: uncontrolled' + vlans
        if self.site.mode == "route":
            v4, v6 = self.site.mid_addresses
            port += f'\n  mac: "{self.site.mid_mac}"\n  addresses: [{v4}/24, "{v6}/64"]'
        return port


class MtlsSite:
    """`mode`: wire (web and db in one subnet) or route (each in its own, the link between in a third)."""

    def __init__(self, mode="wire", device="af_xdp"):
        self.mode = mode
        self._stack = contextlib.ExitStack()
        self._prefix = net.next_prefix()
        try:
            self.directory = pathlib.Path(tempfile.mkdtemp(prefix=self._prefix))
            self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
            os.chmod(self.directory, 0o755)
            self.web, self.db, self.mid = (self.namespace(name) for name in ("web", "db", "mid"))
            self.a, self.b = Half(self, "a", 1, WEB, device), Half(self, "b", 2, DB, device)
            self.a.peer, self.b.peer = self.b, self.a
            # A switch between them, where all that is on the uncontrolled network can be seen.
            self.mid.run("ip", "link", "add", "switch", "type", "bridge")
            for half in (self.a, self.b):
                self._link_workload(half)
                self._link_mid(half)
            self.mid.run("ip", "link", "set", "switch", "up")
            for half in (self.a, self.b):
                self._lead_around(half)
            self.authority = svids.Authority(self.directory / "ca")
            for half, name in ((self.a, "web"), (self.b, "db")):
                half.svids.trust(self.authority)
                half.svids.add(name, self.authority.mint(name, f"{name}/relay"))
        except BaseException:
            self.close()
            raise

    def _link_workload(self, half):
        workload = half.outer
        namespace = getattr(self, workload.name)
        net.connect_veth(namespace, "eth0", half.gateway_ns, workload.device, workload.mac, workload.gateway_mac)
        bits, bits6 = (8, 16) if self.mode == "wire" else (24, 64)
        namespace.run("ip", "addr", "add", f"{workload.address}/{bits}", "dev", "eth0")
        namespace.run("ip", "addr", "add", f"{workload.address6}/{bits6}", "dev", "eth0", "nodad")
        if self.mode == "route":
            namespace.run("ip", "route", "add", "default", "via", workload.gateway_address)
            namespace.run("ip", "-6", "route", "add", "default", "via", workload.gateway_address6)

    def _link_mid(self, half):
        device = f"to{half.name}"
        net.connect_veth(self.mid, device, half.gateway_ns, MID.device, f"{MID.mac[:-2]}{half.mid_mac[-2:]}".replace("02:", "06:", 1), half.mid_mac)
        self.mid.run("ip", "link", "set", device, "master", "switch")

    def _lead_around(self, half):
        """In route mode the gateways' kernels would carry everything, in clear, but for the gateways."""
        if self.mode != "route":
            return
        own, far, gateway_ns = half.outer, half.far_outer, half.gateway_ns
        for address, device in ((f"{own.gateway_address}/24", own.device), (f"{own.gateway_address6}/64", own.device),
                                (f"{half.mid_addresses[0]}/24", MID.device), (f"{half.mid_addresses[1]}/64", MID.device)):
            gateway_ns.run("ip", "addr", "add", address, "dev", device, *(["nodad"] if ":" in address else []))
        for address in (own.address, own.address6):
            gateway_ns.run("ip", "neigh", "replace", address, "lladdr", own.mac, "dev", own.device, "nud", "permanent")
        for via, prefix in zip(half.peer.mid_addresses, (f"10.{far.number}.0.0/24", f"fd00:{far.number}::/64")):
            gateway_ns.run("ip", "neigh", "replace", via, "lladdr", half.peer.mid_mac, "dev", MID.device, "nud", "permanent")
            gateway_ns.run("ip", "route", "add", prefix, "via", via)

    @contextlib.contextmanager
    def tagged(self):
        """A context in which web and db have a second address each, on a VLAN, by which they reach each other; db's."""
        ends = ((self.web, WEB, DB), (self.db, DB, WEB))
        with contextlib.ExitStack() as stack:
            for namespace, workload, far in ends:
                stack.enter_context(VlanInterface(namespace, "tagged", "eth0", TAGGED))
                namespace.run("ip", "link", "set", "tagged", "address", workload.mac, "up")
                namespace.run("ip", "addr", "add", f"10.{workload.number}.0.77/32", "dev", "tagged")
                namespace.run("ip", "route", "add", f"10.{far.number}.0.77/32", "dev", "tagged", "src", f"10.{workload.number}.0.77")
            yield f"10.{DB.number}.0.77"

    def namespace(self, name):
        namespace = net.Namespace(self._prefix + name)
        self._stack.callback(namespace.close)
        return namespace

    def callback(self, function, *args):
        self._stack.callback(function, *args)

    def close(self):
        self._stack.close()
