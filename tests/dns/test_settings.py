from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from gate_core.config import DnsConfig, ZoneConfig
from gate_core.upstreams import parse_upstream
from gate_dns.settings import BlockAnswer, DnsSettings
from gate_dns.zones import Zone

OWN = [ip_address(a) for a in ("fe80::2", "192.0.2.2", "2001:db8::2", "192.0.2.3")]


@pytest.mark.parametrize("value", ["block-page", "nxdomain", "nodata", "null-address"])
def test_of_takes_every_block_answer_of_the_configuration(value):
    config = DnsConfig(upstreams=("192.0.2.1", "2001:db8::1"), block_answer=value)
    settings = DnsSettings.of(config, OWN)
    assert settings.block_answer is BlockAnswer(value)
    assert list(map(str, settings.upstreams)) == ["192.0.2.1", "2001:db8::1"]
    assert settings.listen == (IPv4Address(0), IPv6Address(0))


def test_of_gives_the_block_page_our_own_addresses_where_none_is_configured():
    settings = DnsSettings.of(DnsConfig(upstreams=("192.0.2.1",)), OWN)
    assert settings.block_page_ipv4 == IPv4Address("192.0.2.2")
    # A link-local address would be of no use in an answer, which names no link.
    assert settings.block_page_ipv6 == IPv6Address("2001:db8::2")


def test_of_gives_a_family_without_an_address_none():
    config = DnsConfig(upstreams=("192.0.2.1",), block_page_addresses=("192.0.2.9",))
    settings = DnsSettings.of(config, OWN)
    assert (settings.block_page_ipv4, settings.block_page_ipv6) == (IPv4Address("192.0.2.9"), None)


def test_of_takes_zones_by_their_canonical_name():
    config = DnsConfig(zones={"AD.School.Example": ZoneConfig(("192.0.2.10:5353",))})
    settings = DnsSettings.of(config, OWN)
    zone = settings.zone_of("dc.ad.school.example")
    assert zone == Zone("ad.school.example", (parse_upstream("192.0.2.10:5353"),))
    assert settings.zone_of("www.school.example") is None


def test_of_forwards_to_the_validator_where_there_is_one():
    config = DnsConfig(upstreams=("192.0.2.1",), dnssec="validate", validator_port=5300)
    assert list(map(str, DnsSettings.of(config, OWN).upstreams)) == ["127.0.0.1:5300"]
