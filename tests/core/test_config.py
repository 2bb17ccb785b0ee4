import tomllib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core.config import Config, ConfigError, DnsConfig, parse, reference

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
        "dns.blok: unknown key; allowed are listen, port, workers, upstreams, upstream_port,"
        " block_answer, block_page_addresses, block_ttl_s",
        "dns.block_ttl_s: -1 is not a number of seconds from 0 to 86400",
        "dns.block_answer: 'refuse' is none of block-page, nxdomain, nodata, null-address",
        "dns.upstreams: 'x' is not a list of texts",
        "spam: unknown key; allowed are appliance, bridge, dns, firewall, web, panel",
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
        pytest.param("", "dns.upstreams: [] names no resolver", id="no upstream"),
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
