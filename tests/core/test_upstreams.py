from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gate_core.upstreams import MalformedUpstreamError, Upstream, parse_upstream


@pytest.mark.parametrize(
    ("text", "address", "port", "tls_name"),
    [
        ("192.0.2.1", "192.0.2.1", 53, ""),
        ("192.0.2.1:5353", "192.0.2.1", 5353, ""),
        ("2001:db8::1", "2001:db8::1", 53, ""),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353, ""),
        ("fe80::1%br0", "fe80::1%br0", 53, ""),
        ("tls://192.0.2.1#dns.example.net", "192.0.2.1", 853, "dns.example.net"),
        ("tls://[2001:db8::1]:8853#dns.example.net", "2001:db8::1", 8853, "dns.example.net"),
    ],
)
def test_parse_upstream_takes_every_form_and_str_gives_it_back(text, address, port, tls_name):
    assert parse_upstream(text) == Upstream(ip_address(address), port, tls_name)
    assert str(parse_upstream(text)) == text


def test_str_is_as_short_as_it_can_be():
    assert str(parse_upstream("[2001:db8::1]:53")) == "2001:db8::1"
    assert str(parse_upstream("tls://192.0.2.1:853#DNS.Example.net")) == (
        "tls://192.0.2.1#dns.example.net"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not an upstream such as 192.0.2.1"),
        ("dns.example.net", "is not an upstream"),
        ("192.0.2.1:", "is not an upstream"),
        ("192.0.2.1:x", "is not an upstream"),
        ("192.0.2.1:+53", "is not an upstream"),
        ("[192.0.2.1]x", "is not an upstream"),
        ("192.0.2.1:0", "port that is not from 1 to 65535"),
        ("192.0.2.1:65536", "port that is not from 1 to 65535"),
        ("0.0.0.0", "not the address of a single machine"),
        ("ff02::1", "not the address of a single machine"),
        ("255.255.255.255", "not the address of a single machine"),
        ("tls://192.0.2.1", "lacks 'tls://' or the name"),
        ("192.0.2.1#dns.example.net", "lacks 'tls://' or the name"),
        ("tls://192.0.2.1#", "no good name for its certificate"),
        ("tls://192.0.2.1#192.0.2.1", "no good name for its certificate"),
        ("https://192.0.2.1", "is not an upstream"),
    ],
)
def test_parse_upstream_refuses(text, said):
    with pytest.raises(MalformedUpstreamError, match=said):
        parse_upstream(text)


@given(st.text(alphabet="0129:.[]#/tls%xé", max_size=30) | st.text(max_size=30))
@example("[::1]:53")
def test_parse_upstream_of_any_text_is_an_upstream_or_refused(text):
    with suppress(MalformedUpstreamError):
        upstream = parse_upstream(text)
        assert parse_upstream(str(upstream)) == upstream
