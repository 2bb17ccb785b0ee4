"""dnstap as two real readers take it; dnspython judges the messages inside."""

from __future__ import annotations

import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import dns.message
import dns.rcode
import dns.rrset
import pytest

from gate_core.policy import Action, Decision, Reason
from gate_dns import tap as tap_module
from gate_dns.tap import CONTENT_TYPE, Tap

ALLOW = Decision(Action.ALLOW, Reason.DEFAULT, "default:ks2", 0, None)
BLOCK = Decision(Action.BLOCK, Reason.MATRIX, "matrix:games:ks2", 5, None)
LAPTOP = ip_address("192.0.2.10").packed
TABLET = ip_address("2001:db8::10").packed


@pytest.fixture
def path():
    folder = Path(tempfile.mkdtemp(prefix="tap"))
    yield folder / "s"
    shutil.rmtree(folder)


@pytest.fixture
def tap(path):
    tap = Tap(str(path), "worker 3")
    yield tap
    tap.close()


@pytest.fixture
def capture(path):
    """Debian's fstrm_capture, whose file is there once it has ended."""
    if not shutil.which("fstrm_capture") or not shutil.which("dnstap-ldns"):
        pytest.skip("fstrm-bin and dnstap-ldns are not installed")
    with Capture(path) as capture:
        yield capture


