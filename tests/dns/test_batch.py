from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import threading
import uuid
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import dns.message
import dns.query
import pytest

from gate_dns.askers import Asker, Bucket, Flights
from gate_dns.batch import DatagramBatch, open_socket
from gate_dns.cache import Entries, Entry, Note
from gate_dns.messages.render import Response, render
from gate_dns.messages.wire import Transport, parse_query
from gate_dns.mmsg import BATCH


def message(name, number=1) -> bytes:
    return dns.message.make_query(name, "A", id=number).to_wire()


class Batch:
    """A batch over a real socket; ``missed`` holds what it could not answer, and the way back."""

    def __init__(self, address="127.0.0.1") -> None:
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = open_socket(address, 0, self.family)
        self.missed = []
        self.hits = defaultdict(list)
        self.askers = {}
        self.batch = DatagramBatch(self.socket, lambda *miss: self.missed.append(miss))

    def know(self, address: str, *names: str) -> Asker:
        """Keep answers to ``names`` for who asks from ``address``."""
        entries = self.entries = Entries()
        room = entries.room(("ks2", Transport.UDP))
        bucket = Bucket(1.0, 0.0)
        asker = Asker(None, (room, room), bucket, bucket, Flights(1), 0.0)
        for name in names:
            query = parse_query(message(name))
            rendered = render(query, Response(3, ttl_s=1, serial=1))
            entry = Entry(query, rendered, Note(None, None), 0.0, 60.0)
            entries.store(room, query, entry)
        self.askers[socket.inet_pton(self.family, address)] = asker
        return asker

    def answer(self, now=1.0):
        return self.batch.answer(self.askers, self.hits, now)

    def client(self, to: str) -> socket.socket:
        client = socket.socket(self.family, socket.SOCK_DGRAM)
        client.settimeout(5)
        client.connect((to, self.socket.getsockname()[1]))
        return client


@pytest.fixture(params=["127.0.0.1", "::1"])
def address(request):
    return request.param


@pytest.fixture
def batch(address):
    made = Batch(address)
    with closing(made.socket):
        yield made


def test_answer_gives_hits_and_leaves_misses_to_others(batch, address):
    asker = batch.know(address, "a.example", "b.example")
    with batch.client(address) as client:
        names = ["a.example", "miss.example", "B.Example", "other.example", "a.example"]
        for number, name in enumerate(names):
            client.send(message(name, number))
        batch.answer()
        hits = [dns.message.from_wire(client.recv(4096)) for _ in range(3)]
        assert [(h.id, h.question[0].name.to_text()) for h in hits] == [
            (0, "a.example."),
            (2, "B.Example."),
            (4, "a.example."),
        ]
        source = socket.inet_pton(batch.family, address)
        assert [(m, s) for m, s, _ in batch.missed] == [
            (message("miss.example", 1), source),
            (message("other.example", 3), source),
        ]
        assert list(batch.hits) == [asker]
        assert [e.qname for e in batch.hits[asker]] == ["a.example", "b.example", "a.example"]
        # The ways back hold when the slots are in use again.
        client.send(message("a.example", 9))
        batch.answer()
        client.recv(4096)
        for octets, _, reply in reversed(batch.missed):
            reply(octets)
            batch.batch.flush()
            assert client.recv(4096) == octets
        batch.missed[0][2](None)
        batch.batch.flush()


def test_answer_takes_a_whole_batch_and_no_more(batch, address):
    batch.know(address, "a.example")
    with batch.client(address) as client:
        for number in range(BATCH + 3):
            client.send(message("a.example", number))
        batch.answer()
        numbers = [client.recv(4096)[1] for _ in range(BATCH)]
        assert numbers == list(range(BATCH))
        batch.answer()
        assert [client.recv(4096)[1] for _ in range(3)] == [BATCH, BATCH + 1, BATCH + 2]


