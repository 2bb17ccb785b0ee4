"""Zone transfers from real primaries: BIND and Knot."""

import shutil
import socket
import threading

import dns.name
import dns.rdataset
import pytest
from name_servers import KEY, Server, write_zone

from gate_appliance.lists import transfer as transfers
from gate_appliance.lists.download import Limits, Room
from gate_appliance.lists.formats import Format, ListError, parse_list
from gate_appliance.lists.transfer import _Sink, _UnfitError, transfer
from gate_appliance.lists.work import silent

NAMES = [f"bad{n}.example" for n in range(3000)]
WITHOUT_RESERVE = {"reserve_octets": 0, "total_s": 20, "idle_s": 5}


@pytest.fixture
def port(free_port):
    return free_port()


@pytest.fixture(params=["named", "knotd"])
def primary(request, tmp_path, port):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed; tools/apt/test has its package")
    write_zone(tmp_path / "server" / "zone", 10, NAMES, "good.bad1.example CNAME rpz-passthru.\n")
    with Server(request.param, tmp_path / "server", port) as its:
        yield its


class School:
    """The side that asks, with what it keeps from one time to the next."""

    def __init__(self, primary, folder):
        self.primary = primary
        self.last, self.new = folder / "last", folder / "new"
        self.validators = {}

    def ask(self, key=KEY, progress=silent, **limits):
        found = transfer(
            self.primary.url,
            str(self.new),
            str(self.last),
            self.validators,
            key,
            WITHOUT_RESERVE | limits,
            progress=progress,
        )
        if found["changed"]:
            self.new.replace(self.last)
            self.validators = found["validators"]
        return found

    @property
    def parsed(self):
        return parse_list(self.last.read_bytes().splitlines(keepends=True))


@pytest.fixture
def school(primary, tmp_path):
    return School(primary, tmp_path)


def test_transfer_brings_the_whole_zone(school):
    told = []
    found = school.ask(progress=lambda *step: told.append(step))
    assert found == {
        "changed": True,
        "octets": school.last.stat().st_size,
        "validators": {"serial": "10"},
    }
    assert school.parsed.format is Format.RPZ
    assert sorted(school.parsed.names) == sorted(NAMES)
    assert school.parsed.exclusions == ("good.bad1.example",)
    assert school.parsed.report.not_understood == 0
    assert ("downloading", 3000, 0) in told


def test_transfer_of_what_has_not_changed_changes_nothing(school):
    school.ask()
    assert school.ask() == {"changed": False}
    assert not school.new.exists()


def test_transfer_brings_what_has_changed_only(school, primary):
    school.ask()
    before = school.last.read_text()
    primary.update(add=["new.example", "later.example"], delete=["bad7.example"])
    primary.update(delete=["later.example"])
    told = []
    assert school.ask(progress=lambda *step: told.append(step))["changed"]
    expected = {*NAMES, "new.example"} - {"bad7.example"}
    assert set(school.parsed.names) == expected
    assert school.validators == {"serial": "12"}
    # Untouched lines are where they were: nothing but the changes came.
    kept = [line for line in before.splitlines() if line != "bad7.example CNAME ."]
    assert school.last.read_text().splitlines()[: len(kept)] == kept
    assert school.ask() == {"changed": False}


def test_transfer_brings_the_whole_zone_where_changes_do_not_fit(school, primary):
    school.ask()
    primary.update(delete=["bad7.example"])
    # Somebody has changed the file since: what is to go is not there.
    school.last.write_text(school.last.read_text().replace("bad7.example CNAME .\n", ""))
    assert school.ask()["changed"]
    assert set(school.parsed.names) == {*NAMES} - {"bad7.example"}


@pytest.mark.parametrize(
    ("key", "part"),
    [
        pytest.param(KEY | {"secret": "d3JvbmcgZG9uZyB3cm9uZyBkb25nIHdyb25nIGRvbmc="}, "does not accept the key", id="other secret"),
        pytest.param(KEY | {"name": "another-key."}, "does not accept the key", id="other name"),
        pytest.param(KEY | {"algorithm": "hmac-sha512"}, "does not accept the key", id="other algorithm"),
        pytest.param({}, "refuse", id="no key"),
    ],
)  # fmt: skip
def test_transfer_is_refused_without_the_right_key(school, key, part):
    with pytest.raises(OSError, match=part):
        school.ask(key)
    assert not school.new.exists()


