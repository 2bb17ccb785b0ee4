from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import pairwise

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from gate_core.categories import mask_of
from gate_core.clients import DefaultAction
from gate_core.names import NameSet
from gate_core.policy import (
    Action,
    DatedException,
    Decision,
    Lesson,
    LessonMode,
    Pause,
    Reason,
    Scope,
    decide,
)
from gate_core.timetable import Span
from gate_dns.messages.answer import parse_answer
from gate_dns.messages.codes import Rcode, mnemonic
from gate_dns.messages.render import Response, render
from gate_dns.messages.wire import parse_query
from gate_dns.respond import Forward, recheck, respond
from gate_dns.settings import BlockAnswer

NEGATIVE = "example. {ttl} IN SOA schoolgate.invalid. coordinator.schoolgate.invalid. 7 3600 600 86400 {ttl}"
MATRIX = Decision(Action.BLOCK, Reason.MATRIX, "matrix:games:ks2", 0, None)
ILLEGAL = Decision(Action.BLOCK, Reason.ILLEGAL, "illegal:child-abuse", 0, None)
ALLOWED = Decision(Action.ALLOW, Reason.DEFAULT, "default:ks2", 0, None)


def query(name="games.example", kind="A", **options):
    return parse_query(dns.message.make_query(name, kind, **options).to_wire())


def said(asked, response) -> dict:
    """Return a whole message as dnspython reads it."""
    octets = render(asked, response).message
    got = dns.message.from_wire(octets)
    assert len(octets) <= asked.size_octets
    assert got.id == asked.id
    assert [q.to_text() for q in got.question] == [f"{asked.qname}. IN {mnemonic(asked.qtype)}"]
    return {
        "rcode": dns.rcode.to_text(got.rcode()),
        "flags": dns.flags.to_text(got.flags),
        "answer": [r.to_text() for r in got.answer],
        "authority": [r.to_text() for r in got.authority],
        "additional": [r.to_text() for r in got.additional],
        "edns": (got.edns, got.payload, dns.flags.edns_to_text(got.ednsflags)),
        "ede": [(int(o.code), o.text) for o in got.options],
    }


@pytest.mark.parametrize(
    ("block_answer", "kind", "rcode", "answer"),
    [
        ("block-page", "A", "NOERROR", "games.example. 5 IN A 192.0.2.2"),
        ("block-page", "AAAA", "NOERROR", "games.example. 5 IN AAAA 2001:db8::2"),
        ("block-page", "HTTPS", "NOERROR", None),
        ("block-page", "SVCB", "NOERROR", None),
        ("block-page", "TXT", "NOERROR", None),
        ("block-page", "ANY", "NOERROR", None),
        ("nxdomain", "A", "NXDOMAIN", None),
        ("nxdomain", "AAAA", "NXDOMAIN", None),
        ("nxdomain", "MX", "NXDOMAIN", None),
        ("nxdomain", "HTTPS", "NXDOMAIN", None),
        ("nxdomain", "SVCB", "NXDOMAIN", None),
        ("nodata", "A", "NOERROR", None),
        ("nodata", "AAAA", "NOERROR", None),
        ("nodata", "HTTPS", "NOERROR", None),
        ("nodata", "SVCB", "NOERROR", None),
        ("null-address", "A", "NOERROR", "games.example. 5 IN A 0.0.0.0"),
        ("null-address", "AAAA", "NOERROR", "games.example. 5 IN AAAA ::"),
        ("null-address", "HTTPS", "NOERROR", None),
        ("null-address", "SVCB", "NOERROR", None),
        ("null-address", "CNAME", "NOERROR", None),
    ],
)
@pytest.mark.parametrize("edns", [False, True])
@pytest.mark.parametrize("decision", [MATRIX, ILLEGAL])
def test_respond_answers_a_blocked_query_in_full(
    school, settings, block_answer, kind, rcode, answer, edns, decision
):
    settings = replace(settings, block_answer=BlockAnswer(block_answer), block_ttl_s=5)
    asked = query(kind=kind, **({"use_edns": 0, "payload": 1400} if edns else {}))
    why = (16, "illegal content") if decision is ILLEGAL else (15, "school policy matrix:games:ks2")
    assert said(asked, respond(asked, decision, school, settings)) == {
        "rcode": rcode,
        "flags": "QR RD RA",
        "answer": [answer] if answer else [],
        "authority": [] if answer else [NEGATIVE.format(ttl=5)],
        "additional": [],
        "edns": (0, 1232, "") if edns else (-1, 0, ""),
        "ede": ([why, (4, None)] if answer else [why]) if edns else [],
    }