def test_answer_goes_back_to_who_asked_whatever_else_came(batch, address):
    """Answers leave by the slots of their queries: one batch has all in order, the next one gaps, and so on."""
    batch.know(address, "a.example")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(batch.client(address)) for _ in range(12)]
        for round_ in range(6):
            for number, client in enumerate(clients):
                missed = round_ % 2 and number % (round_ + 1) == 0
                client.send(
                    message("miss.example" if missed else "a.example", 100 * round_ + number)
                )
            sources = batch.answer()
            assert list(sources) == [socket.inet_pton(batch.family, address)] * len(clients)
            for octets, _, reply in batch.missed:
                reply(octets)
            batch.batch.flush()
            batch.missed.clear()
            for number, client in enumerate(clients):
                assert int.from_bytes(client.recv(4096)[:2], "big") == 100 * round_ + number


def test_answers_of_more_misses_than_a_batch_all_leave(batch, address):
    with batch.client(address) as client:
        for number in range(BATCH):
            client.send(message("miss.example", number))
        batch.answer()
        for _ in range(2):
            for octets, _, reply in batch.missed:
                reply(octets)
        batch.batch.flush()
        numbers = [client.recv(4096)[1] for _ in range(2 * BATCH)]
    assert numbers == [*range(BATCH)] * 2


def test_answer_gives_nothing_that_has_ended(batch, address):
    batch.know(address, "a.example")
    with batch.client(address) as client:
        client.send(message("a.example"))
        batch.answer(now=60.0)
    assert len(batch.missed) == 1


def test_answer_knows_clients_by_their_address():
    batch = Batch("0.0.0.0")
    batch.know("127.0.0.1", "a.example")
    with closing(batch.socket), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.7", 0))
        client.sendto(message("a.example"), ("127.0.0.1", batch.socket.getsockname()[1]))
        batch.answer()
    assert [source for _, source, _ in batch.missed] == [bytes((127, 0, 0, 7))]


def test_answer_counts_each_query_for_who_asked_it():
    batch = Batch("0.0.0.0")
    one = batch.know("127.0.0.1", "a.example", "b.example")
    other = batch.know("127.0.0.2", "a.example")
    asked = ["one a", "other a", "other b", "stranger a", "one b", "one a", "other a"]
    addresses = {"one": "127.0.0.1", "other": "127.0.0.2", "stranger": "127.0.0.3"}
    with contextlib.ExitStack() as stack:
        stack.enter_context(closing(batch.socket))
        clients = {}
        for who, address in addresses.items():
            client = clients[who] = stack.enter_context(
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            )
            client.bind((address, 0))
        for who, letter in map(str.split, asked):
            to = ("127.0.0.1", batch.socket.getsockname()[1])
            clients[who].sendto(message(f"{letter}.example"), to)
        batch.answer()
    assert [e.qname[0] for e in batch.hits[one]] == ["a", "b", "a"]
    assert [e.qname[0] for e in batch.hits[other]] == ["a", "a"]
    assert set(batch.hits) == {one, other}
    missed = [(m, s[-1]) for m, s, _ in batch.missed]
    assert missed == [(message("b.example"), 2), (message("a.example"), 3)]


def test_answer_counts_nothing_for_who_got_nothing(batch, address):
    batch.know(address, "a.example")
    with batch.client(address) as client:
        client.send(message("miss.example"))
        batch.answer()
    assert not batch.hits


def test_answer_finds_what_another_type_of_the_same_letters_hides(batch, address):
    asker = batch.know(address)
    octets = {}
    for kind in ("TYPE97", "HTTPS"):
        octets[kind] = dns.message.make_query("A.example", kind, use_edns=False, id=1).to_wire()
        asked = parse_query(octets[kind])
        entry = Entry(asked, render(asked, Response(3)), Note(None, None), 0.0, 60.0)
        # In this order the later one is what the letters lead to first.
        batch.entries.store(asker.rooms[0], asked, entry)
    with batch.client(address) as client:
        for asked in octets.values():
            client.send(asked)
            batch.answer()
            assert client.recv(4096)[12:] == asked[12:]
    assert not batch.missed


