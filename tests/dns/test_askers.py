from __future__ import annotations

import math
from dataclasses import replace
from ipaddress import ip_address

import dns.edns
import pytest

from gate_core.clients import Device
from gate_dns.askers import KNOWN_S, MAX_ASKERS, UNKNOWN_S, Askers, Limits
from gate_dns.cache import Entries
from gate_dns.messages.wire import Transport

SOURCE = ip_address("192.0.2.20").packed
OTHER = ip_address("192.0.2.21").packed
LIMITS = Limits(rate=100.0, burst=300.0)


@pytest.fixture
def askers(school, neighbours):
    return Askers(school, neighbours, Entries(), LIMITS)


def test_find_identifies_by_mac_address_once(askers, neighbours):
    neighbours.macs["192.0.2.20"] = "00:00:5e:00:53:20"
    asker = askers.find(SOURCE, 100.0)
    assert (asker.client.group, asker.client.name) == ("staff", "staff-pc")
    assert askers.find(SOURCE, 100.0 + KNOWN_S - 0.1) is asker
    assert neighbours.asked["192.0.2.20"] == 1


def test_find_looks_again_soon_where_the_mac_address_is_unknown(askers, neighbours):
    assert askers.find(SOURCE, 100.0).client.group == "ks2"
    neighbours.macs["192.0.2.20"] = "00:00:5e:00:53:20"
    assert askers.find(SOURCE, 100.0 + UNKNOWN_S).client.group == "staff"


def test_find_gives_clients_of_one_view_the_same_responses(school, neighbours):
    entries = Entries()
    askers = Askers(school, neighbours, entries, LIMITS)
    one = askers.find(SOURCE, 0.0)
    other = askers.find(ip_address("2001:db8::9").packed, 0.0)
    room = entries.room(("ks2", Transport.UDP))
    assert one.exact is other.exact is room.exact
    assert one.folded is other.folded is room.folded
    assert one.rooms[0] is room
    assert one.rooms[1] is other.rooms[1] is not room


def test_find_is_bounded(askers):
    for number in range(MAX_ASKERS + 10):
        askers.find((0x0A00_0000 + number).to_bytes(4, "big"), 0.0)
    assert len(askers.by_address) <= MAX_ASKERS


def test_sweep_forgets_who_is_to_be_identified_anew(askers):
    askers.find(SOURCE, 100.0)
    askers.sweep(100.0 + UNKNOWN_S - 0.1)
    assert askers.by_address
    askers.sweep(100.0 + UNKNOWN_S)
    assert not askers.by_address


def test_begin_identifies_by_the_new_policy(askers, school, neighbours):
    neighbours.macs["192.0.2.20"] = "00:00:5e:00:53:20"
    assert askers.find(SOURCE, 100.0).client.group == "staff"
    moved = Device("00:00:5e:00:53:20", "staff-pc", "ks2", isolated=True)
    askers.begin(replace(school, devices={moved.mac: moved}))
    asker = askers.find(SOURCE, 100.1)
    assert (asker.client.group, asker.client.isolated) == ("ks2", True)


def test_who_has_spent_all_tokens_is_left_to_the_readable_path_until_there_are_some(askers):
    spent = askers.find(SOURCE, 100.0)
    askers.find(OTHER, 100.0)
    askers.spend([SOURCE] * 299 + [OTHER])
    assert SOURCE in askers.by_address
    askers.spend([SOURCE] * 5000)
    assert set(askers.by_address) == {OTHER}
    assert spent.bucket.tokens <= 0
    askers.refill(100.25)
    # What came beyond the limit is not held against it later.
    assert spent.bucket.tokens == 25
    assert askers.by_address[SOURCE] is spent
    askers.refill(200.0)
    assert spent.bucket.tokens == LIMITS.burst


def test_the_addresses_of_a_device_share_its_tokens(askers, neighbours):
    for address in ("192.0.2.20", "192.0.2.21"):
        neighbours.macs[address] = "00:00:5e:00:53:20"
    one, other = askers.find(SOURCE, 100.0), askers.find(OTHER, 100.0)
    assert one.bucket is other.bucket
    askers.spend([SOURCE] * 200 + [OTHER] * 200)
    askers.spend([SOURCE])
    assert not askers.by_address


