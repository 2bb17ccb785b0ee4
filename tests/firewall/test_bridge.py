"""The bridge, in a host of its own."""

import json
import sys

import pytest

pytestmark = pytest.mark.netns

DO = """
from gate_core.config import BridgeConfig
from gate_firewall.bridge import join_ports, raise_bridge, tear_down
config = BridgeConfig(
    name="br0",
    router_port="{router}",
    switch_port="lan0",
    addresses=("10.77.0.2/24", "fd77::2/64"),
    gateways=("10.77.0.1", "fd77::1"),
)
{calls}
"""


@pytest.fixture
def host(empty_host):
    for port in ("wan0", "lan0"):
        empty_host.ip(f"link add {port} type veth peer name {port}-far")
    return empty_host


def call(host, *names, router="wan0"):
    calls = "\n".join(f"{name}(config)" for name in names)
    command = (sys.executable, "-c", DO.format(router=router, calls=calls))
    return host.run(*command, check=False)


def links(host):
    listing = json.loads(host.run("ip", "-j", "-d", "addr").stdout)
    return {link["ifname"]: link for link in listing}


def test_raise_bridge_leaves_the_ports_out(host):
    assert call(host, "raise_bridge").returncode == 0

    found = links(host)
    data = found["br0"]["linkinfo"]["info_data"]
    assert (data["stp_state"], data["forward_delay"], data["mcast_snooping"]) == (0, 0, 0)
    assert found["br0"]["address"] == found["wan0"]["address"]
    assert "master" not in found["wan0"]
    assert "master" not in found["lan0"]


def test_join_ports_may_be_done_again(host):
    steps = ("raise_bridge", "join_ports")
    done = call(host, *steps, *steps)
    found = links(host)

    assert (done.returncode, done.stderr) == (0, "")
    assert [found[port]["master"] for port in ("wan0", "lan0")] == ["br0", "br0"]
    assert "UP" in found["lan0"]["flags"]
    own = {(a["local"], a["prefixlen"]) for a in found["br0"]["addr_info"]}
    assert {("10.77.0.2", 24), ("fd77::2", 64)} <= own
    routes = host.run("ip", "route").stdout + host.run("ip", "-6", "route").stdout
    assert "default via 10.77.0.1 dev br0" in routes
    assert "default via fd77::1 dev br0" in routes


def test_tear_down_takes_the_bridge_away_and_may_be_done_again(host):
    done = call(host, "raise_bridge", "join_ports", "tear_down", "tear_down")
    found = links(host)

    assert (done.returncode, done.stderr) == (0, "")
    assert "br0" not in found
    assert "master" not in found["lan0"]


def test_raise_bridge_names_a_port_that_is_missing(host):
    done = call(host, "raise_bridge", router="wan7")

    assert "OSError: there is no network interface 'wan7'" in done.stderr
    assert "br0" not in links(host)