@pytest.mark.parametrize("octets", [b"", b"\0", b"\0\1", b"\0\1\1"])
def test_answer_leaves_the_shortest_datagrams_to_others(batch, address, octets):
    batch.know(address, "a.example")
    with batch.client(address) as client:
        client.send(message("a.example", 7))
        client.send(octets)
        client.send(message("a.example", 8))
        batch.answer()
        assert [client.recv(4096)[1] for _ in range(2)] == [7, 8]
    # Nothing of what lay in the place before.
    assert [said for said, _, _ in batch.missed] == [octets]


@pytest.mark.netns
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: forges a source port")
def test_answer_goes_on_when_one_answer_cannot_be_sent():
    batch = Batch("127.0.0.1")
    batch.know("127.0.0.1", "a.example")
    port = batch.socket.getsockname()[1]
    with (
        closing(batch.socket),
        batch.client("127.0.0.1") as client,
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as forger,
    ):
        client.send(message("a.example", 1))
        # From port 0, to which the kernel sends nothing; checksum 0 means none (RFC 768).
        octets = message("a.example", 2)
        forger.sendto(struct.pack("!HHHH", 0, port, 8 + len(octets), 0) + octets, ("127.0.0.1", 0))
        client.send(message("a.example", 3))
        batch.answer()
        assert [client.recv(4096)[1] for _ in range(2)] == [1, 3]
    assert batch.batch.unsent == 1


NETNS_SCRIPT = """
ip netns add {0}
ip -n {0} link set lo up
ip -n {0} addr add 192.0.2.2/24 dev lo
ip -n {0} addr add 192.0.2.3/24 dev lo
ip -n {0} -6 addr add fd77::2/64 dev lo nodad
ip -n {0} -6 addr add fd77::3/64 dev lo nodad
"""


@pytest.fixture
def namespace():
    """A network namespace with several addresses of each family."""
    if os.geteuid():
        pytest.skip("needs root: makes a network namespace")
    name = f"gate-dns-{uuid.uuid4().hex[:8]}"
    subprocess.run(["sh", "-ec", NETNS_SCRIPT.format(name)], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


def within(name: str, act):
    """Return what ``act`` returns in a thread that is in the network namespace ``name``."""
    outcome = []

    def run() -> None:
        with Path(f"/run/netns/{name}").open() as entry:
            assert ctypes.CDLL(None).setns(entry.fileno(), 0) == 0
        outcome.append(act())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcome[0]


@pytest.mark.netns
@pytest.mark.parametrize(
    ("wildcard", "addresses"),
    [("0.0.0.0", ["192.0.2.2", "192.0.2.3"]), ("::", ["fd77::2", "fd77::3"])],
)
def test_answer_comes_from_the_address_that_was_asked(namespace, wildcard, addresses):
    def ask():
        batch = Batch(wildcard)
        for address in addresses:
            batch.know(address, "a.example")
        answered = []
        with closing(batch.socket):
            # The first address is what the kernel would choose for both, the other way round what it would not.
            for source in addresses:
                for to in addresses:
                    with socket.socket(batch.family, socket.SOCK_DGRAM) as client:
                        client.settimeout(5)
                        client.bind((source, 0))
                        for name in ("a.example", "miss.example"):
                            client.sendto(message(name), (to, batch.socket.getsockname()[1]))
                            batch.answer()
                            if batch.missed:
                                octets, _, reply = batch.missed.pop()
                                reply(octets)
                                batch.batch.flush()
                            answered.append((to, client.recvfrom(4096)[1][0]))
        return answered

    answered = within(namespace, ask)
    assert len(answered) == 8
    assert all(to == came_from for to, came_from in answered)