class Capture:
    def __init__(self, path):
        self._path = path
        self.file = path.with_name("capture")

    def __enter__(self):
        self._process = subprocess.Popen(
            ["fstrm_capture", "-t", CONTENT_TYPE, "-u", self._path, "-w", self.file],
            stderr=subprocess.DEVNULL,
        )
        until(self._path.exists)
        self._alone = self._sockets()
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)

    def _sockets(self):
        count = 0
        for file in Path(f"/proc/{self._process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                count += str(file.readlink()).startswith("socket:")
        return count

    def read_all(self):
        """Wait until it has read the stream to its end, and end it."""
        if self._process.poll() is None:
            until(lambda: self._sockets() == self._alone)
            self.end()

    def payloads(self):
        self.read_all()
        return list(data_frames(self.file.read_bytes()))

    def as_yaml(self):
        self.read_all()
        return subprocess.run(
            ["dnstap-ldns", "-y", "-r", self.file], capture_output=True, text=True, check=True
        ).stdout


def until(condition, within_s=10.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def data_frames(octets):
    """Yield the data frames of a Frame Streams file."""
    while octets:
        (length,) = struct.unpack_from(">I", octets)
        if length:
            yield octets[4 : 4 + length]
            octets = octets[4 + length :]
        else:
            (length,) = struct.unpack_from(">I", octets, 4)
            octets = octets[8 + length :]


def fields(octets):
    """Return the fields of a protobuf message by number."""
    found = {}
    while octets:
        key, octets = varint(octets)
        match key & 7:
            case 0:
                value, octets = varint(octets)
            case 2:
                length, octets = varint(octets)
                value, octets = octets[:length], octets[length:]
                assert len(value) == length
            case 5:
                value, octets = int.from_bytes(octets[:4], "little"), octets[4:]
        found[key >> 3] = value
    return found


def varint(octets):
    number = 0
    for place, octet in enumerate(octets):
        number |= (octet & 0x7F) << 7 * place
        if octet < 0x80:
            return number, octets[place + 1 :]
    raise AssertionError(octets)


def exchange(name="www.example.", answers=(), rcode=dns.rcode.NOERROR, kind="A"):
    query = dns.message.make_query(name, kind)
    response = dns.message.make_response(query)
    response.set_rcode(rcode)
    response.answer = [dns.rrset.from_text(name, 60, "IN", kind, a) for a in answers]
    return query.to_wire(), response.to_wire()


def pump(tap, done):
    """Do the rounds of a worker's loop until ``done``."""

    def turn():
        tap.flush(time.monotonic())
        return done()

    until(turn)


def is_sent(tap):
    return lambda: not tap._octets


def test_real_readers_take_queries_with_their_responses(tap, capture):
    query, response = exchange(answers=["192.0.2.80"])
    tap.put(query, LAPTOP, response, time.monotonic(), ALLOW, took_s=0.25)
    long = exchange("long.example.", [f'"{n} {"x" * 240}"' for n in range(40)], kind="TXT")
    tap.put(*(long[0], TABLET, long[1], time.monotonic(), ALLOW), tcp=True)
    pump(tap, is_sent(tap))
    tap.close()
    first, second = (fields(p) for p in capture.payloads())
    assert first[1] == b"worker 3"
    assert first[15] == 1
    message = fields(first[14])
    assert (message[1], message[2], message[3], message[4]) == (6, 1, 1, LAPTOP)
    assert dns.message.from_wire(message[10]).question[0].name.to_text() == "www.example."
    assert dns.message.from_wire(message[14]).answer[0][0].address == "192.0.2.80"
    came, sent = message[8] + message[9] / 1e9, message[12] + message[13] / 1e9
    assert sent - came == pytest.approx(0.25, abs=1e-5)
    assert abs(sent - time.time()) < 60
    message = fields(second[14])
    assert (message[2], message[3], message[4]) == (2, 2, TABLET)
    assert len(dns.message.from_wire(message[14]).answer[0]) == 40
    said = capture.as_yaml()
    assert said.count("type: CLIENT_RESPONSE") == 2
    assert 'query_address: "192.0.2.10"' in said
    assert 'query_address: "2001:db8::10"' in said
    assert "www.example.\t60\tIN\tA\t192.0.2.80" in said


@pytest.mark.parametrize(
    ("decision", "answers", "rcode", "action"),
    [
        (ALLOW, ["192.0.2.80"], dns.rcode.NOERROR, 3),
        (ALLOW, [], dns.rcode.NXDOMAIN, 3),
        (BLOCK, ["192.0.2.2"], dns.rcode.NOERROR, 6),
        (BLOCK, [], dns.rcode.NOERROR, 2),
        (BLOCK, [], dns.rcode.NXDOMAIN, 1),
    ],
)
def test_policy_tells_rule_and_what_was_done(tap, capture, decision, answers, rcode, action):
    query, response = exchange(answers=answers, rcode=rcode)
    for _ in range(2):
        tap.put(query, LAPTOP, response, 0.0, decision)
    pump(tap, is_sent(tap))
    tap.close()
    for payload in capture.payloads():
        policy = fields(fields(fields(payload)[14])[15])
        assert policy == {1: b"schoolgate", 2: decision.rule_id.encode(), 3: action}


def test_tap_begins_anew_with_the_next_reader(tap, path, capture):
    query, response = exchange()
    tap.put(query, LAPTOP, response, 0.0)
    pump(tap, is_sent(tap))
    capture.end()
    path.unlink(missing_ok=True)
    with Capture(path) as second:

        def gone():
            # A stream tells that its reader has gone when something is sent.
            tap.put(query, TABLET, response, 0.0)
            tap.flush(time.monotonic())
            return tap._socket is None

        until(gone)
        tap.put(query, TABLET, response, 0.0)
        tap._retry_at = 0.0
        pump(tap, is_sent(tap))
        tap.close()
        assert {fields(fields(p)[14])[4] for p in second.payloads()} == {TABLET}


def test_put_is_bounded_while_there_is_no_reader(tap, monkeypatch):
    monkeypatch.setattr(tap_module, "MAX_HELD_OCTETS", 10_000)
    query, response = exchange()
    for _ in range(1000):
        tap.put(query, LAPTOP, response, 0.0)
        tap.flush(time.monotonic())
    assert 0 < len(tap._frames) < 200
    assert tap.dropped + len(tap._frames) == 1000


@pytest.fixture
def reader(path):
    """A reader whose every step the test makes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.settimeout(5)
        yield listening


def control(kind, content_type=b""):
    field = struct.pack(">II", 1, len(content_type)) + content_type if content_type else b""
    return struct.pack(">III", 0, 4 + len(field), kind) + field


def meet(tap, reader):
    tap.flush(time.monotonic())
    connection, _ = reader.accept()
    connection.settimeout(5)
    assert connection.recv(100) == control(4, CONTENT_TYPE)
    return connection


@pytest.mark.parametrize(
    "said",
    [
        control(2, CONTENT_TYPE),
        control(1, b"protobuf:other"),
        control(1),
        b"HTTP/1.0 400 Bad Request\r\n\r\n",
        b"\0\0\0\0\xff\xff\xff\xff\0\0\0\1",
        b"",
    ],
)
def test_tap_leaves_a_reader_that_wants_something_else(tap, reader, said):
    with meet(tap, reader) as connection:
        if said:
            connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        pump(tap, lambda: tap._socket is None)
        with suppress(ConnectionResetError):
            assert connection.recv(100) == b""


def test_tap_waits_for_the_end_of_what_a_reader_says(tap, reader):
    query, response = exchange()
    tap.put(query, LAPTOP, response, 0.0)
    with meet(tap, reader) as connection:
        for octet in control(1, CONTENT_TYPE):
            tap.flush(time.monotonic())
            connection.sendall(bytes([octet]))
        pump(tap, is_sent(tap))
        assert connection.recv(1000).startswith(control(2, CONTENT_TYPE))


def test_tap_leaves_a_reader_that_says_nothing(tap, reader):
    with meet(tap, reader):
        tap.flush(time.monotonic())
        assert tap._socket
        tap.flush(time.monotonic() + tap_module.HANDSHAKE_S + 1)
        assert tap._socket is None


def test_tap_never_cuts_a_frame_for_a_slow_reader_and_counts_what_it_loses(
    tap, reader, monkeypatch
):
    monkeypatch.setattr(tap_module, "MAX_HELD_OCTETS", 1 << 20)
    query, response = exchange(answers=["192.0.2.80"])
    count = 20_000
    with meet(tap, reader) as connection:
        connection.sendall(control(1, CONTENT_TYPE))
        pump(tap, lambda: tap._open)
        for _ in range(count):
            tap.put(query, LAPTOP, response, 0.0)
            tap.flush(time.monotonic())
        assert tap.dropped > 0
        received = bytearray()
        until(lambda: take(tap, connection, received))
    frames = list(data_frames(bytes(received)))
    assert len(frames) + tap.dropped == count
    assert all(fields(fields(f)[14])[14] == response for f in frames)


def take(tap, connection, received):
    tap.flush(time.monotonic())
    connection.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            received += connection.recv(1 << 16)
    return not tap._octets
