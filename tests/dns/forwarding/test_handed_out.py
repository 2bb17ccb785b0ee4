from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core.upstreams import Upstream
from gate_dns.forwarding.handed_out import MAX_UPSTREAMS, HandedOut, is_ours, parse_resolv


def values(*addresses):
    return tuple(Upstream(ip_address(a)) for a in addresses)


def test_parse_resolv_takes_the_addresses_and_passes_all_else_over():
    text = """\
# nameserver 192.0.2.9
domain school.example
nameserver 192.0.2.1
nameserver\t2001:db8::1 # the router
nameserver fe80::1%br0
  nameserver 192.0.2.2
nameserver 192.0.2.1
nameserver dns.example
nameserver
options edns0
"""
    assert parse_resolv(text) == tuple(
        map(ip_address, ("192.0.2.1", "2001:db8::1", "fe80::1%br0", "192.0.2.2"))
    )


@given(st.text())
def test_parse_resolv_takes_any_text(text):
    assert isinstance(parse_resolv(text), tuple)


def test_is_ours_tells_the_addresses_of_this_machine():
    assert is_ours(ip_address("127.0.0.1"))
    assert not is_ours(ip_address("192.0.2.1"))
    assert not is_ours(ip_address("2001:db8::1"))


@pytest.fixture
def files(tmp_path):
    return tmp_path / "systemd", tmp_path / "etc"


@pytest.fixture
def handed_out(files):
    return HandedOut(files, ours=lambda address: str(address) == "192.0.2.2")


def test_read_takes_the_first_file_that_names_a_resolver(handed_out, files):
    first, second = files
    second.write_text("nameserver 192.0.2.7\n")
    assert handed_out.read() == values("192.0.2.7")
    first.write_text("nameserver 192.0.2.8\n")
    assert handed_out.read() == values("192.0.2.8")
    first.unlink()
    assert handed_out.read() == values("192.0.2.7")


def test_read_leaves_out_loopback_our_own_and_more_than_enough(handed_out, files):
    files[0].write_text("nameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.2\n")
    many = [f"192.0.2.{number}" for number in range(11, 20)]
    files[1].write_text(
        "nameserver ::ffff:127.0.0.1\nnameserver 0.0.0.0\n"
        + "".join(f"nameserver {address}\n" for address in many)
    )
    assert handed_out.read() == values(*many[:MAX_UPSTREAMS])


def test_read_tells_changes_only_and_keeps_the_last_good_ones(handed_out, files):
    file, _ = files
    assert handed_out.read() is None
    file.write_text("nameserver 192.0.2.1\n")
    assert handed_out.read() == values("192.0.2.1")
    assert handed_out.read() is None
    file.write_text("")
    assert handed_out.read() is None
    file.unlink()
    assert handed_out.read() is None
    # The same as before is no change.
    file.write_text("search school.example\nnameserver 192.0.2.1\n")
    assert handed_out.read() is None
    # Replaced as a whole, as systemd-resolved does.
    replaced = file.with_name("new")
    replaced.write_text("nameserver 192.0.2.3\n")
    replaced.replace(file)
    assert handed_out.read() == values("192.0.2.3")
