import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core.names import canonical
from gate_firewall.host import MalformedHostError, is_address, parse_host


@pytest.mark.parametrize(
    ("octets", "host"),
    [
        pytest.param(b"www.Example.ORG", "www.example.org", id="letter case"),
        pytest.param(b"example.org.", "example.org", id="final dot"),
        pytest.param(b"example.org..", "example.org", id="two final dots"),
        pytest.param(b"192.0.2.1", "192.0.2.1", id="ipv4 literal"),
        pytest.param(b"[2001:DB8:0::1]", "2001:db8::1", id="ipv6 literal"),
        pytest.param(b"a\x00b\\c\xff.example", "a\\000b\\092c\\255.example", id="odd octets"),
    ],
)
def test_parse_host_gives_the_canonical_name(octets, host):
    assert parse_host(octets) == host


@pytest.mark.parametrize(
    "octets", [b"", b".", b"a" * 254, b"[", b"[example]", b"[1.2.3.4.5]", b"[fe80::1%\n\x1b[2J]"]
)
def test_parse_host_refuses_what_names_none(octets):
    with pytest.raises(MalformedHostError):
        parse_host(octets)


@given(st.binary(max_size=300))
def test_parse_host_of_any_octets_gives_a_canonical_name_or_malformed(octets):
    try:
        host = parse_host(octets)
    except MalformedHostError:
        return
    assert host
    assert host.isascii()
    assert host.isprintable()
    assert host == canonical(host)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("203.0.113.7", True), ("2001:db8::7", True), ("7.example", False), ("localhost", False)],
)
def test_is_address(name, *, expected):
    assert is_address(name) is expected
