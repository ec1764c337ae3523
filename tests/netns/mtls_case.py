"""What the tests of `mtls: relay` through two gateways have in common."""
import contextlib
import json

from harness import EndToEnd
from mtls_site import MtlsGateway, MtlsSite
from tls_wire import not_tls, streams
from traffic import Capture


class Links:
    """Captures on every link, both directions. A context manager; what they saw is read after it."""

    def __init__(self, site):
        self._between = [Capture(site.mid, "toa"), Capture(site.mid, "tob")]
        self._outer = {name: [Capture(getattr(site, name), leaving=leaving) for leaving in (False, True)] for name in ("web", "db")}

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for capture in (*self._between, *self._outer["web"], *self._outer["db"]):
                stack.enter_context(capture)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def between(self, sender=None):
        """(time, frame) of the uncontrolled link, or of what gateway a or b sent there."""
        chosen = [self._between["ab".index(sender)]] if sender else self._between
        return [frame for capture in chosen for frame in capture.frames()]

    def outer(self, name):
        return [frame for capture in self._outer[name] for frame in capture.frames()]


class TwoGateways(EndToEnd):
    """A site with both gateways; conservation is asserted of both after every test."""

    mode = "wire"
    policy = None

    @classmethod
    def setUpClass(cls):
        cls.place = MtlsSite(cls.mode)
        cls.addClassCleanup(cls.place.close)
        cls.a, cls.b = (MtlsGateway(half, cls.policy) for half in (cls.place.a, cls.place.b))
        cls.start_servers()
        for gateway in (cls.a, cls.b):
            gateway.start()

    @classmethod
    def start_servers(cls):
        """What db runs."""

    def setUp(self):
        for gateway in (self.a, self.b):
            self.addCleanup(self.assert_conserved, gateway)

    def assert_conserved(self, gateway):
        super().assert_conserved(gateway)
        relay = next(port for port in gateway.status()["ports"] if port["name"] == "relay")
        self.assertGreater(int(relay["rx_packets"]), 0, "the law doesn't count the relay's port")

    def assert_private(self, links, mark, least=1):
        """On the link between nothing but TLS, in `least` connections at least; in clear on both outer ones."""
        self.assert_no_clear(links, mark, least)
        for name in ("web", "db"):
            self.assertTrue(any(mark in frame for _, frame in links.outer(name)), f"not in clear at {name}")

    def assert_no_clear(self, links, mark, least=0):
        frames = links.between()
        self.assertEqual([frame for _, frame in frames if mark in frame], [])
        carried = [(ends, content) for ends, content in streams(frames) if content]
        self.assertEqual([(ends, wrong) for ends, content in carried if (wrong := not_tls(content))], [])
        self.assertGreaterEqual(len(carried), 2 * least, "both directions of each connection")

    def logged(self, gateway, event, **fields):
        """The flow log's lines of a kind with these fields, once there are some."""
        def those():
            lines = [line for line in map(json.loads, gateway.flow_log.read_text().splitlines()) if line["event"] == event]
            return [line for line in lines if all(line.get(name) == value for name, value in fields.items())]
        self.assert_within(5, those, lambda: f"no {event} with {fields} in {gateway.flow_log.read_text()[-4000:]}")
        return those()

    def metric(self, gateway, name):
        """A metric without labels."""
        text = gateway.site.gateway_ns.run("curl", "-s", "http://127.0.0.1:9464/metrics").stdout
        return next(int(line.split()[1]) for line in text.splitlines() if line.split()[0] == name)
