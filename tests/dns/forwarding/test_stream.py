from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
import threading
import time
from collections import Counter
from ipaddress import ip_address

import dns.edns
import dns.message
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gate_core.upstreams import Upstream
from gate_dns.forwarding.exchange import MAX_STRAYS
from gate_dns.forwarding.flight import Flight
from gate_dns.forwarding.stream import (
    FIRST_PAUSE_S,
    IDLE_S,
    LONGEST_PAUSE_S,
    Stream,
    pad,
    tls_context,
)
from gate_dns.forwarding.upstream import DEADLINE_S, Failure, Forwarder
from gate_dns.messages.answer import Answer
from gate_dns.messages.codes import Ede
from gate_dns.messages.wire import parse_query, render_frame, take_message
from gate_dns.poll import Poll

NAME = "dns.example"


def name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Return the directory of an authority (ca.pem), and of what it signed: good, expired, other; and stranger."""
    place = tmp_path_factory.mktemp("certificates")
    now = dt.datetime.fromtimestamp(time.time(), dt.UTC)  # TLS looks at the real clock

    def make(who, issuer, issuer_key, end, *, authority=False) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        signer = issuer_key or key
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name_of(who))
            .issuer_name(name_of(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=9))
            .not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(who)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .sign(signer, hashes.SHA256())
        )
        return key, certificate.public_bytes(serialization.Encoding.PEM)

    def store(file, key, certificate) -> None:
        octets = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (place / file).write_bytes(octets + certificate)

    later, earlier = now + dt.timedelta(days=9), now - dt.timedelta(days=1)
    ca_key, ca = make("authority", "authority", None, later, authority=True)
    (place / "ca.pem").write_bytes(ca)
    for file, who, end in (
        ("good", NAME, later),
        ("expired", NAME, earlier),
        ("other", "other.example", later),
    ):
        store(file, *make(who, "authority", ca_key, end))
    store("stranger", *make(NAME, NAME, None, later))
    return place


class Peer:
    """A server whose manner is a function of each accepted connection."""

    def __init__(self, manner, certificate=None) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.upstream = Upstream(
            ip_address("127.0.0.1"), self.listening.getsockname()[1], NAME if certificate else ""
        )
        self.connections = 0
        self._manner = manner
        self._tls = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self.listening.accept()
            if self.listening.fileno() < 0 or self.connections < 0:
                connection.close()
                return
            self.connections += 1
            connection.settimeout(5)
            with contextlib.suppress(OSError), connection:
                if self._tls:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                with connection:
                    self._manner(connection, self.connections)

    def close(self) -> None:
        self.connections = -1
        with contextlib.suppress(OSError):
            socket.create_connection(self.listening.getsockname()).close()
        self._thread.join(5)
        self.listening.close()


def take(connection) -> bytes:
    received = bytearray()
    while (message := take_message(received)) is None:
        octets = connection.recv(1)
        if not octets:
            raise ConnectionResetError
        received += octets
    return message


def answer_to(message: bytes) -> bytes:
    return dns.message.make_response(dns.message.from_wire(message)).to_wire()


def answering(connection, _number) -> None:
    while True:
        connection.sendall(render_frame(answer_to(take(connection))))


class Asking:
    """A stream with time that stands still, and what it told of its questions (``Answers``)."""

    def __init__(self, upstream, tls=None) -> None:
        self.time = 1000.0
        self.poll = Poll()
        self.faults = Counter()
        self.answers: list[tuple[Flight, bytes]] = []
        self.failures: list[tuple[Flight, OSError]] = []
        self.stream = Stream(self.poll, upstream, tls, self, self.faults, lambda: self.time)

    def received(self, flight, message) -> None:
        flight.carrier.drop(flight)
        self.answers.append((flight, message))

    def failed(self, flight, fault) -> None:
        assert flight.carrier is None
        self.failures.append((flight, fault))

    def doubtful(self, flight) -> None:
        raise AssertionError(flight)

    def ask(self, name="allowed.example", **options) -> Flight:
        query = parse_query(dns.message.make_query(name, "A", **options).to_wire())
        flight = Flight(query, b"", None, (), "")
        self.stream.send(flight)
        return flight

    def until(self, condition) -> None:
        for _ in range(500):
            if condition():
                return
            self.poll.wait(0.02)
        raise AssertionError("nothing happened in time")

    def close(self) -> None:
        self.stream.close()
        self.poll.close()


@pytest.fixture
def start():
    """Start a peer of a manner, and ask it."""
    with contextlib.ExitStack() as stack:

        def starting(manner, certificate=None, authorities="") -> tuple[Peer, Asking]:
            peer = Peer(manner, certificate)
            stack.callback(peer.close)
            tls = tls_context(str(authorities)) if certificate else None
            asking = Asking(peer.upstream, tls)
            stack.callback(asking.close)
            return peer, asking

        yield starting


def names(pairs) -> list[str]:
    return [flight.query.qname for flight, _ in pairs]


def test_send_keeps_one_connection_for_all_questions(start):
    peer, asking = start(answering)
    asking.ask("one.example")
    asking.until(lambda: asking.answers)
    flights = [asking.ask(f"n{number}.example") for number in range(50)]
    asking.until(lambda: len(asking.answers) == 51)
    assert peer.connections == 1
    assert len({flight.sent[:2] for flight in flights}) == 50
    assert all(message[:2] == flight.sent[:2] for flight, message in asking.answers)


def test_send_takes_answers_in_any_order_and_in_pieces(start):
    def backwards(connection, _number) -> None:
        messages = [take(connection) for _ in range(3)]
        for octet in b"".join(render_frame(answer_to(m)) for m in reversed(messages)):
            connection.sendall(bytes((octet,)))
        connection.recv(1)

    _, asking = start(backwards)
    for name in ("one.example", "two.example", "three.example"):
        asking.ask(name)
    asking.until(lambda: len(asking.answers) == 3)
    assert names(asking.answers) == ["three.example", "two.example", "one.example"]
    assert not asking.failures


def test_send_asks_again_where_a_kept_connection_was_closed(start):
    def once(connection, _number) -> None:
        connection.sendall(render_frame(answer_to(take(connection))))

    peer, asking = start(once)
    for number in range(4):
        asking.ask(f"n{number}.example")
    asking.until(lambda: len(asking.answers) == 4)
    assert peer.connections == 4
    assert not asking.failures


@pytest.mark.parametrize("said", [b"", b"\0", render_frame(b"answer" * 9)[:-1]])
def test_send_fails_where_the_upstream_ends_a_first_connection_early(start, said):
    def cutting(connection, _number) -> None:
        take(connection)
        connection.sendall(said)

    peer, asking = start(cutting)
    asking.ask()
    asking.until(lambda: asking.failures)
    assert isinstance(asking.failures[0][1], ConnectionError)
    assert peer.connections == 1
    assert asking.stream.connection is None


def test_send_pauses_ever_longer_after_a_connection_without_an_answer(start):
    peer, asking = start(lambda connection, _: None)
    pause_s = FIRST_PAUSE_S
    for number in range(1, 9):
        asking.ask()
        asking.until(lambda n=number: len(asking.failures) == n)
        with pytest.raises(ConnectionError):
            asking.ask()
        asking.time += pause_s
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
    assert peer.connections == 8


def test_send_ignores_what_was_not_asked_and_changes_the_connection_for_much_of_it(start):
    def chattering(connection, _number) -> None:
        message = take(connection)
        forged = bytes((message[0] ^ 1,)) + message[1:]
        other = dns.message.make_query("other.example", "A", id=int.from_bytes(message[:2], "big"))
        for wrong in (forged, other.to_wire()):
            connection.sendall(render_frame(answer_to(wrong)))
        connection.sendall(render_frame(answer_to(message)))
        take(connection)
        for _ in range(MAX_STRAYS):
            connection.sendall(render_frame(answer_to(forged)))
        connection.recv(1)

    peer, asking = start(chattering)
    asking.ask("one.example")
    asking.until(lambda: asking.answers)
    assert asking.faults == {"upstream-message": 2}
    asking.ask("two.example")
    asking.until(lambda: len(asking.answers) == 2)
    assert peer.connections == 2
    assert asking.faults["upstream-message"] > MAX_STRAYS
    assert not asking.failures


def test_send_fails_where_nobody_listens(start):
    peer, asking = start(answering)
    peer.close()
    asking.ask()
    asking.until(lambda: asking.failures)
    assert isinstance(asking.failures[0][1], ConnectionRefusedError)


def test_expire_closes_what_is_idle(start):
    _, asking = start(answering)
    asking.ask()
    asking.until(lambda: asking.answers)
    asking.stream.expire()
    assert asking.stream.connection
    asking.time += IDLE_S
    asking.stream.expire()
    assert asking.stream.connection is None
    asking.ask()
    asking.until(lambda: len(asking.answers) == 2)


def test_silent_changes_a_connection_that_has_gone_dead(start):
    def dying(connection, number) -> None:
        connection.sendall(render_frame(answer_to(take(connection))))
        while number == 1:
            take(connection)
        answering(connection, number)

    peer, asking = start(dying)
    asking.ask("one.example")
    asking.until(lambda: asking.answers)
    asking.stream.silent(asking.time)
    assert asking.stream.connection
    asking.time += 2
    lost = asking.ask("lost.example")
    asking.ask("next.example")
    lost.carrier.drop(lost)
    asking.stream.silent(asking.time)
    # Its other questions go on by a new one.
    asking.until(lambda: len(asking.answers) == 2)
    assert names(asking.answers) == ["one.example", "next.example"]
    # Nobody accepts it before the first is closed, which it is.
    assert peer.connections == 2


def test_a_forwarder_goes_on_where_a_certificate_is_refused(start, certificates, start_upstream):
    peer, asking = start(answering, certificates / "other", certificates / "ca.pem")
    second = start_upstream()
    clear = Upstream(ip_address(second.address), second.port)
    tls = tls_context(str(certificates / "ca.pem"))
    forwarder = Forwarder((peer.upstream, clear), asking.poll, lambda: 1000.0, tls=tls)
    named = []
    query = parse_query(dns.message.make_query("allowed.example", "A").to_wire())
    forwarder.ask(query, lambda _, name: named.append(name))
    asking.until(lambda: forwarder.flush() or named)
    assert named == [str(clear)]
    assert forwarder.faults == {"upstream-certificate": 1}
    health, _ = forwarder.health()
    assert health.shunned
    assert health.fault.startswith("its certificate is refused: Hostname mismatch")
    forwarder.close()


def test_a_forwarder_changes_a_connection_over_tls_that_has_gone_dead(start, certificates):
    def dying(connection, number) -> None:
        connection.sendall(render_frame(answer_to(take(connection))))
        while number == 1:
            take(connection)
        answering(connection, number)

    peer, asking = start(dying, certificates / "good", certificates / "ca.pem")
    tls = tls_context(str(certificates / "ca.pem"))
    clock = [1000.0]
    forwarder = Forwarder((peer.upstream,), asking.poll, lambda: clock[0], tls=tls)
    outcomes = []

    def ask(name) -> None:
        query = parse_query(dns.message.make_query(name, "A").to_wire())
        forwarder.ask(query, lambda outcome, _: outcomes.append(outcome))

    ask("one.example")
    asking.until(lambda: outcomes)
    clock[0] += 1
    ask("lost.example")
    clock[0] += DEADLINE_S
    forwarder.expire()
    assert outcomes[1] == Failure(Ede.NO_REACHABLE_AUTHORITY)
    ask("next.example")
    asking.until(lambda: len(outcomes) == 3)
    assert isinstance(outcomes[2], Answer)
    assert peer.connections == 2
    forwarder.close()


def test_drop_leaves_a_late_answer_to_nobody(start):
    let_go = threading.Event()

    def late(connection, _number) -> None:
        message = take(connection)
        let_go.wait(5)
        connection.sendall(render_frame(answer_to(message)))
        answering(connection, _number)

    _, asking = start(late)
    flight = asking.ask("late.example")
    asking.until(lambda: not asking.stream.connection._unsent)
    flight.carrier.drop(flight)
    let_go.set()
    asking.ask("next.example")
    asking.until(lambda: asking.answers)
    assert names(asking.answers) == ["next.example"]
    assert asking.faults == {"upstream-message": 1}


def test_tls_asks_over_one_connection_with_padded_questions(start, certificates):
    seen = []

    def noting(connection, _number) -> None:
        while True:
            message = take(connection)
            seen.append(message)
            connection.sendall(render_frame(answer_to(message)))

    peer, asking = start(noting, certificates / "good", certificates / "ca.pem")
    for name in ("a.example", "a-longer-name.example"):
        asking.ask(name)
        asking.ask(name, use_edns=0, want_dnssec=True)
    asking.until(lambda: len(asking.answers) == 4)
    assert peer.connections == 1
    assert {len(message) for message in seen} == {128}
    assert all(dns.message.from_wire(message).edns == 0 for message in seen)


@pytest.mark.parametrize(
    ("certificate", "said"),
    [
        ("expired", "certificate has expired"),
        ("other", "Hostname mismatch"),
        ("stranger", "self-signed certificate"),
    ],
)
def test_tls_refuses_a_certificate_that_is_not_the_upstreams(
    start, certificates, certificate, said
):
    seen = []

    def noting(connection, _number) -> None:
        seen.append(connection.recv(1))

    _, asking = start(noting, certificates / certificate, certificates / "ca.pem")
    asking.ask()
    asking.until(lambda: asking.failures)
    fault = asking.failures[0][1]
    assert isinstance(fault, ssl.SSLCertVerificationError)
    assert said in fault.verify_message
    assert not any(seen)


def test_tls_fails_where_the_upstream_speaks_none(start, certificates):
    peer, _ = start(lambda connection, _: connection.sendall(b"hello" * 9))
    upstream = Upstream(peer.upstream.address, peer.upstream.port, NAME)
    encrypted = Asking(upstream, tls_context(str(certificates / "ca.pem")))
    encrypted.ask()
    encrypted.until(lambda: encrypted.failures)
    assert isinstance(encrypted.failures[0][1], OSError)
    encrypted.close()


def test_a_stream_asks_nobody_in_clear_text_who_is_to_be_asked_over_tls():
    poll = Poll()
    upstream = Upstream(ip_address("192.0.2.1"), 853, NAME)
    with pytest.raises(ValueError, match="without TLS"):
        Forwarder((upstream,), poll, lambda: 0.0)
    poll.close()


@pytest.mark.parametrize("file", ["empty.pem", "missing.pem"])
def test_tls_context_refuses_a_file_without_a_certificate(tmp_path, file):
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(OSError, match=f"certificates in .*{file}"):
        tls_context(str(tmp_path / file))


@pytest.mark.parametrize("labels", range(1, 25, 3))
@pytest.mark.parametrize("options", [{}, {"use_edns": 0, "payload": 1232}])
def test_pad_makes_whole_blocks_that_ask_the_same(labels, options):
    message = dns.message.make_query("label." * labels + "example", "A", **options)
    padded = pad(message.to_wire())
    assert len(padded) % 128 == 0
    read = dns.message.from_wire(padded)
    assert read.question == message.question
    assert [o.otype for o in read.options] == [dns.edns.OptionType.PADDING]
    assert read.payload == 1232
