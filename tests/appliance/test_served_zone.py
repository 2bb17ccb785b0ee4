"""The school's lists as a zone: real secondaries transfer it, and nobody else does."""

import shutil
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.xfr
import dns.zone
import pytest
from name_servers import KEY, TSIG, ZONE, Server

from gate_appliance.places import Places
from gate_appliance.served_zone import Contents, KeyFileError, Zone, ZoneServer, read_key
from gate_core.config import ConfigError, ServedZoneConfig, parse

HERE = "127.0.0.1"
NAMES = [f"bad{n}.example" for n in range(4000)]


@pytest.fixture
def places(tmp_path):
    its = Places(tmp_path / "state", tmp_path / "run")
    its.make()
    return its


def put(places, *names, category="school-blocked", name="ours"):
    folder = places.lists / category
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(f"{n}\n" for n in names))


@pytest.fixture
def contents(places):
    put(places, *NAMES)
    its = Contents(places, ("school-blocked", "games", "terrorism"))
    assert its.refresh(1000)
    return its


@pytest.fixture
def server(contents):
    zone = Zone(dns.name.from_text(ZONE), TSIG, frozenset([HERE]), contents)
    its = ZoneServer(zone, HERE, 0)
    yield its
    its.close()


def transferred(port):
    zone = dns.zone.Zone(ZONE)
    query, _ = dns.xfr.make_query(zone, keyring=TSIG)
    dns.query.inbound_xfr(HERE, zone, query, port=port, lifetime=20)
    return zone


def ask(port, kind, key=TSIG, name=ZONE, how=dns.query.tcp, **more):
    query = dns.message.make_query(name, kind, **more)
    if key:
        query.use_tsig(key)
    return how(query, HERE, port=port, timeout=5)


def test_zone_holds_each_name_and_what_is_below_it(server):
    zone = transferred(server.port)
    rules = {
        name.to_text(): rdataset[0].target.to_text()
        for name, rdataset in zone.iterate_rdatasets(dns.rdatatype.CNAME)
    }
    assert rules == {n: "." for name in NAMES for n in (name, f"*.{name}")}
    assert zone.get_soa().serial == 1000


def test_exclusions_pass_and_illegal_content_is_never_served(places, contents, server):
    put(places, "||play.example^", "@@||maths.play.example^", category="games")
    put(places, "secret.example", category="terrorism")
    put(places, "site.example", "192.0.2.66", category="games", name="with-address")
    contents.refresh(1000)
    zone = transferred(server.port)
    assert zone.get_rdataset("site.example", "CNAME")
    assert "192.0.2" not in zone.to_text().replace("\\", "")
    assert zone.get_rdataset("maths.play.example", "CNAME")[0].target.to_text() == "rpz-passthru."
    assert zone.get_rdataset("*.play.example", "CNAME")[0].target.to_text() == "."
    assert "secret" not in zone.to_text()


def test_serial_grows_with_each_change_and_outlives_a_start(places, contents):
    assert not contents.refresh(2000)
    put(places, "other.example")
    # The clock has gone back meanwhile.
    assert contents.refresh(500)
    assert contents.serial == 1001
    again = Contents(places, ("school-blocked",))
    again.refresh(3000)
    assert again.serial == 1001
    put(places, "third.example")
    again.refresh(3000)
    assert again.serial == 3000


@pytest.mark.parametrize("program", ["named", "knotd"])
def test_real_secondary_transfers_the_zone_and_follows_it(
    places, contents, server, tmp_path, program, free_port
):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed; tools/apt/test has its package")
    port = free_port(HERE)
    with Server(program, tmp_path / "secondary", port, primary=server.port):
        assert await_rule(port, "bad7.example")
        put(places, "new.example")
        contents.refresh(2000)
        assert await_rule(port, "new.example")
        assert not rule(port, "bad7.example")


def rule(port, name):
    query = dns.message.make_query(f"{name}.{ZONE}", "CNAME")
    return bool(dns.query.tcp(query, HERE, port=port, timeout=5).answer)


