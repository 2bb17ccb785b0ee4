"""The probe against resolvers on loopback, whose answers dnspython makes."""

import shutil
import socketserver
import ssl
import subprocess
import threading
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from gate_appliance import illegal_filter
from gate_appliance.illegal_filter import look, replies, with_asked
from gate_core.config import IllegalFilterConfig
from gate_core.desk import Component
from gate_core.upstreams import parse_upstream

NAME = "filter-test.example"


class Resolver:
    """Answers every A query with ``addresses`` or ``rcode``; over UDP cut short where told so."""

    def __init__(self, addresses=(), rcode=dns.rcode.NOERROR, truncates=False, answers=True):
        self.addresses, self.rcode = addresses, rcode
        self.truncates, self.answers = truncates, answers
        self.asked = []

    def respond(self, octets, datagram):
        query = dns.message.from_wire(octets)
        name = query.question[0].name
        self.asked.append(name.to_text())
        response = dns.message.make_response(query)
        response.set_rcode(self.rcode)
        if datagram and self.truncates:
            response.flags |= dns.flags.TC
        else:
            alias = "page.filter.example."
            response.answer = [
                dns.rrset.from_text(name, 60, "IN", "CNAME", alias),
                dns.rrset.from_text(alias, 60, "IN", "A", *self.addresses),
            ] if self.addresses else []  # fmt: skip
        return response.to_wire()


def stream_of(resolver):
    class Stream(socketserver.StreamRequestHandler):
        def handle(self):
            octets = self.rfile.read(int.from_bytes(self.rfile.read(2), "big"))
            response = resolver.respond(octets, datagram=False)
            self.wfile.write(len(response).to_bytes(2, "big") + response)

    return Stream


@contextmanager
def serving(resolver):
    class Datagram(socketserver.BaseRequestHandler):
        def handle(self):
            octets, sock = self.request
            response = resolver.respond(octets, datagram=True)
            if resolver.answers:
                sock.sendto(response, self.client_address)

    # A port that was free for a datagram may still belong to a connection that has ended.
    with socketserver.TCPServer(("127.0.0.1", 0), stream_of(resolver)) as tcp:
        where = tcp.server_address
        with socketserver.UDPServer(where, Datagram) as udp:
            for server in (udp, tcp):
                threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            try:
                yield f"127.0.0.1:{where[1]}"
            finally:
                udp.shutdown()
                tcp.shutdown()


def probe(*upstreams, answers=("nxdomain",), names=(NAME,), forwarded=()):
    config = IllegalFilterConfig(resolvers=upstreams, names=names, answers=answers)
    asked = tuple(map(parse_upstream, forwarded or upstreams))
    return with_asked(look(config, ""), config, asked)


@pytest.mark.parametrize(
    ("resolver", "answers"),
    [
        (Resolver(rcode=dns.rcode.NXDOMAIN), ("nxdomain",)),
        (Resolver(), ("nxdomain", "nodata")),
        (Resolver(rcode=dns.rcode.REFUSED), ("refused",)),
        (Resolver(["192.0.2.80", "192.0.2.81"]), ("192.0.2.80", "192.0.2.81")),
        (Resolver(["192.0.2.80"], truncates=True), ("192.0.2.80",)),
    ],
)
def test_look_of_a_filter_is_ok(resolver, answers):
    with serving(resolver) as upstream:
        assert probe(upstream, answers=answers).state == "ok"
    assert set(resolver.asked) == {f"{NAME}."}


@pytest.mark.parametrize(
    ("resolver", "said"),
    [
        (Resolver(["198.51.100.7"]), "198.51.100.7"),
        (Resolver(["192.0.2.80", "198.51.100.7"]), "198.51.100.7"),
        (Resolver(rcode=dns.rcode.NXDOMAIN), "nxdomain"),
        (Resolver(rcode=dns.rcode.SERVFAIL), "SERVFAIL"),
        (Resolver(), "nodata"),
    ],
)
def test_look_says_what_an_unfiltered_name_gets(resolver, said):
    with serving(resolver) as upstream:
        found = probe(upstream, answers=("192.0.2.80",))
    assert found.state == "down"
    assert said in found.detail
    assert NAME in found.detail


