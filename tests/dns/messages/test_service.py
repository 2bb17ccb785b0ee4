from __future__ import annotations

import struct

import dns.exception
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_dns.messages.service import ECH, read_service

KEYS = "ech=AAgABAAAAAAAAA=="


def wire(text: str) -> bytes:
    return dns.rdata.from_text("IN", "HTTPS", text).to_wire()


def text(rdata: bytes) -> str:
    return dns.rdata.from_wire(
        dns.rdataclass.IN, dns.rdatatype.HTTPS, rdata, 0, len(rdata)
    ).to_text()


# RFC 9460, appendix D: the records that have text forms, and what is to be left of them without ech.
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("0 foo.example.com.", "0 foo.example.com.", id="rfc9460_d1_alias"),
        pytest.param("1 .", "1 .", id="rfc9460_d2_figure3_owner"),
        pytest.param(
            '16 foo.example.com. port="53"',
            '16 foo.example.com. port="53"',
            id="rfc9460_d2_figure4",
        ),
        pytest.param(
            "1 foo.example.com. key667=hello",
            '1 foo.example.com. key667="hello"',
            id="rfc9460_d2_figure5",
        ),
        pytest.param(
            '1 foo.example.com. ipv6hint="2001:db8::1,2001:db8::53:1"',
            '1 foo.example.com. ipv6hint="2001:db8::1,2001:db8::53:1"',
            id="rfc9460_d2_figure7",
        ),
        pytest.param(
            "16 foo.example.org. alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1",
            '16 foo.example.org. mandatory="alpn,ipv4hint" alpn="h2,h3-19" ipv4hint="192.0.2.1"',
            id="rfc9460_d2_figure9",
        ),
        pytest.param(f"1 . alpn=h2 {KEYS}", '1 . alpn="h2"', id="ech"),
        pytest.param(
            f"1 . mandatory=alpn,ech alpn=h2 {KEYS}",
            '1 . mandatory="alpn" alpn="h2"',
            id="mandatory",
        ),
        pytest.param(f"1 . mandatory=ech {KEYS}", "1 .", id="mandatory alone"),
    ],
)
def test_without_ech_leaves_all_else_as_it_was(before, after):
    octets = b"\0" * 12 + wire(before)
    assert text(read_service(octets, 12, len(octets)).without({ECH})) == after


def test_hints_are_addresses():
    octets = b"\0" * 12 + wire("1 . ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1")
    hints = read_service(octets, 12, len(octets)).hints
    assert {key: [len(a) for a in addresses] for key, addresses in hints.items()} == {
        4: [4, 4],
        6: [16],
    }


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40))
def test_read_service_gives_a_value_or_a_fault_for_any_octets(octets):
    for rdata in (octets, b"\0\1\0" + octets):
        try:
            service = read_service(bytes(12) + rdata, 12, 12 + len(rdata))
        except (ValueError, IndexError):
            continue
        again = service.without(set())
        assert read_service(bytes(12) + again, 12, 12 + len(again)) == service


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({0: b"\0\4\0\1", 1: b"\2h2", 4: b"\1" * 4}, id="out of order"),
        pytest.param({0: b"\0\1\0\1", 1: b"\2h2"}, id="twice"),
        pytest.param({0: b"\0\1"}, id="missing"),
        pytest.param({0: b"\0\0"}, id="itself"),
        pytest.param({0: b""}, id="none"),
        pytest.param({0: b"\0\1\0", 1: b"\2h2"}, id="cut short"),
        pytest.param({4: b""}, id="a hint of nothing"),
        pytest.param({6: b"\0" * 15}, id="a hint cut short"),
    ],
)
def test_read_service_refuses_what_a_client_would(params):
    written = b"".join(struct.pack("!HH", k, len(v)) + v for k, v in params.items())
    octets = bytes(12) + b"\0\1\0" + written
    with pytest.raises(dns.exception.FormError):
        text(octets[12:])
    with pytest.raises(ValueError, match="parameters"):
        read_service(octets, 12, len(octets))