@pytest.mark.parametrize("kind", ["A", "AAAA"])
def test_respond_gives_nodata_where_the_block_page_has_no_address_of_the_family(
    school, settings, kind
):
    settings = replace(settings, block_page_ipv4=None, block_page_ipv6=None)
    asked = query(kind=kind)
    got = said(asked, respond(asked, MATRIX, school, settings))
    assert (got["rcode"], got["answer"], got["authority"]) == (
        "NOERROR",
        [],
        [NEGATIVE.format(ttl=1)],
    )


@pytest.mark.parametrize("block_answer", list(BlockAnswer))
@pytest.mark.parametrize("kind", ["A", "AAAA", "HTTPS", "TXT"])
@pytest.mark.parametrize(
    "reason", [Reason.CANARY, Reason.PAUSED, Reason.ISOLATED, Reason.ESSENTIAL, Reason.PROTECTED]
)
def test_respond_denies_a_canary_whatever_place_decided(
    school, settings, block_answer, kind, reason
):
    asked = query("use-application-dns.net", kind, use_edns=0)
    action = Action.ALLOW if reason in (Reason.ESSENTIAL, Reason.DEFAULT) else Action.BLOCK
    decision = Decision(action, reason, "rule", 0, None)
    got = said(
        asked, respond(asked, decision, school, replace(settings, block_answer=block_answer))
    )
    assert (got["rcode"], got["flags"], got["answer"]) == ("NXDOMAIN", "QR RD RA", [])
    code = 17 if reason is Reason.PAUSED else 15
    assert got["ede"] == [(code, "school policy rule")]


def test_respond_copies_rd_cd_and_do_and_never_sets_ad(school, settings):
    flags = dns.flags.CD | dns.flags.AD
    asked = query(flags=flags, use_edns=0, want_dnssec=True)
    got = said(asked, respond(asked, MATRIX, school, settings))
    assert (got["flags"], got["edns"]) == ("QR RA CD", (0, 1232, "DO"))


def test_respond_bounds_the_extra_text(school, settings):
    asked = query(use_edns=0)
    decision = replace(MATRIX, rule_id="x" * 300)
    assert len(said(asked, respond(asked, decision, school, settings))["ede"][0][1]) == 80


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.ILLEGAL, 16),
        (Reason.PAUSED, 17),
        (Reason.LESSON, 17),
        *((r, 15) for r in (Reason.ISOLATED, Reason.SUSPENDED, Reason.EXCEPTION, Reason.MATRIX)),
        (Reason.DEFAULT, 15),
    ],
)
def test_respond_tells_on_whose_wish_a_name_is_stopped(school, settings, reason, code):
    asked = query(kind="TXT", use_edns=0)
    decision = replace(MATRIX, reason=reason)
    assert said(asked, respond(asked, decision, school, settings))["ede"][0][0] == code


def test_respond_answers_a_query_for_all_types_shortly(school, settings):
    asked = query(kind="ANY", use_edns=0)
    got = said(asked, respond(asked, ALLOWED, school, settings))
    assert got["answer"] == ['games.example. 3600 IN HINFO "RFC8482" ""']
    assert (got["rcode"], got["flags"], got["ede"]) == ("NOERROR", "QR RD RA", [])


def test_respond_forwards_what_is_allowed(school, settings):
    asked = query()
    assert respond(asked, ALLOWED, school, settings) is Forward.FORWARD


@pytest.mark.parametrize("decision", [ALLOWED, MATRIX])
@pytest.mark.parametrize(
    ("options", "rcode"),
    [
        pytest.param({"rdclass": "CH", "kind": "TXT"}, Rcode.REFUSED, id="another class"),
        pytest.param({"rdclass": "ANY"}, Rcode.REFUSED, id="any class"),
        pytest.param({"rdclass": "NONE"}, Rcode.REFUSED, id="no class"),
        pytest.param({"kind": "AXFR"}, Rcode.REFUSED, id="a zone transfer"),
        pytest.param({"kind": "IXFR"}, Rcode.REFUSED, id="what changed in a zone"),
        pytest.param({"kind": "TKEY"}, Rcode.REFUSED, id="a key"),
        pytest.param({"kind": "OPT"}, Rcode.REFUSED, id="an OPT record"),
        pytest.param({"kind": "TYPE128"}, Rcode.REFUSED, id="rfc9824_nxname"),
        pytest.param({"kind": "TYPE0"}, Rcode.REFUSED, id="no type"),
        pytest.param({"use_edns": 1}, Rcode.BADVERS, id="an EDNS version to come"),
    ],
)
def test_respond_refuses_what_is_not_spoken(school, settings, decision, options, rcode):
    asked = query(**options)
    response = respond(asked, decision, school, settings)
    assert response == Response(rcode)
    got = dns.message.from_wire(render(asked, response).message)
    assert (got.rcode(), got.answer, got.authority, got.edns) == (
        rcode,
        [],
        [],
        0 if asked.edns else -1,
    )


NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
HOUR = Span(NOON - timedelta(minutes=30), NOON + timedelta(minutes=30))


def aliases(*targets) -> list[dns.rrset.RRset]:
    owners = ("www.example", *targets)
    return [
        dns.rrset.from_text(f"{owner}.", 60, "IN", "CNAME", f"{target}.")
        for owner, target in pairwise(owners)
    ]


def rechecked(policy, name, *targets, kind="A", records=None):
    """Return what recheck says to an upstream's answer for an allowed name."""
    client = policy.client(ip_address("192.0.2.9"), None)
    decision = decide(policy, client, name, NOON)
    assert not decision.blocked
    asked = query(name, kind)
    answer = dns.message.make_response(dns.message.make_query(name, kind, id=asked.id))
    answer.answer = aliases(*targets) if records is None else records
    return recheck(decision, parse_answer(answer.to_wire(), asked, asked.id), policy, client, NOON)


def exception(name, action):
    return DatedException("1", Scope.SCHOOL, "", NameSet.of([name]), action, HOUR, "why")


@pytest.mark.parametrize(
    ("targets", "rule"),
    [
        pytest.param((), None, id="no alias"),
        pytest.param(("cdn.example", "edge.cdn.example"), None, id="allowed targets"),
        pytest.param(
            ("cdn.example", "a.tracker.example"), "matrix:pornography:ks2", id="a blocked category"
        ),
        pytest.param(("a.vile.example",), "illegal:child-abuse", id="the illegal tier"),
        pytest.param(
            ("tracker.example", "vile.example"), "illegal:child-abuse", id="the strictest wins"
        ),
        pytest.param(("use-application-dns.net",), "canary:use-application-dns.net", id="a canary"),
        pytest.param(("nottracker.example",), None, id="same ending, other label"),
    ],
)
def test_recheck_stops_an_alias_of_a_blocked_name(school, targets, rule):
    stop = rechecked(school, "www.example", *targets)
    assert (stop and stop.rule_id) == rule


@pytest.mark.parametrize("kind", ["HTTPS", "SVCB"])
@pytest.mark.parametrize("priority", [0, 1])
@pytest.mark.parametrize(
    ("target", "rule"),
    [("a.tracker.example.", "matrix:pornography:ks2"), ("cdn.example.", None), (".", None)],
)
def test_recheck_looks_at_the_targets_of_services(school, kind, priority, target, rule):
    record = dns.rrset.from_text("www.example.", 60, "IN", kind, f"{priority} {target}")
    stop = rechecked(school, "www.example", kind=kind, records=[record])
    assert (stop and stop.rule_id) == rule


@pytest.mark.parametrize(
    ("kind", "owner", "rdata"),
    [("SRV", "www.example.", "0 1 443 {}"), ("DNAME", "example.", "{}")],
)
@pytest.mark.parametrize(
    ("target", "rule"),
    [("a.tracker.example.", "matrix:pornography:ks2"), ("cdn.test.", None), (".", None)],
)
def test_recheck_looks_at_the_targets_of_other_records(school, kind, owner, rdata, target, rule):
    record = dns.rrset.from_text(owner, 60, "IN", kind, rdata.format(target))
    stop = rechecked(school, "www.example", kind="SRV", records=[record])
    assert (stop and stop.rule_id) == rule


def test_recheck_stops_an_alias_of_a_name_blocked_by_exception(school):
    policy = replace(school, exceptions=(exception("cdn.example", Action.BLOCK),))
    assert rechecked(policy, "www.example", "cdn.example").rule_id == "exception:1"


