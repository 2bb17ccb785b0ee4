"""Addresses on lists, judged by ipaddress."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gate_appliance.lists.compile import Source, compile_lists
from gate_appliance.lists.index import open_index
from gate_appliance.lists.networks import (
    MalformedNetworkError,
    build_table,
    is_network,
    pack_network,
    read_network,
    widened,
)
from gate_core.categories import BY_ID
from gate_core.names import MalformedNameError, parse_name

GAMES, VIDEO = BY_ID["games"].mask, BY_ID["video"].mask


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("9.0.0.0/8", "9.0.0.0/8"),
        ("2001:DB8:0::1", "2001:db8::1/128"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("2600::/16", "2600::/16"),
        ("172.32.0.0/12", "172.32.0.0/12"),
        ("fe80::1%eth0", None),
        ("2001:db8::1%1", None),
        ("example.org", None),
        ("192.0.2", None),
        ("192.0.2.1/33", None),
        ("2001:db8::/129", None),
        ("", None),
    ],
)
def test_read_network_gives_the_canonical_form(text, network):
    assert read_network(text) == network


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("0.0.0.0/0", "wider"),
        ("8.0.0.0/7", "/8 for IPv4"),
        ("::/0", "wider"),
        ("2000::/3", "/16 for IPv6"),
        ("2600::/15", "wider"),
        ("192.0.2.5/24", "192.0.2.0/24 is allowed"),
        ("10.0.0.0/8", "private"),
        ("192.0.0.0/8", "private"),
        ("172.31.255.255", "private"),
        ("127.0.0.1", "private"),
        ("0.0.0.0", "private"),
        ("255.255.255.255", "private"),
        ("::1", "private"),
        ("fd00::/16", "private"),
        ("fe80::1", "private"),
        ("ff02::1", "private"),
        ("::ffff:192.0.2.1", "private"),
        ("64:ff9b::/96", "private"),
    ],
)
def test_read_network_refuses_what_would_close_too_much(text, part):
    with pytest.raises(MalformedNetworkError, match=part):
        read_network(text)


@settings(max_examples=300, deadline=None)
@given(st.text("0123456789abcdef.:/%-_ex", max_size=30))
def test_read_network_leaves_every_name_a_name(text):
    try:
        network = read_network(text)
    except MalformedNetworkError:
        network = "/"
    if network is None:
        return
    assert is_network(network)
    with pytest.raises(MalformedNameError):
        parse_name(text)


def networks(base, widths):
    """Return a strategy for networks at or behind ``base``, close together, so that they meet."""
    first, bits = int(ip_address(base)), ip_address(base).max_prefixlen
    return st.builds(
        lambda offset, width: ip_network((first + offset, width), strict=False),
        st.integers(0, 40),
        st.integers(*widths).map(lambda width: bits - width),
    )


NETWORKS = st.one_of(
    networks("192.0.2.0", (0, 7)),
    networks("2001:db8::", (0, 7)),
    # Up to both ends of what a list may hold.
    st.sampled_from(("1.0.0.0/8", "223.0.0.0/8", "100::/16", "fbff::/16")).map(ip_network),
)
LISTS = st.lists(
    st.tuples(
        st.sampled_from(["games", "video"]),
        st.lists(st.tuples(NETWORKS, st.booleans()), max_size=8),
    ),
    max_size=4,
)


def expected(lists, address):
    """Return what the lists say of ``address``, as plainly as it can be written."""
    mask = 0
    for category, its in lists:
        around = [(n.prefixlen, listed) for n, listed in its if address in n]
        if around and max(around)[1]:
            mask |= BY_ID[category].mask
    return mask


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(LISTS)
def test_address_mask_agrees_with_ipaddress(tmp_path, lists):
    compiled = compile_lists(
        [
            Source(
                category,
                ["www.example.org", *(str(n) for n, listed in its if listed)],
                [str(n) for n, listed in its if not listed],
            )
            for category, its in lists
        ],
        tmp_path,
    )
    index = open_index(compiled.path, compiled.sha256)
    edges = {n[place] for _, its in lists for n, _ in its for place in (0, -1)}
    near = {address + step for address in edges for step in (-1, 0, 1)}
    for address in (*near, ip_address("192.0.2.20"), ip_address("2001:db8::20")):
        assert index.address_mask(address.packed) == expected(lists, address)
    assert index.lists_addresses == any(expected(lists, address) for address in edges)
    assert bool(index.mask("www.example.org")) == bool(lists)


@pytest.mark.parametrize("within", ["::ffff:192.0.2.7", "64:ff9b::192.0.2.7"])
def test_address_mask_sees_ipv4_within_ipv6(tmp_path, within):
    compiled = compile_lists([Source("games", ["192.0.2.7/32"])], tmp_path)
    index = open_index(compiled.path, compiled.sha256)
    assert index.address_mask(ip_address(within).packed) == GAMES
    assert index.address_mask((ip_address(within) + 1).packed) == 0
    assert index.mask("192.0.2.7") == 0


def test_address_mask_of_lists_without_addresses(tmp_path):
    compiled = compile_lists([Source("games", ["games.example"])], tmp_path)
    index = open_index(compiled.path, compiled.sha256)
    assert not index.lists_addresses
    for address in ("192.0.2.1", "2001:db8::1", "::", "255.255.255.255"):
        assert index.address_mask(ip_address(address).packed) == 0


def test_build_table_joins_what_says_the_same():
    quarters = [pack_network(f"192.0.2.{n}/26", listed=True) for n in (64, 0, 128, 192)]
    starts, masks = build_table({GAMES: [quarters[:2], quarters[2:]], VIDEO: [[]]})
    assert starts == widened(bytes((192, 0, 2, 0))) + widened(bytes((192, 0, 3, 0)))
    assert list(masks) == [GAMES, 0]