def await_rule(port, name):
    deadline = time.monotonic() + 60
    while not rule(port, name) and time.monotonic() < deadline:
        time.sleep(0.1)
    return rule(port, name)


def test_dig_and_kdig_transfer_the_zone(server, tmp_path):
    for tool in ("dig", "kdig"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
        key = f"{KEY['algorithm']}:{KEY['name']}:{KEY['secret']}"
        argv = [tool, f"@{HERE}", "-p", str(server.port), "-y", key, ZONE, "AXFR"]
        shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        kinds = Counter(
            line.split()[3] for line in shown.splitlines() if line[:1].isalnum() or line[:1] == "*"
        )
        assert (kinds["CNAME"], kinds["SOA"]) == (2 * len(NAMES), 2)


@pytest.mark.parametrize(
    ("asked", "rcode"),
    [
        ({"kind": "SOA"}, "NOERROR"),
        ({"kind": "SOA", "how": dns.query.udp}, "NOERROR"),
        ({"kind": "IXFR", "how": dns.query.udp}, "NOERROR"),
        ({"kind": "AXFR", "how": dns.query.udp}, "REFUSED"),
        ({"kind": "A"}, "REFUSED"),
        ({"kind": "CNAME", "name": f"bad1.example.{ZONE}"}, "REFUSED"),
        ({"kind": "SOA", "name": "example"}, "REFUSED"),
        ({"kind": "SOA", "rdclass": "CH"}, "REFUSED"),
        ({"kind": "SOA", "key": None}, "REFUSED"),
        ({"kind": "AXFR", "key": None}, "REFUSED"),
    ],
)
def test_only_the_zone_is_answered_and_to_the_key_only(server, asked, rcode):
    answer = ask(server.port, **asked)
    assert dns.rcode.to_text(answer.rcode()) == rcode
    if rcode == "NOERROR":
        assert answer.flags & dns.flags.AA
        assert [r.rdtype for r in answer.answer] == [dns.rdatatype.SOA]
    else:
        assert answer.answer == []


def test_wrong_key_gets_a_header_and_no_more(server):
    wrong = dns.tsig.Key(TSIG.name, bytes(32), TSIG.algorithm)
    query = dns.message.make_query(ZONE, "SOA")
    query.use_tsig(wrong)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as its:
        its.settimeout(5)
        its.sendto(query.to_wire(), (HERE, server.port))
        octets = its.recv(65535)
    assert len(octets) == 12
    assert octets[3] & 15 == dns.rcode.NOTAUTH


def test_strangers_and_noise_get_nothing(contents):
    zone = Zone(dns.name.from_text(ZONE), TSIG, frozenset(["192.0.2.53"]), contents)
    query = dns.message.make_query(ZONE, "AXFR")
    query.use_tsig(TSIG)
    assert list(zone.answers(query.to_wire(), HERE, over_tcp=True)) == []
    assert list(zone.answers(b"noise", "192.0.2.53", over_tcp=False)) == []
    (fault,) = zone.answers(b"noise" * 5, "192.0.2.53", over_tcp=False)
    assert len(fault) == 12


def test_key_file_is_for_its_owner_only(tmp_path):
    path = tmp_path / "key"
    config = ServedZoneConfig(name=ZONE, key_file=str(path))
    with pytest.raises(KeyFileError, match="No such file"):
        read_key(config)
    path.write_text(KEY["secret"])
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="others may read it"):
        read_key(config)
    path.chmod(0o600)
    assert read_key(config).secret == TSIG.secret
    for text in ("", "c2hvcnQ=", "no base64 at all"):
        path.write_text(text)
        with pytest.raises(KeyFileError, match="base64"):
            read_key(config)


def test_configuration_refuses_to_serve_illegal_content():
    with pytest.raises(ConfigError, match="must not be published"):
        parse('[served_zone]\nname = "rpz.example"\ncategories = ["terrorism"]')
    assert parse("").served_zone.name == ""
    assert Path(ServedZoneConfig().key_file).is_absolute()
