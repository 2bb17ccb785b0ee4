import tomllib
from contextlib import suppress
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core.config import Config, ConfigError, DnsConfig, ZoneConfig, parse, reference

GOOD = '[dns]\nupstreams = ["192.0.2.1"]\n'


def faults(text):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return list(caught.value.faults)


def test_parse_takes_defaults_for_what_is_not_there():
    config = parse(GOOD)
    assert config.dns == DnsConfig(upstreams=("192.0.2.1",))
    assert config.appliance.mode == "inline"


def test_parse_reports_every_fault_with_key_value_and_what_is_allowed():
    text = '[dns]\nblok = 1\nblock_ttl_s = -1\nblock_answer = "refuse"\nupstreams = "x"\n[spam]\n'
    assert faults(text) == [
        f"dns.blok: unknown key; allowed are {', '.join(f.name for f in fields(DnsConfig))}",
        "dns.block_ttl_s: -1 is not a number of seconds from 0 to 86400",
        "dns.block_answer: 'refuse' is none of block-page, nxdomain, nodata, null-address",
        "dns.upstreams: 'x' is not a list of texts",
        f"spam: unknown key; allowed are {', '.join(f.name for f in fields(Config))}",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("dns = 1", "dns: 1 is not a table", id="no table"),
        pytest.param("[dns", "not TOML", id="no TOML"),
        pytest.param(
            "[dns]\nport = true", "dns.port: True is not a whole number", id="bool is no port"
        ),
        pytest.param(GOOD + 'listen = ["x"]', "is not an IPv4 or IPv6 address", id="address"),
        pytest.param(
            '[dns]\nupstreams = ["ns.example"]', "is not an upstream such as", id="no address"
        ),
        pytest.param(
            '[dns]\nupstreams = ["127.0.0.1"]', "where the sinkhole itself listens", id="ourselves"
        ),
        pytest.param(
            '[bridge]\naddresses = ["192.0.2.2/24"]\n[dns]\nupstreams = ["192.0.2.2"]',
            "where the sinkhole itself listens",
            id="our own address",
        ),
        pytest.param(
            '[dns]\nlisten = ["127.0.0.1"]\nport = 5300\nupstreams = ["127.0.0.1:5300"]',
            "where the sinkhole itself listens",
            id="our own port",
        ),
        pytest.param(
            '[illegal_filter]\nresolvers = ["192.0.2.1"]', "belong together", id="no test name"
        ),
        pytest.param(
            '[illegal_filter]\nnames = ["test.example"]', "belong together", id="no filter"
        ),
        pytest.param(
            '[illegal_filter]\nanswers = ["2001:db8::1"]', "no IPv4 address", id="no answer to A"
        ),
        pytest.param("[illegal_filter]\nanswers = []", "is no answer", id="no answer at all"),
        pytest.param('[firewall]\npages_from = ["192.0.2.1/24"]', "bits beyond", id="no network"),
        pytest.param(
            "[firewall]\nline_down_mbit = -1", "number of megabits a second from 0", id="rate"
        ),
        pytest.param('[metrics]\nlisten = "all"', "is not an IPv4 or IPv6", id="no listener"),
        pytest.param(
            '[dns.zones."-.example"]\nservers = []', "label '-' is not", id="no name of a zone"
        ),
        pytest.param(
            '[dns.zones."ad.example"]\nservers = ["x"]', "is not an upstream", id="no server"
        ),
        pytest.param(
            '[dns.zones."ad.example"]\nserver = []',
            "unknown key; allowed are",
            id="no key of a zone",
        ),
        pytest.param(
            '[dns]\ndnssec = "validate"\nupstreams = ["192.0.2.1", "tls://192.0.2.2#a.example"]',
            "all or none",
            id="validated over TLS and not",
        ),
        pytest.param('[dns.zones]\n"ad.example" = 1', "is not a table", id="no zone"),
        pytest.param(GOOD + '[bridge]\nname = "a b"', "name of a network interface", id="blank"),
        pytest.param(
            GOOD + '[bridge]\nname = "x\\"; flush"', "name of a network interface", id="quote"
        ),
        pytest.param(GOOD + '[bridge]\nswitch_port = "wan0"', "needs two ports", id="one port"),
        pytest.param(
            GOOD + '[bridge]\naddresses = ["192.0.2.2"]', "its prefix length", id="no prefix"
        ),
        pytest.param(GOOD + '[bridge]\ngateways = ["x"]', "not an IPv4 or IPv6", id="gateway"),
    ],
)
def test_parse_refuses(text, fault):
    assert any(fault in line for line in faults(text)), faults(text)


def test_parse_takes_upstreams_and_zones():
    config = parse(
        '[dns]\nupstreams = ["127.0.0.1:5353", "tls://192.0.2.1#dns.example.net"]\n'
        '[dns.zones."ad.school.example"]\nservers = ["192.0.2.10"]\n[dns.zones."own.example"]\n'
    )
    assert config.dns.upstreams == ("127.0.0.1:5353", "tls://192.0.2.1#dns.example.net")
    assert config.dns.zones == {
        "ad.school.example": ZoneConfig(("192.0.2.10",)),
        "own.example": ZoneConfig(),
    }
    # Without upstreams, those are followed that the network hands out.
    assert parse("").dns.upstreams == ()


def test_reference_holds_every_key_and_is_toml():
    text = reference()
    tree = tomllib.loads(text)
    assert set(tree) == set(Config.__dataclass_fields__)
    uncommented = "\n".join(
        line.removeprefix("# ")
        for line in text.splitlines()
        if " = " in line or line.startswith("[")
    )
    values = tomllib.loads(uncommented)
    assert values["dns"]["block_answer"] == "block-page"


@given(st.text(max_size=200))
def test_parse_of_any_text_is_a_config_or_faults(text):
    with suppress(ConfigError):
        assert isinstance(parse(text), Config)