ALLOWING = [
    pytest.param({"exceptions": (exception("www.example", Action.ALLOW),)}, id="an exception"),
    pytest.param({"protected": NameSet.of(["www.example"])}, id="a protected name"),
    pytest.param(
        {"lessons": (Lesson("1", "ks2", LessonMode.ONLY, NameSet.of(["www.example"]), HOUR),)},
        id="a lesson with these sites only",
    ),
    pytest.param(
        {
            "pauses": (Pause("1", frozenset(["ks2"]), HOUR, "button"),),
            "essential": NameSet.of(["www.example"]),
        },
        id="the essential list in a pause",
    ),
]
"""Ways in which a policy allows www.example by name."""


@pytest.mark.parametrize("changes", ALLOWING)
def test_recheck_lets_a_name_allowed_by_name_be_an_alias_of_anything_but_the_illegal(
    school, changes
):
    policy = replace(school, **changes)
    assert rechecked(policy, "www.example", "cdn.example", "tracker.example") is None
    stop = rechecked(policy, "www.example", "tracker.example", "vile.example")
    assert stop.rule_id == "illegal:child-abuse"


def test_recheck_needs_no_list_entry_of_a_target_where_the_default_is_block(school):
    groups = {**school.groups, "ks2": replace(school.groups["ks2"], default=DefaultAction.BLOCK)}
    policy = replace(school, groups=groups)
    assert rechecked(policy, "sums.example", "cdn.example") is None


def test_respond_blocks_as_the_category_wants(school, settings):
    decision = replace(MATRIX, categories=mask_of(["advertising", "games"]))
    for answers, address in (
        ((), "192.0.2.2"),
        (((mask_of(["advertising"]), BlockAnswer.NULL_ADDRESS),), "0.0.0.0"),
        (((mask_of(["drugs"]), BlockAnswer.NULL_ADDRESS),), "192.0.2.2"),
    ):
        used = replace(settings, block_answers=answers)
        got = said(query(), respond(query(), decision, school, used))
        assert got["answer"][0].split()[-1] == address
    nothing = replace(settings, block_answers=((mask_of(["games"]), BlockAnswer.NXDOMAIN),))
    assert said(query(), respond(query(), decision, school, nothing))["rcode"] == "NXDOMAIN"


def at_address(policy, name="www.example", *, records=("A 192.0.2.66",)):
    """Return what recheck says to an answer with ``records``, by lists that know some addresses."""
    kind = records[0].split()[0]
    made = [dns.rrset.from_text(f"{name}.", 60, "IN", *r.split(" ", 1)) for r in records]
    return rechecked(policy, name, kind=kind, records=made)


@pytest.mark.parametrize(
    ("records", "rule"),
    [
        pytest.param(("A 192.0.2.65",), None, id="on no list"),
        pytest.param(("A 192.0.2.68",), None, id="acceptable"),
        pytest.param(("A 192.0.2.66",), "matrix:pornography:ks2", id="IPv4"),
        pytest.param(("AAAA 2001:db8::66",), "matrix:pornography:ks2", id="IPv6"),
        pytest.param(("A 192.0.2.65", "A 192.0.2.66"), "matrix:pornography:ks2", id="one of two"),
        pytest.param(("A 192.0.2.66", "A 192.0.2.67"), "illegal:child-abuse", id="the strictest"),
        pytest.param(("HTTPS 1 . ipv4hint=192.0.2.66",), "matrix:pornography:ks2", id="a hint"),
        pytest.param(("CNAME tracker.example.",), "matrix:pornography:ks2", id="names, still"),
    ],
)
def test_recheck_stops_an_answer_with_a_listed_address(knowing, records, rule):
    stop = at_address(knowing, records=records)
    assert (stop and stop.rule_id) == rule


@pytest.mark.parametrize("changes", ALLOWING)
def test_recheck_lets_a_name_allowed_by_name_have_any_address_but_an_illegal(knowing, changes):
    policy = replace(knowing, **changes)
    assert at_address(policy) is None
    assert at_address(policy, records=("A 192.0.2.67",)).rule_id == "illegal:child-abuse"


def test_recheck_needs_no_list_entry_of_an_address_where_the_default_is_block(knowing):
    groups = {**knowing.groups, "ks2": replace(knowing.groups["ks2"], default=DefaultAction.BLOCK)}
    policy = replace(knowing, groups=groups)
    assert at_address(policy, "sums.example", records=("A 192.0.2.65",)) is None


def test_recheck_looks_up_no_address_where_none_is_listed(school):
    """The lists of the fixture refuse to be asked then."""
    assert at_address(school) is None