def test_transfer_from_a_primary_whose_serial_went_back_is_refused(tmp_path, port):
    folder = tmp_path / "server"
    write_zone(folder / "zone", 10, NAMES)
    with Server("named", folder, port) as its:
        school = School(its, tmp_path)
        school.ask()
    write_zone(folder / "zone", 5, ["only.example"])
    with Server("named", folder, port):
        with pytest.raises(ListError, match="serial of the zone went back"):
            school.ask()
        assert sorted(school.parsed.names) == sorted(NAMES)
        # A person has accepted it: then it comes whole.
        school.validators = {}
        assert school.ask()["changed"]
        assert school.parsed.names == ("only.example",)


def test_transfer_refuses_what_there_is_no_room_for(school):
    with pytest.raises(OSError, match="too little room"):
        school.ask(reserve_octets=1 << 60)
    with pytest.raises(ListError, match="longer than"):
        school.ask(max_octets=10_000)
    assert not school.new.exists()


def test_few_records_may_be_long(tmp_path):
    """Room is counted by octets: a record may have 64 KiB, and a thousand of them are much."""
    limits = Limits(max_octets=1_000_000, reserve_octets=0)
    origin = dns.name.from_text("rpz.example")
    sink = _Sink(origin, tmp_path / "last", tmp_path / "new", Room(tmp_path, limits), silent)
    sink.writer(replacement=True)
    text = " ".join(['"' + "x" * 255 + '"'] * 200)
    long = dns.rdataset.from_text("IN", "TXT", 0, text)
    name = dns.name.from_text("a.rpz.example")
    for _ in range(19):
        sink.add(name, long)
    with pytest.raises(ListError, match="longer than"):
        sink.add(name, long)
    sink.rollback()
    assert (tmp_path / "new").stat().st_size <= 1_000_000


def test_changes_that_are_long_are_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(transfers, "_MAX_HELD", 1000)
    origin = dns.name.from_text("rpz.example")
    sink = _Sink(origin, tmp_path / "last", tmp_path / "new", Room(tmp_path, Limits()), silent)
    sink.writer()
    rdataset = dns.rdataset.from_text("IN", "TXT", 0, "x" * 250)
    for n in range(3):
        sink.add(dns.name.from_text(f"n{n}.rpz.example"), rdataset)
    with pytest.raises(_UnfitError, match="too many changes"):
        sink.add(dns.name.from_text("n3.rpz.example"), rdataset)


class Relay:
    """Stands between the school and the primary, and meddles with what the primary says."""

    def __init__(self, to_port, meddle):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._to = to_port
        self._meddle = meddle

    def __enter__(self):
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.close()

    def _run(self):
        client, _ = self._listener.accept()
        with client, socket.create_connection(("127.0.0.1", self._to)) as server:
            server.sendall(client.recv(4096))
            server.settimeout(0.5)
            octets = bytearray()
            try:
                while part := server.recv(65536):
                    octets += part
            except TimeoutError:
                pass
            client.sendall(self._meddle(bytes(octets)))
            client.shutdown(socket.SHUT_WR)


def flip(octets):
    middle = octets.index(b"bad1234") + 3
    return octets[:middle] + b"9" + octets[middle + 1 :]


@pytest.mark.parametrize(
    ("meddle", "part"),
    [
        pytest.param(lambda octets: octets[: len(octets) // 2], "cut short", id="cut"),
        pytest.param(lambda _: b"", "cut short", id="nothing"),
        pytest.param(flip, "not signed with the key", id="a letter changed"),
        pytest.param(lambda o: o[:2] + bytes(2) + o[4:], "makes no sense", id="other id"),
    ],
)
def test_transfer_that_was_meddled_with_is_refused(school, primary, meddle, part):
    with Relay(primary.port, meddle) as relay:
        primary.port = relay.port
        with pytest.raises(OSError, match=part):
            school.ask()
    assert not school.new.exists()


def test_transfer_from_nobody_is_told(school, primary, port):
    with socket.create_server(("127.0.0.1", 0)) as silent_one:
        primary.port = silent_one.getsockname()[1]
        with pytest.raises(TimeoutError, match="does not answer in time"):
            school.ask(idle_s=0.3)
    with pytest.raises(OSError, match="refused"):
        school.ask()
