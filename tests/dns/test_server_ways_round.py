"""A real worker: safe search, hidden names, addresses inside the school, tunnels, floods, and upstreams that fail."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import dns.flags
import dns.rcode
import dns.rdtypes.svcbbase
import pytest

from gate_core.names import NameSet
from gate_core.policy import Action, DatedException, Scope
from gate_core.timetable import Span
from gate_dns.zones import Zone, Zones

NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)

STAFF_PC = "00:00:5e:00:53:20"
SAFE = "forcesafesearch.google.com"
ECH = "ech=AEX+DQBBzQAgACDHsdqdmQ93ZxVGlZFhZ7Tm3FsUD6xZ9nqWmrSFZ1dNKwAEAAEAAQASY2xvdWRmbGFyZS1lY2guY29tAAA="


def lines(answer) -> list[str]:
    return [line for records in answer.answer for line in records.to_text().splitlines()]


def edes(answer) -> list[int]:
    return [int(option.code) for option in answer.options]


@pytest.fixture
def engines(upstream):
    upstream.zone[SAFE] = ["300 IN A 198.51.100.120", "300 IN AAAA 2001:db8:5::120"]
    upstream.zone["www.google.co.uk"] = [
        "300 IN A 203.0.113.1",
        "300 IN HTTPS 1 . alpn=h2 ipv4hint=203.0.113.1",
    ]
    upstream.zone["docs.google.com"] = ["300 IN A 203.0.113.2"]
    return upstream


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_search_engines_are_answered_by_their_safe_version(worker, engines, transport):
    ask = getattr(worker, transport)
    for _ in range(2):
        answer = ask("www.Google.co.uk", use_edns=0, want_dnssec=True)
        alias, address = answer.answer
        assert alias.name.to_text() == "www.Google.co.uk."
        assert alias[0].target.to_text() == f"{SAFE}."
        assert (address.name.to_text(), address[0].address) == (f"{SAFE}.", "198.51.100.120")
        assert not answer.flags & dns.flags.AD
        assert 4 in edes(answer)
        assert lines(ask("www.google.co.uk", "AAAA"))[1].endswith("2001:db8:5::120")
        for kind in ("HTTPS", "SVCB"):
            nothing = ask("www.google.co.uk", kind)
            assert (nothing.rcode(), lines(nothing)) == (dns.rcode.NOERROR, [])
    engines.zone["google.com"] = ["300 IN MX 10 mail.google.com."]
    assert lines(ask("google.com", "MX")) == ["google.com. 300 IN MX 10 mail.google.com."]
    assert lines(ask("docs.google.com"))[0].endswith("203.0.113.2")
    # What answers is told to the classifier, and recorded with its rule.
    assert (SAFE, (ip_address("198.51.100.120").packed,), 300) in worker.pins.held


def test_safe_search_is_a_matter_of_the_group(start_worker, engines, school):
    groups = dict(school.groups)
    groups["staff"] = replace(groups["staff"], safe_search=False)
    worker = start_worker([engines], policy=replace(school, groups=groups))
    worker.neighbours.macs["127.0.0.1"] = STAFF_PC
    assert lines(worker.udp("www.google.co.uk")) == ["www.google.co.uk. 300 IN A 203.0.113.1"]
    assert SAFE in lines(worker.udp("www.google.co.uk", to="::1"))[0]


def test_safe_search_fails_closed(worker, engines):
    engines.zone[SAFE] = []  # NXDOMAIN
    failed = worker.udp("www.google.co.uk")
    assert (failed.rcode(), lines(failed)) == (dns.rcode.SERVFAIL, [])
    engines.manners[SAFE] = "silent"
    failed = worker.udp("www.google.co.uk", "AAAA", use_edns=0)
    assert (failed.rcode(), lines(failed)) == (dns.rcode.SERVFAIL, [])


def test_safe_search_goes_on_with_the_last_safe_address(worker, engines):
    engines.zone[SAFE] = ["1 IN A 198.51.100.120"]
    assert lines(worker.udp("www.google.co.uk"))[1].endswith("198.51.100.120")
    engines.manners[SAFE] = "silent"
    time.sleep(1.1)
    alias, address = lines(worker.udp("www.google.co.uk"))
    assert alias.split()[-1] == f"{SAFE}."
    assert address.split()[-1] == "198.51.100.120"


def test_keys_for_hidden_names_are_taken_out(worker, upstream):
    upstream.zone["hidden.example"] = [f"300 IN HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.10 {ECH}"]
    upstream.zone["_dns.hidden.example"] = [f"300 IN SVCB 1 srv.hidden.example. alpn=h2 {ECH}"]
    for name, kind in (("hidden.example", "HTTPS"), ("_dns.hidden.example", "SVCB")):
        for _ in range(2):
            answer = worker.udp(name, kind)
            (record,) = answer.answer[0]
            assert dns.rdtypes.svcbbase.ParamKey.ECH not in record.params
            assert dns.rdtypes.svcbbase.ParamKey.ALPN in record.params
            assert not answer.flags & dns.flags.AD


def test_private_addresses_of_public_names_are_taken_out(start_worker, upstream, until):
    upstream.zone["rebind.example"] = ["300 IN A 192.168.1.1", "300 IN A 198.51.100.7"]
    upstream.zone["inside.example"] = ["300 IN A 10.1.2.3", "300 IN AAAA fd00::1"]
    upstream.zone["server.school.example"] = ["300 IN A 10.0.0.5"]
    worker = start_worker([upstream], zones=Zones((Zone("school.example"),)))
    assert lines(worker.udp("rebind.example")) == ["rebind.example. 300 IN A 198.51.100.7"]
    for kind in ("A", "AAAA"):
        answer = worker.udp("inside.example", kind, use_edns=0)
        assert (answer.rcode(), lines(answer), edes(answer)) == (dns.rcode.NOERROR, [], [15])
    assert lines(worker.udp("server.school.example"))[0].endswith("10.0.0.5")
    # What got nothing is recorded as blocked, and why: the first time, and when it is kept.
    assert worker.udp("inside.example").rcode() == dns.rcode.NOERROR
    until(lambda: sum(e.count for e in worker.events.events) == 5)
    told = {(e.name, e.action, e.rule_id) for e in worker.events.events}
    assert told == {
        ("rebind.example", "allow", "default:ks2"),
        ("inside.example", "block", "rebinding"),
        ("server.school.example", "allow", "default:ks2"),
    }


def test_an_answer_with_a_listed_address_is_stopped(start_worker, upstream, knowing, until):
    upstream.zone["fresh.example"] = [
        "300 IN A 192.0.2.65",
        "300 IN A 192.0.2.66",
        "300 IN AAAA 2001:db8::66",
        "300 IN HTTPS 1 . alpn=h2 ipv4hint=192.0.2.66",
    ]
    upstream.zone["approved.example"] = ["300 IN A 192.0.2.66"]
    upstream.zone["vile.approved.example"] = ["300 IN A 192.0.2.67"]
    span = Span(NOON - timedelta(hours=1), NOON + timedelta(hours=1))
    names = NameSet.of(["approved.example"])
    allow = DatedException("1", Scope.SCHOOL, "", names, Action.ALLOW, span, "why")
    worker = start_worker([upstream], policy=replace(knowing, exceptions=(allow,)))
    rule = "school policy matrix:pornography:ks2"
    # The second time from what is kept.
    for _ in range(2):
        for kind, page in (("A", ["192.0.2.2"]), ("AAAA", ["2001:db8::2"]), ("HTTPS", [])):
            answer = worker.udp("fresh.example", kind, use_edns=0)
            assert [line.split()[-1] for line in lines(answer)] == page
            assert (int(answer.options[0].code), answer.options[0].text) == (15, rule)
        assert lines(worker.udp("approved.example"))[0].endswith("192.0.2.66")
        illegal = worker.udp("vile.approved.example", use_edns=0)
        assert (lines(illegal)[0].split()[-1], edes(illegal)[0]) == ("192.0.2.2", 16)
    until(lambda: sum(e.count for e in worker.events.events) >= 10)
    recorded = {(e.name, e.rule_id) for e in worker.events.events}
    assert recorded == {
        ("fresh.example", "matrix:pornography:ks2"),
        ("approved.example", "exception:1"),
        ("vile.approved.example", "illegal:child-abuse"),
    }


def test_addresses_come_into_force_with_their_lists(worker, upstream, knowing, until):
    upstream.zone["fresh.example"] = ["300 IN A 192.0.2.66"]
    assert lines(worker.udp("fresh.example"))[0].endswith("192.0.2.66")
    worker.policies.publish(index=knowing.index)
    until(lambda: worker.events.in_force[-1].version > knowing.version)
    assert lines(worker.udp("fresh.example"))[0].endswith("192.0.2.2")


def test_names_of_no_network_go_nowhere(worker, upstream):
    for name in ("printer.local", "x.onion", "1.0.168.192.in-addr.arpa"):
        assert worker.udp(name, "PTR").rcode() == dns.rcode.NXDOMAIN
    assert lines(worker.udp("localhost")) == ["localhost. 300 IN A 127.0.0.1"]
    assert not upstream.asked


def tunnel_names(count: int) -> list[str]:
    chance = random.Random(7)  # noqa: S311  # the same names each time
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    return [f"{''.join(chance.choices(letters, k=60))}.t.tunnel.example" for _ in range(count)]


def test_a_tunnel_is_stopped_for_who_uses_it(worker, upstream, until):
    upstream.zone.update({name: ["60 IN TXT x"] for name in tunnel_names(60)})
    codes = [worker.udp(name, "TXT").answer != [] for name in tunnel_names(60)]
    assert codes[0], "the first names are answered: nothing is known of them"
    assert not any(codes[40:]), "it is stopped before forty names have passed"
    assert worker.udp("allowed.example").answer
    event = until(
        lambda: next((e for e in worker.events.events if e.rule_id.startswith("tunnel:")), None)
    )
    assert (event.action, event.reason) == ("block", "tunnel")
    # Another client has asked for none of them.
    assert worker.udp(tunnel_names(1)[0], "TXT", to="::1").answer


def test_an_old_answer_is_better_than_none(worker, upstream):
    upstream.zone["short.example"] = ["1 IN A 192.0.2.10"]
    assert worker.udp("short.example").answer
    time.sleep(1.1)
    upstream.manners["short.example"] = "servfail"
    answer = worker.udp("short.example", use_edns=0)
    assert (lines(answer), edes(answer)) == (["short.example. 30 IN A 192.0.2.10"], [3])
    # Nobody asks again for a while.
    asked = upstream.asked["udp"]
    assert worker.udp("short.example").answer
    assert upstream.asked["udp"] == asked


def test_an_old_answer_comes_before_the_client_gives_up(worker, upstream):
    upstream.zone["short.example"] = ["1 IN A 192.0.2.10"]
    assert worker.udp("short.example").answer
    time.sleep(1.1)
    upstream.manners["short.example"] = "silent"
    assert lines(worker.udp("short.example", timeout=5)) == ["short.example. 30 IN A 192.0.2.10"]


def test_what_a_policy_change_leaves_allowed_is_not_asked_again(worker, upstream, school, until):
    worker.udp("allowed.example")
    worker.policies.publish(pauses=())
    until(lambda: any(e.version == school.version + 1 for e in worker.events.in_force))
    assert worker.udp("allowed.example").answer
    assert upstream.asked["udp"] == 1
