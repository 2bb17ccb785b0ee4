from __future__ import annotations

from ipaddress import ip_address

import dns.message
import pytest

from gate_core.upstreams import Upstream
from gate_dns.forwarding.exchange import LetterCase, asks_the_same, connect
from gate_dns.messages.wire import parse_query


def test_letter_case_is_given_up_after_so_many_losses_in_a_row():
    case = LetterCase()
    for _ in range(3):
        for _ in range(LetterCase.TRIES - 1):
            case.lost()
        case.kept()
    assert case.mixed
    for _ in range(LetterCase.TRIES):
        assert case.mixed
        case.lost()
    assert not case.mixed


@pytest.mark.parametrize(
    ("name", "kind", "same"),
    [
        ("www.example", "A", True),
        ("WWW.eXample", "A", True),
        ("wwx.example", "A", False),
        ("www.example", "AAAA", False),
        # 65 and 97 differ by the bit that tells upper from lower case.
        ("www.example", "TYPE97", False),
        ("www.example.example", "A", False),
    ],
)
def test_asks_the_same_but_for_the_letter_case_of_the_name(name, kind, same):
    query = parse_query(dns.message.make_query("www.example", "A").to_wire())
    asked = parse_query(dns.message.make_query("www.example", "HTTPS").to_wire())
    said = dns.message.make_response(dns.message.make_query(name, kind)).to_wire()
    assert asks_the_same(said, query.question) == same
    if kind == "TYPE97":
        assert not asks_the_same(said, asked.question)


def test_asks_the_same_where_the_question_is_left_out():
    query = parse_query(dns.message.make_query("www.example", "A").to_wire())
    assert asks_the_same(b"\0\0\x80\1" + bytes(8), query.question)


def test_connect_to_where_no_way_leads_is_refused():
    with pytest.raises(OSError, match=r"unreachable|denied"):
        connect(Upstream(ip_address("255.255.255.255")), 2)