def test_look_asks_every_resolver_for_every_name():
    filters, does_not = Resolver(rcode=dns.rcode.NXDOMAIN), Resolver(["198.51.100.7"])
    names = (NAME, "other-test.example")
    with serving(filters) as first, serving(does_not) as second:
        assert probe(first, names=names).state == "ok"
        assert set(filters.asked) == {f"{name}." for name in names}
        found = probe(first, second)
    assert (found.state, second in found.detail) == ("down", True)


def test_look_of_a_resolver_that_is_away(monkeypatch):
    monkeypatch.setattr(illegal_filter, "_TIMEOUT_S", 0.05)
    silent = Resolver(answers=False)
    with serving(silent) as upstream:
        found = probe(upstream)
    assert (found.state, upstream in found.detail) == ("degraded", True)
    # A lost datagram alone would not be told.
    assert len(silent.asked) == 2
    # Nothing listens there any more.
    assert probe(upstream).state == "degraded"


def test_replies_whatever_a_resolver_says(monkeypatch):
    monkeypatch.setattr(illegal_filter, "_TIMEOUT_S", 0.05)
    for resolver, says in (
        (Resolver(), True),
        (Resolver(rcode=dns.rcode.REFUSED), True),
        (Resolver(answers=False), False),
    ):
        with serving(resolver) as upstream:
            assert replies(parse_upstream(upstream), "") is says


def test_look_tells_of_resolvers_that_filter_nothing():
    with serving(Resolver(rcode=dns.rcode.NXDOMAIN)) as upstream:
        found = probe(upstream, forwarded=(upstream, "192.0.2.53"))
        assert (found.state, "192.0.2.53" in found.detail) == ("degraded", True)
        assert "also looked up at 192.0.2.53," in found.detail
        assert "dns.upstreams" not in found.detail
        found = probe(upstream, forwarded=("192.0.2.53",))
        assert (found.state, "are looked up at 192.0.2.53," in found.detail) == ("degraded", True)


def test_filter_that_nobody_is_known_to_ask_is_not_ok():
    config = IllegalFilterConfig(("192.0.2.53",), (NAME,))
    tested = Component(illegal_filter.NAME, "ok", "")
    assert with_asked(tested, config, ()).state == "degraded"
    assert with_asked(tested, config, [parse_upstream("192.0.2.53")]) == tested
    # What is worse is said first.
    down = Component(illegal_filter.NAME, "down", "")
    assert with_asked(down, config, [parse_upstream("192.0.2.54")]) == down


def test_look_without_a_filter_says_what_to_do():
    found = look(IllegalFilterConfig(), "")
    assert found.state == "off"
    assert "internet provider" in found.detail
    assert "docs/watching.md" in found.detail
    # It is read by people who know no configuration.
    assert "illegal_filter" not in found.detail


def test_look_over_tls_knows_the_resolver_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(illegal_filter, "_TIMEOUT_S", 2.0)
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=dns.example",
         "-addext", "subjectAltName=DNS:dns.example"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    resolver = Resolver(rcode=dns.rcode.NXDOMAIN)

    class Server(socketserver.TCPServer):
        def get_request(self):
            # A client that does not know the certificate leaves: an OSError, after which the server goes on.
            stream, address = super().get_request()
            return context.wrap_socket(stream, server_side=True), address

    with Server(("127.0.0.1", 0), stream_of(resolver)) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        where = f"tls://127.0.0.1:{server.server_address[1]}"
        states = {}
        for name in ("dns.example", "other.example"):
            config = IllegalFilterConfig((f"{where}#{name}",), (NAME,))
            states[name] = look(config, str(tmp_path / "cert.pem")).state
        states["unknown"] = look(IllegalFilterConfig((f"{where}#dns.example",), (NAME,)), "").state  # fmt: skip
        server.shutdown()
    assert states == {"dns.example": "ok", "other.example": "degraded", "unknown": "degraded"}
