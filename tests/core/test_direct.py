from ipaddress import ip_address, ip_network

import pytest

from gate_core.direct import SHIPPED, TRANSPORTS, WIDEST, DirectService, parse_network, parse_ports

ZOOM = DirectService(
    (ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")), 17, range(8801, 8811)
)


@pytest.mark.parametrize(
    ("address", "protocol", "port", "covered"),
    [
        ("203.0.113.5", "udp", 8801, True),
        ("203.0.113.5", "udp", 8810, True),
        ("2001:db8::1", "udp", 8805, True),
        ("203.0.113.5", "udp", 8800, False),
        ("203.0.113.5", "udp", 8811, False),
        ("203.0.113.5", "tcp", 8801, False),
        ("203.0.114.5", "udp", 8801, False),
        ("2001:db9::1", "udp", 8801, False),
    ],
)
def test_covers(address, protocol, port, *, covered):
    assert ZOOM.covers(ip_address(address), TRANSPORTS[protocol], port) is covered


@pytest.mark.parametrize(
    ("text", "ports"),
    [("443", range(443, 444)), ("8801-8810", range(8801, 8811)), ("1-65535", range(1, 65536))],
)
def test_parse_ports(text, ports):
    assert parse_ports(text) == ports


@pytest.mark.parametrize(
    "text", ["", "0", "65536", "10-9", "80,443", "http", "-5", "5-", "123456", "٤٤٣"]
)
def test_parse_ports_says_what_is_allowed(text):
    with pytest.raises(ValueError, match=r"neither a port from 1 to 65535 nor a range such as"):
        parse_ports(text)


@pytest.mark.parametrize("text", ["203.0.113.5/32", "17.0.0.0/8", "2001:db8::/32"])
def test_parse_network(text):
    assert parse_network(text) == ip_network(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("203.0.113.5", "it is written 203.0.113.5/32"),
        ("203.0.113.5/24", "it is not a network"),
        ("zoom.example", "it is not a network"),
        ("0.0.0.0/0", "it is wider than /8"),
        ("16.0.0.0/7", "it is wider than /8"),
        ("2000::/3", "it is wider than /24"),
    ],
)
def test_parse_network_says_what_is_allowed(text, words):
    with pytest.raises(ValueError, match=words):
        parse_network(text)


def test_shipped_keeps_its_own_bound():
    networks = [network for its in SHIPPED.values() for network in its.networks]
    assert all(network.prefixlen >= WIDEST[network.version] for network in networks)
