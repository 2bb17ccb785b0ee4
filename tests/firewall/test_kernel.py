"""What is wrong with a kernel; the last tests look at a real one."""

import sys
import threading

import pytest

from gate_firewall import kernel
from gate_firewall.kernel import Version, Watch, parse_release, release_findings, table_findings

CHECK = """
from gate_core.config import BridgeConfig
from gate_firewall import apply, bridge, kernel
config = BridgeConfig(addresses=("10.77.0.2/24",))
bridge.raise_bridge(config)
apply.enforce_sysctls(config.name)
bridge.join_ports(config)
kernel.release_findings = lambda release: ()  # whatever this machine runs
{change}
print(*kernel.check(config, 10), sep="\\n", end="")
"""


@pytest.mark.parametrize(
    ("text", "version"),
    [
        pytest.param("6.18.44", (6, 18, 44), id="own"),
        pytest.param("6.12.74+deb13-amd64", (6, 12, 74), id="debian 13"),
        pytest.param("6.12.74+deb13+1-cloud-arm64", (6, 12, 74), id="debian 13, cloud"),
        pytest.param("6.1.0-28-amd64", (6, 1, 0), id="debian 12"),
        pytest.param("6.12.47+rpt-rpi-2712", (6, 12, 47), id="raspberry pi os"),
        pytest.param("6.12.25-v8+", (6, 12, 25), id="rpi-update"),
        pytest.param("6.17.0-12-generic", (6, 17, 0), id="ubuntu"),
        pytest.param("6.19.0-rc3", (6, 19, 0), id="candidate"),
        pytest.param("6.13-amd64", (6, 13, 0), id="two numbers"),
    ],
)
def test_parse_release_reads_the_forms_of_distributions(text, version):
    assert parse_release(text) == Version(*version)


@pytest.mark.parametrize("text", ["", "linux", "6", "6.", "v6.12.1"])
def test_parse_release_reads_nothing_where_there_is_no_version(text):
    assert parse_release(text) is None
    assert "known faults" in "".join(release_findings(text))


@pytest.mark.parametrize(
    ("good", "bad", "mended"),
    [
        ("6.10.14", "6.11.0", "6.12.75"),
        ("6.12.75", "6.12.74", "6.12.75"),
        ("6.18.14", "6.18.13", "6.18.14"),
        ("6.19.4", "6.19.3", "6.19.4"),
        ("6.1.0-28-amd64", "6.12.63+deb13-amd64", "6.12.75"),
        ("7.0.0", "6.13.0", "6.18.14"),
    ],
)
def test_release_findings_names_kernels_that_lose_datagrams(good, bad, mended):
    assert list(release_findings(good)) == []
    [finding] = release_findings(bad)
    assert bad in finding
    assert f"{mended} is the first without" in finding


def test_table_findings_tells_what_to_set():
    assert list(table_findings(60_000, 300)) == []
    [finding] = table_findings(59_999, 300)
    assert "59,999" in finding
    assert "nf_conntrack_max to 60000" in finding


@pytest.fixture
def host(empty_host):
    for port in ("wan0", "lan0"):
        empty_host.ip(f"link add {port} type veth peer name {port}-far")
    return empty_host


def findings(host, change=""):
    return host.run(sys.executable, "-c", CHECK.format(change=change)).stdout.splitlines()


@pytest.mark.netns
def test_check_finds_nothing_after_a_start(host):
    assert findings(host) == []


@pytest.mark.netns
def test_check_finds_ports_that_merge_datagrams(host):
    change = (
        "from pyroute2.ethtool import Ethtool\n"
        "with Ethtool() as ethtool:\n"
        "    features = ethtool.get_features('lan0')\n"
        "    features.features['rx-udp-gro-forwarding'].enable = True\n"
        "    ethtool.set_features('lan0', features)"
    )
    [finding] = findings(host, change)

    assert "Port lan0" in finding
    assert "ethtool -K lan0 rx-udp-gro-forwarding off" in finding


@pytest.mark.netns
@pytest.mark.parametrize(
    ("name", "value"),
    [("bridge/bridge-nf-call-ip6tables", "0"), ("bridge/bridge-nf-filter-vlan-tagged", "0")],
)
def test_check_finds_what_lets_packets_pass_unfiltered(host, name, value):
    change = f"open('/proc/sys/net/{name}', 'w').write('{value}')"
    [finding] = findings(host, change)

    assert f"net.{name.replace('/', '.')} is 0, and the filter needs 1. Packets may pass" in finding


@pytest.mark.netns
def test_check_finds_a_conntrack_that_trusts_anything(host):
    change = "open('/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal', 'w').write('1')"
    [finding] = findings(host, change)

    assert "nf_conntrack_tcp_be_liberal is 1, and the filter needs 0. Another program" in finding


@pytest.mark.netns
def test_check_finds_a_program_that_listens_to_the_bridge(host):
    change = (
        "import socket, struct\n"
        "listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300)\n"
        "me = struct.pack('iHH8s', socket.if_nametoindex('br0'), 1, 0, b'')  # PACKET_MR_PROMISC\n"
        "listener.setsockopt(263, 1, me)  # SOL_PACKET, PACKET_ADD_MEMBERSHIP"
    )
    [finding] = findings(host, change)

    assert "listens to all of br0" in finding


class Machine:
    """Something to look at, look by look."""

    def __init__(self, *looks):
        self._looks = iter(looks)
        self.over = threading.Event()

    def look(self):
        found = next(self._looks, None)
        if found is None:
            self.over.set()
            return ["the last"]
        if isinstance(found, OSError):
            raise found
        return found


def test_watch_looks_again_and_logs_what_is_new(monkeypatch, caplog):
    monkeypatch.setattr(kernel, "LOOK_EVERY_S", 0.0)
    machine = Machine(["a"], ["a", "b"], [], ["a"])
    watch = Watch(machine.look)
    assert watch.found == ()
    with watch:
        assert machine.over.wait(10)
    assert watch.found == ("the last",)
    told = [r.getMessage().rpartition("=")[2] for r in caplog.records]
    assert told[:4] == ["a", "b", "a", "the last"]


def test_watch_says_that_it_cannot_look(monkeypatch):
    monkeypatch.setattr(kernel, "LOOK_EVERY_S", 3600.0)
    said = threading.Event()

    def look():
        said.set()
        raise OSError(19, "No such device", "wan0")

    with Watch(look) as watch:
        assert said.wait(10)
    (found,) = watch.found
    assert "Nobody can tell whether the kernel is set as the filter needs it" in found
    assert "wan0" in found
