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
from harness import DB, UNPRIVILEGED, WEB, Gateway, Workload

RELAY_USER = "daemon"
MID = Workload("mid", 7)  # the link between the gateways

SEGMENTS = f"""
    segments:
      web: {{tag: 100, members: {WEB.prefixes}, spiffe: ["spiffe://corp.example/web/*"], relay_id: "spiffe://corp.example/web/relay"}}
      db: {{tag: 200, members: {DB.prefixes}, spiffe: ["spiffe://corp.example/db/*"], relay_id: "spiffe://corp.example/db/relay"}}
"""


class Half:
    """One gateway's part of the site, as Gateway wants a site."""

    def __init__(self, whole, name, outer, device):
        self.name, self.mode, self.device, self.outer = name, whole.mode, device, outer
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


class MtlsGateway(Gateway):
    """Its outer port leads to workloads, the other one to no man's land."""

    def __init__(self, half, policy, metrics):
        super().__init__(half, policy, name=half.name, metrics=metrics)
        self.write_policy("segments.yaml", SEGMENTS)

    def config_text(self, **changes):
        return super().config_text(**changes).replace("[[web, db]]", f"[[{self.site.outer.name}, mid]]") + \
            f"svid: {{{self.site.svid_source}, user: {RELAY_USER}}}\n"

    def _port(self, workload):
        if workload is self.site.outer:
            return super()._port(workload)
        return f'- name: mid\n  device: "{self.site.device}:{workload.device}"\n  link: uncontrolled'


class MtlsSite:
    """`mode`: wire, for now."""

    def __init__(self, mode="wire", device="af_xdp"):
        self.mode = mode
        self._stack = contextlib.ExitStack()
        self._prefix = net.next_prefix()
        try:
            self.directory = pathlib.Path(tempfile.mkdtemp(prefix=self._prefix))
            self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
            os.chmod(self.directory, 0o755)
            self.web, self.db = self.namespace("web"), self.namespace("db")
            self.a, self.b = Half(self, "a", WEB, device), Half(self, "b", DB, device)
            for workload, half in ((WEB, self.a), (DB, self.b)):
                namespace = getattr(self, workload.name)
                net.connect_veth(namespace, "eth0", half.gateway_ns, workload.device, workload.mac, workload.gateway_mac)
                namespace.run("ip", "addr", "add", f"{workload.address}/8", "dev", "eth0")
                namespace.run("ip", "addr", "add", f"{workload.address6}/16", "dev", "eth0", "nodad")
            # A switch between them, where all that is on the uncontrolled network can be seen.
            self.mid = self.namespace("mid")
            self.mid.run("ip", "link", "add", "switch", "type", "bridge")
            for half in (self.a, self.b):
                net.connect_veth(self.mid, f"to{half.name}", half.gateway_ns, MID.device, MID.mac, MID.gateway_mac)
                self.mid.run("ip", "link", "set", f"to{half.name}", "master", "switch")
            self.mid.run("ip", "link", "set", "switch", "up")
            self.authority = svids.Authority(self.directory / "ca")
            for half, name in ((self.a, "web"), (self.b, "db")):
                half.svids.trust(self.authority)
                half.svids.add(name, self.authority.mint(name, f"{name}/relay"))
        except BaseException:
            self.close()
            raise

    def namespace(self, name):
        namespace = net.Namespace(self._prefix + name)
        self._stack.callback(namespace.close)
        return namespace

    def callback(self, function, *args):
        self._stack.callback(function, *args)

    def close(self):
        self._stack.close()