def test_tokens_outlive_identities(askers, neighbours):
    """A device that nobody knows is identified anew each second, and gets no new bucket for that."""
    askers.find(SOURCE, 100.0)
    askers.spend([SOURCE] * 1000)
    for quarter in range(1, 9):
        now = 100.0 + quarter / 4
        askers.sweep(now)
        askers.refill(now)
        asker = askers.find(SOURCE, now)
        assert asker.bucket.tokens <= 25 + 1e-6
        askers.spend([SOURCE] * 1000)


def test_who_asks_for_others_has_no_limit(school, neighbours):
    limits = Limits(100.0, 300.0, [ip_address("192.0.2.20")])
    askers = Askers(school, neighbours, Entries(), limits)
    for source in (SOURCE, ip_address("127.0.0.1").packed, ip_address("::1").packed):
        assert askers.find(source, 100.0).bucket.tokens == math.inf
        askers.spend([source] * 100_000)
        assert source in askers.by_address
    unlimited = Askers(school, neighbours, Entries(), Limits(0.0, 1.0))
    assert unlimited.find(OTHER, 100.0).bucket.tokens == math.inf


def test_whom_nobody_knows_share_their_flights(school, neighbours):
    neighbours.macs["192.0.2.20"] = "00:00:5e:00:53:20"
    limits = Limits(100.0, 300.0, [ip_address("192.0.2.30")])
    askers = Askers(school, neighbours, Entries(), limits)

    def flights(address):
        return askers.find(ip_address(address).packed, 100.0).flights

    assert flights("192.0.2.40") is flights("192.0.2.41") is not flights("192.0.2.20")
    assert flights("192.0.2.30") is flights("127.0.0.1")
    assert flights("192.0.2.20").most < flights("192.0.2.40").most < flights("192.0.2.30").most


def test_datagrams_take_no_tokens_of_connections(askers):
    asker = askers.find(SOURCE, 100.0)
    askers.spend([SOURCE] * 5000)
    assert asker.bucket.tokens <= 0
    assert asker.streams.tokens == LIMITS.burst


def test_buckets_of_who_is_gone_go_too(askers):
    for number in range(1000):
        askers.find((0x0A00_0000 + number).to_bytes(4, "big"), 100.0)
    askers.sweep(110.0)
    askers.refill(110.0)
    assert not askers._buckets


def test_take_refused_tells_once(askers):
    asker = askers.find(SOURCE, 100.0)
    asker.refused = 7
    assert askers.take_refused() == [(asker, 7)]
    assert askers.take_refused() == []


STAFF_PC = "00:00:5e:00:53:20"

# As routers and resolvers add them: RFC 7871; dnsmasq's --add-mac and --add-cpe-id; Umbrella's.
CLAIMS = [
    dns.edns.ECSOption("203.0.113.0", 24),
    dns.edns.GenericOption(65001, bytes.fromhex(STAFF_PC.replace(":", ""))),
    dns.edns.GenericOption(65073, STAFF_PC.encode()),
    dns.edns.GenericOption(65074, b"staff-pc"),
    dns.edns.GenericOption(20292, b"ODNS\0" + bytes.fromhex(STAFF_PC.replace(":", ""))),
]


@pytest.mark.parametrize("name", ["allowed.example", "games.example"])
@pytest.mark.parametrize("over", ["udp", "tcp"])
def test_a_worker_believes_no_claim_of_a_query_and_hands_none_on(
    start_worker, upstream, until, name, over
):
    worker = start_worker([upstream])
    answer = getattr(worker, over)(name, use_edns=0, options=CLAIMS)
    assert not {o.otype for o in answer.options} & {o.otype for o in CLAIMS}
    (event,) = until(lambda: [e for e in worker.events.events if e.name == name])
    assert (event.address, event.device, event.group) == ("127.0.0.1", "127.0.0.1", "ks2")
    assert [q.options for _, q in upstream.queries] == ([()] if name == "allowed.example" else [])


def test_each_address_of_a_device_is_the_device(start_worker, upstream, until):
    worker = start_worker([upstream])
    worker.neighbours.macs |= {"127.0.0.1": STAFF_PC, "::1": STAFF_PC}
    for to in ("127.0.0.1", "::1"):
        worker.udp("allowed.example", to=to)
    seen = until(lambda: len(e := worker.events.events) == 2 and e)
    assert {e.address for e in seen} == {"127.0.0.1", "::1"}
    assert {(e.device, e.mac) for e in seen} == {("staff-pc", STAFF_PC)}
