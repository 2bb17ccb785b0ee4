from __future__ import annotations

from ipaddress import ip_address

import dns.message
import dns.reversename
import pytest

from gate_core.upstreams import Upstream
from gate_dns.messages.codes import Rcode
from gate_dns.messages.render import render
from gate_dns.messages.wire import parse_query
from gate_dns.zones import LOCAL_TTL_S, Zone, Zones

SERVER = (Upstream(ip_address("192.0.2.10")),)


def query(name, kind="A"):
    return parse_query(dns.message.make_query(name, kind).to_wire())


def test_of_returns_the_narrowest_zone_on_a_label_border():
    zones = Zones((Zone("school.example", SERVER), Zone("www.school.example")))
    found = {
        name: (zone := zones.of(name)) and zone.name
        for name in (
            "school.example",
            "dc.ad.school.example",
            "a.www.school.example",
            "myschool.example",
            "example",
            "",
        )
    }
    assert list(found.values()) == [
        "school.example",
        "school.example",
        "www.school.example",
        None,
        None,
        None,
    ]
    assert Zones().of("school.example") is None


@pytest.mark.parametrize(
    "name",
    [
        # RFC 6303, section 4; RFC 7793.
        *(
            dns.reversename.from_address(address).to_text()
            for address in (
                "0.1.2.3",
                "10.1.2.3",
                "100.64.0.1",
                "100.127.255.254",
                "127.0.0.53",
                "169.254.169.254",
                "172.16.0.1",
                "172.31.255.254",
                "192.0.2.1",
                "192.168.1.1",
                "198.51.100.1",
                "203.0.113.1",
                "fd12:3456::1",
                "fe80::1",
                "febf::1",
                "2001:db8::1",
            )
        ),
        # RFC 6761, RFC 6762, RFC 7686, RFC 8375, RFC 9476.
        "host.test",
        "test",
        "x.invalid",
        "printer.local",
        "duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion",
        "nas.home.arpa",
        "x.alt",
    ],
)
def test_locally_denies_names_of_no_use_outside(name):
    response = Zones().locally(query(name, "PTR"))
    assert (response.rcode, response.ttl_s, response.address) == (Rcode.NXDOMAIN, LOCAL_TTL_S, None)
    message = dns.message.from_wire(render(query(name, "PTR"), response).message)
    # RFC 2308, section 3: with the SOA record by which it may be kept.
    assert [rrset.rdtype for rrset in message.authority] == [dns.rdatatype.SOA]


@pytest.mark.parametrize(
    "name",
    [
        "www.example",
        "",
        "arpa",
        "in-addr.arpa",
        "ipv4only.arpa",
        "172.in-addr.arpa",
        "100.in-addr.arpa",
        "contest",
        "local.example",
        "localhost.example",
        "8.8.8.8.in-addr.arpa",
        "1.0.32.172.in-addr.arpa",
        "1.0.128.100.in-addr.arpa",
        "1.0.15.172.in-addr.arpa",
        "c.f.ip6.arpa",
    ],
)
def test_locally_leaves_all_others_alone(name):
    assert Zones().locally(query(name)) is None


@pytest.mark.parametrize(
    ("name", "kind", "address"),
    [
        ("localhost", "A", "127.0.0.1"),
        ("app.localhost", "AAAA", "::1"),
        ("localhost", "MX", None),
        ("localhost", "HTTPS", None),
    ],
)
def test_locally_answers_localhost_with_loopback(name, kind, address):
    # RFC 6761, section 6.3.
    response = Zones().locally(query(name, kind))
    assert response.rcode == Rcode.NOERROR
    assert response.address == (address and ip_address(address))
    assert (response.serial is None) == (address is not None)


@pytest.mark.parametrize(
    "name", ["home.arpa", "168.192.in-addr.arpa", "10.in-addr.arpa", "d.f.ip6.arpa"]
)
def test_locally_says_that_its_zones_exist_and_leaves_their_keys_to_the_parent(name):
    assert Zones().locally(query(name, "SOA")).rcode == Rcode.NOERROR
    # RFC 8375, section 4: the parent's answer is what tells a validator that there is no key.
    assert Zones().locally(query(name, "DS")) is None
    assert Zones().locally(query(f"x.{name}", "DS")).rcode == Rcode.NXDOMAIN


def test_locally_leaves_what_is_in_a_zone_of_the_school_to_its_servers():
    zones = Zones((Zone("school.local", SERVER), Zone("1.168.192.in-addr.arpa", SERVER)))
    assert zones.locally(query("dc.school.local")) is None
    assert zones.locally(query("7.1.168.192.in-addr.arpa", "PTR")) is None
    assert zones.locally(query("7.2.168.192.in-addr.arpa", "PTR")).rcode == Rcode.NXDOMAIN
    assert zones.locally(query("other.local")).rcode == Rcode.NXDOMAIN
    # NXDOMAIN here would deny the zones below it (RFC 8020).
    assert zones.locally(query("local")).rcode == Rcode.NOERROR
    assert zones.locally(query("168.192.in-addr.arpa")).rcode == Rcode.NOERROR
