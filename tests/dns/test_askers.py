from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from gate_core.clients import Device
from gate_dns.askers import KNOWN_S, MAX_ASKERS, UNKNOWN_S, Askers
from gate_dns.cache import AnswerCache
from gate_dns.wire import Transport

SOURCE = ip_address("192.0.2.20").packed


def test_find_identifies_by_mac_address_once(school, neighbours):
    neighbours.macs["192.0.2.20"] = "00:00:5e:00:53:20"
    askers = Askers(school, neighbours, AnswerCache())
    asker = askers.find(SOURCE, 100.0)
    assert (asker.client.group, asker.client.name, asker.view) == ("staff", "staff-pc", "staff")
    assert askers.find(SOURCE, 100.0 + KNOWN_S - 0.1) is asker
    assert neighbours.asked["192.0.2.20"] == 1


def test_find_looks_again_soon_where_the_mac_address_is_unknown(school, neighbours):
    askers = Askers(school, neighbours, AnswerCache())
    assert askers.find(SOURCE, 100.0).client.group == "ks2"
    neighbours.macs["192.0.2.20"] = "00:00:5e:00:53:20"
    assert askers.find(SOURCE, 100.0 + UNKNOWN_S).client.group == "staff"


def test_find_gives_clients_of_one_view_the_same_answers(school, neighbours):
    cache = AnswerCache()
    askers = Askers(school, neighbours, cache)
    one = askers.find(SOURCE, 0.0)
    other = askers.find(ip_address("2001:db8::9").packed, 0.0)
    assert one.answers is other.answers is cache.answers(("ks2", Transport.UDP))


def test_find_is_bounded(school, neighbours):
    askers = Askers(school, neighbours, AnswerCache())
    for number in range(MAX_ASKERS + 10):
        askers.find((0x0A00_0000 + number).to_bytes(4, "big"), 0.0)
    assert len(askers.by_address) <= MAX_ASKERS


def test_sweep_forgets_who_is_to_be_identified_anew(school, neighbours):
    askers = Askers(school, neighbours, AnswerCache())
    askers.find(SOURCE, 100.0)
    askers.sweep(100.0 + UNKNOWN_S - 0.1)
    assert askers.by_address
    askers.sweep(100.0 + UNKNOWN_S)
    assert not askers.by_address


def test_begin_identifies_by_the_new_policy(school, neighbours):
    neighbours.macs["192.0.2.20"] = "00:00:5e:00:53:20"
    askers = Askers(school, neighbours, AnswerCache())
    assert askers.find(SOURCE, 100.0).client.group == "staff"
    moved = Device("00:00:5e:00:53:20", "staff-pc", "ks2", isolated=True)
    askers.begin(replace(school, devices={moved.mac: moved}))
    asker = askers.find(SOURCE, 100.1)
    assert (asker.client.group, asker.client.isolated) == ("ks2", True)
    assert moved.mac in asker.view
