"""Real programs through the appliance: what gets round a filter is told from what does not, and stopped.

The servers' log and the program's own word say whether it got through; the appliance's record says that it knows why.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest
from appliance import STATE, Appliance, blocked
from beyond import CAST_PORT, PUSH_PORT
from clients import curl, dig, openssl
from laboratory import Laboratory
from plan import (
    GUEST,
    LAPTOP,
    ROUTER,
    STAFF,
    TABLET,
    UNRESOLVED,
    UNRESOLVED_V6,
    Host,
    address6_of,
    address_of,
)
from programs import (
    IODINE,
    NAMELESS,
    PROGRAMS,
    PUBLIC_RESOLVER,
    REMOTE,
    SAID,
    SAY,
    Program,
    client,
    services,
    works,
)
from sites import ALLOWED, BLOCKED

from gate_core.desk import ActivityRecord
from gate_core.edits import Edit

EVERYBODY = (LAPTOP, STAFF)
EQUIPMENT = TABLET
"""What is a pupil's elsewhere is a camera, a door or a screen here (``equipment``)."""
OTHERS = (STAFF, GUEST, EQUIPMENT)
EVERYDAY = ("fe2.update.microsoft.com", "download.windowsupdate.com", "classroom.google.com")
LOST = "0 received"
PUSH = "1-courier.push.apple.com"
AIRPLAY = b"GET /info RTSP/1.0\r\nCSeq: 0\r\n\r\n"
UNASKED = "unasked"

every_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.id)
every_nameless = pytest.mark.parametrize("program", NAMELESS, ids=lambda p: p.id)


@pytest.fixture(scope="module", autouse=True)
def servers(school: Appliance) -> Iterator[None]:
    """Run the servers, at an address that everybody has asked for by its name."""
    lab = school.lab
    resolver = ["route", "add", "local", PUBLIC_RESOLVER, "dev", "lo"]
    lab.run(ROUTER.name, ["ip", *resolver], check=True)
    try:
        with services(lab):
            for host in EVERYBODY:
                assert dig(lab, host.name, REMOTE).data
            yield
    finally:
        resolver[1] = "del"
        lab.run(ROUTER.name, ["ip", *resolver], check=True)


@pytest.fixture(scope="module")
def equipment(school: Appliance) -> Iterator[None]:
    """Have one device in the group of what nobody sits at."""

    place = ("devices", EQUIPMENT.mac, "group")
    school.adopt(Edit.of(place, EQUIPMENT.group, "infrastructure"))
    school.wait_until_filtering()
    yield
    school.adopt(Edit.of(place, "infrastructure", EQUIPMENT.group))
    school.wait_until_filtering()


@pytest.fixture(scope="class")
def opened(school: Appliance) -> Iterator[None]:
    """Let staff do what the shipped table closes to them as well."""
    with (
        school.cells({"staff": "acceptable"}, "bypass"),
        school.cells({"staff": "acceptable"}, "file-sharing"),
    ):
        yield


def demand_blocked(school: Appliance, program: Program, words: Mapping[Host, set[str]]) -> None:
    """Run a program that is to be stopped on hosts, until the record says why with a host's word: kind or reason."""
    lab = school.lab
    before, since = lab.mark(), time.time()

    def told(host: Host) -> bool:
        return any(words[host] & {r.kind, r.reason} for r in blocked(school, host, since))

    with ExitStack() as stack:
        for host in words:
            stack.enter_context(client(lab, host, program))
        try:
            lab.wait_for(lambda: all(map(told, words)), f"{program.id} to be recorded", 8)
        finally:
            print({host.name: blocked(school, host, since) for host in words})
        assert not [host for host in words if works(lab, host, program, before)]
    addresses = {address for host in words for address in (host.v4, host.v6)}
    assert not [s for s in lab.served(before) if s.client in addresses and s.kind != "accepted"]


@every_program
def test_program_that_gets_round_the_filter_is_stopped(school: Appliance, program: Program) -> None:
    pupil = {program.closed_by or program.protocol}
    if program.server == PUBLIC_RESOLVER:
        # Nobody has asked for that address, which is enough once the firewall has learnt.
        pupil |= {UNASKED}
    demand_blocked(school, program, {LAPTOP: pupil, STAFF: {program.protocol}})


@every_nameless
def test_nameless_flow_of_a_pupil_is_stopped(school: Appliance, program: Program) -> None:
    demand_blocked(school, program, {LAPTOP: {UNASKED}})


@every_nameless
def test_nameless_flow_of_staff_passes(lab: Laboratory, program: Program) -> None:
    demand_works(lab, program)


@pytest.fixture(scope="class")
def listed(school: Appliance) -> Iterator[None]:
    """Put the address of what shows nothing on a list of Tor relays, and nothing else."""
    relays = STATE / "relays"
    school.lab.path(relays).write_text(f"# relays\n{UNRESOLVED}\n")
    school.gate("lists", "add", "relays", "tor", str(relays))
    try:
        school.wait_until_filtering()
        yield
    finally:
        school.desk.remove_list(name="relays", category="tor", reason="a test", actor="head")
        school.wait_until_filtering()


@pytest.mark.usefixtures("listed")
class TestListed:
    @every_nameless
    def test_flow_of_staff_to_a_listed_address_is_stopped(
        self, school: Appliance, program: Program
    ) -> None:
        demand_blocked(school, program, {STAFF: {"listed-address"}})


def test_data_in_names_is_stopped(school: Appliance) -> None:
    lab = school.lab
    since = time.time()

    def told(host: Host) -> bool:
        return any(r.reason == "tunnel" for r in blocked(school, host, since, "dns"))

    with ExitStack() as stack:
        logs = [stack.enter_context(client(lab, host, IODINE)) for host in EVERYBODY]
        lab.wait_for(lambda: all(map(told, EVERYBODY)), "the tunnels to be recorded", 10)
        lost = [lab.log(log).count(LOST) for log in logs]

        def no_more_comes() -> bool:
            return all(lab.log(log).count(LOST) > n + 1 for log, n in zip(logs, lost, strict=True))

        # They still try, and take their tunnels for good ones.
        lab.wait_for(no_more_comes, "data to get lost", 20)
        assert not [host for host in EVERYBODY if works(lab, host, IODINE, 0)]


@pytest.mark.usefixtures("opened")
class TestOpened:
    def test_data_in_names_passes(self, lab: Laboratory) -> None:
        demand_works(lab, IODINE)

    @every_program
    def test_program_works_where_the_table_opens_it(
        self, lab: Laboratory, program: Program
    ) -> None:
        demand_works(lab, program)


def demand_works(lab: Laboratory, program: Program) -> None:
    before = lab.mark()
    with client(lab, STAFF, program):
        lab.wait_for(lambda: works(lab, STAFF, program, before), f"{program.id} to work", 10)


# What must not be taken for any of that

DATAGRAMS = """
import socket, sys
address, port, *messages = sys.argv[1:]
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(3)
    s.connect((address, int(port)))
    for message in messages:
        s.send(bytes.fromhex(message))
        assert s.recv(2048).hex() == message
print("answered")
"""
STUN = "000100002112a442" + "00112233445566778899aabb"
"""RFC 8489, section 5: a binding request without attributes."""
DTLS = (
    "16fefd0000000000000000004c010000400000000000000040fefd" + "5a" * 32
    + "00000004c02bc02f" + "0100" + "0012000e00080006001d00170018" + "00ff01000100"
)  # fmt: skip
"""RFC 6347, section 4.2.2: a ClientHello as browsers send it after STUN."""
RTP = "80e0000100000a0000000b0b" + "7a" * 160
"""RFC 3550, section 5.1."""
ZOOM = "05000001000a0b04" + "0f" + "00" * 18 + RTP
"""RTP of sound in the two frames that Zoom puts around it; no STUN comes before."""
NTP = "230006ec" + "00" * 36 + "e8f1c2d3a4b5c6d7"
"""RFC 5905, section 7.3."""
SIP = b"OPTIONS sip:door@school.example SIP/2.0\r\nCSeq: 1 OPTIONS\r\n\r\n".hex()
RTSP = """
import socket, sys
request = b"OPTIONS rtsp://camera.example/ RTSP/1.0\\r\\nCSeq: 1\\r\\n\\r\\n"
with socket.create_connection((sys.argv[1], 554), 3) as s:
    s.sendall(request)
    assert s.recv(100) == request
print("answered")
"""


def wrongly_blocked(
    school: Appliance, host: Host, since: float, *places: object
) -> list[ActivityRecord]:
    """Return what of ``host`` was blocked at ``places``: addresses, or such as ``203.0.113.5 443/tcp``."""
    # What is blocked for certain, behind all the rest, where it may go with another name.
    dig(school.lab, host.name, ALLOWED)
    to = ("--connect-to", f"::{address_of(ALLOWED)}:")
    curl(school.lab, host.name, f"http://{BLOCKED}/", *to)
    school.lab.wait_for(
        lambda: BLOCKED in {r.name for r in blocked(school, host, since)}, "a record", 8
    )
    where = {str(place) for place in places}
    # What programs of the tests before have left open still goes elsewhere, for a minute or two.
    return [
        r
        for r in blocked(school, host, since)
        if where & {r.remote, r.remote.partition(" ")[0]} and r.name != BLOCKED
    ]


@pytest.mark.usefixtures("equipment")
@pytest.mark.parametrize(
    ("host", "port", "messages"),
    [
        pytest.param(STAFF, 3478, (STUN, DTLS, RTP), id="call"),
        pytest.param(LAPTOP, 123, (NTP,), id="time for a pupil"),
        pytest.param(STAFF, 123, (NTP,), id="time for staff"),
        pytest.param(STAFF, 5060, (SIP,), id="door entry for staff"),
        pytest.param(EQUIPMENT, 5060, (SIP,), id="door entry"),
        pytest.param(EQUIPMENT, 123, (NTP,), id="time for equipment"),
        pytest.param(GUEST, 123, (NTP,), id="time for a guest"),
    ],
)
def test_datagrams_of_everyday_life_pass(
    school: Appliance, host: Host, port: int, messages: tuple[str, ...]
) -> None:
    since = time.time()
    dig(school.lab, host.name, REMOTE)
    argv = [sys.executable, "-c", DATAGRAMS, str(address_of(REMOTE)), str(port), *messages]
    done = school.lab.run(host.name, argv)
    assert done.stdout.strip() == "answered", done.stderr
    assert wrongly_blocked(school, host, since, f"{address_of(REMOTE)} {port}/udp") == []


calls = pytest.mark.parametrize(
    ("name", "ports", "messages"),
    [
        pytest.param(
            "worldaz.tr.teams.microsoft.com",
            (3478, 3479, 3480, 3481),
            (STUN, DTLS, RTP),
            id="Teams",
        ),
        pytest.param("zoomfr.zoom.us", (8801, 3478, 3479), (ZOOM, STUN, DTLS, RTP), id="Zoom"),
        pytest.param("meet.google.com", (19302, 3478), (STUN, DTLS, RTP), id="Meet"),
        pytest.param("media.whatsapp.net", (3478,), (STUN, RTP), id="WhatsApp"),
    ],
)
RELAYS = (UNRESOLVED, UNRESOLVED_V6)


def call(lab: Laboratory, host: Host, address: str, port: int, messages: tuple[str, ...]) -> str:
    """Send what a call sends and receives; return ``answered`` where all of it went both ways."""
    argv = [sys.executable, "-c", DATAGRAMS, address, str(port), *messages]
    return lab.run(host.name, argv).stdout.strip()


@pytest.fixture(scope="module")
def messaging(school: Appliance) -> Iterator[None]:
    """Open messaging to staff, be it lesson time or not."""
    with school.cells({STAFF.group: "acceptable"}, "messaging"):
        yield


@pytest.mark.usefixtures("messaging")
@calls
def test_call_of_staff_passes_to_any_address(
    school: Appliance, name: str, ports: tuple[int, ...], messages: tuple[str, ...]
) -> None:
    """A relay is one that nobody has asked for: its address comes by messages of the service."""
    lab, since = school.lab, time.time()
    given = str(address_of(name)), str(address6_of(name))
    for address, kind in zip(given, ("A", "AAAA"), strict=True):
        assert dig(lab, STAFF.name, name, kind).data == (address,)

    for address in (*given, *RELAYS):
        for port in ports:
            assert call(lab, STAFF, address, port, messages) == "answered", (address, port)
        # Where UDP goes nowhere.
        assert f"This is {name}" in openssl(lab, STAFF.name, address, name)
    assert wrongly_blocked(school, STAFF, since, *given, *RELAYS) == []


@calls
def test_call_of_a_pupil_to_what_nobody_asked_for_is_stopped(
    school: Appliance, name: str, ports: tuple[int, ...], messages: tuple[str, ...]
) -> None:
    lab, before, since = school.lab, school.lab.mark(), time.time()
    dig(lab, LAPTOP.name, name)

    where = {(address, port) for address in RELAYS for port in ports}
    for address, port in where:
        assert call(lab, LAPTOP, address, port, messages) != "answered"
    own = {LAPTOP.v4, LAPTOP.v6}
    assert not [s for s in lab.served(before) if s.client in own and s.kind == "udp"]

    def told() -> bool:
        found = {(r.remote, r.reason) for r in blocked(school, LAPTOP, since)}
        return found >= {(f"{address} {port}/udp", UNASKED) for address, port in where}

    lab.wait_for(told, "the record", 8)


@pytest.mark.usefixtures("equipment")
@pytest.mark.parametrize("host", [STAFF, EQUIPMENT], ids=lambda h: h.name)
def test_camera_passes(school: Appliance, host: Host) -> None:
    since = time.time()
    dig(school.lab, host.name, REMOTE)
    argv = [sys.executable, "-c", RTSP, str(address_of(REMOTE))]
    assert school.lab.run(host.name, argv).stdout.strip() == "answered"
    assert wrongly_blocked(school, host, since, f"{address_of(REMOTE)} 554/tcp") == []


@pytest.mark.usefixtures("equipment")
@pytest.mark.parametrize("host", OTHERS, ids=lambda h: h.name)
def test_updates_classroom_and_notifications_pass(school: Appliance, host: Host) -> None:
    lab = school.lab
    since = time.time()
    for name in EVERYDAY:
        assert curl(lab, host.name, f"https://{name}/").status == 200
    dig(lab, host.name, PUSH)
    assert f"This is {PUSH}" in openssl(lab, host.name, str(address_of(PUSH)), PUSH, port=PUSH_PORT)
    assert wrongly_blocked(school, host, since, *map(address_of, (*EVERYDAY, PUSH))) == []


HEAR = """
import socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    group, port, own = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(own))
    s.bind((group, port))
    s.settimeout(5)
    print("ready", flush=True)
    octets, sender = s.recvfrom(2048)
    s.sendto(b"here", sender)
"""
CALL = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[3]))
    s.settimeout(3)
    s.sendto(bytes.fromhex(sys.argv[4]), (sys.argv[1], int(sys.argv[2])))
    assert s.recv(100) == b"here"
print("answered")
"""
MDNS = "000000000001000000000000" + b"\x0b_googlecast\x04_tcp\x05local\0".hex() + "000c8001"
"""RFC 6762, section 5.4: a query for the answer by unicast."""
SSDP = b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nST: ssdp:all\r\n\r\n'
"""UPnP Device Architecture 2.0, section 1.3.2."""


@pytest.mark.usefixtures("equipment")
@pytest.mark.parametrize("host", OTHERS, ids=lambda h: h.name)
@pytest.mark.parametrize(
    ("group", "port", "message"),
    [
        pytest.param("224.0.0.251", 5353, MDNS, id="mDNS"),
        pytest.param("239.255.255.250", 1900, SSDP.hex(), id="SSDP"),
    ],
)
def test_screen_on_the_router_s_side_is_found(
    lab: Laboratory, host: Host, group: str, port: int, message: str
) -> None:
    where = [group, str(port)]
    screen = lab.popen(ROUTER.name, [sys.executable, "-c", HEAR, *where, ROUTER.v4])
    try:
        assert screen.stdout is not None
        assert screen.stdout.readline() == "ready\n"
        argv = [sys.executable, "-c", CALL, *where, host.v4, message]
        done = lab.run(host.name, argv)
        assert done.stdout.strip() == "answered", done.stderr
    finally:
        screen.kill()
        screen.wait(10)


@pytest.mark.usefixtures("equipment")
@pytest.mark.parametrize("host", OTHERS, ids=lambda h: h.name)
def test_screen_on_the_router_s_side_is_spoken_to(school: Appliance, host: Host) -> None:
    lab = school.lab
    since = time.time()
    # By its address, as it was found; nobody has a certificate for that.
    page = curl(lab, host.name, f"https://{ROUTER.v4}:{CAST_PORT}/", "--insecure")
    assert page.status == 200
    airplay = SAY.format(port=7000, octets=AIRPLAY.hex()).replace("$SERVER", ROUTER.v4)
    said = lab.run(host.name, ["env", f"PYTHON={sys.executable}", "sh", "-c", airplay]).stdout
    assert said.strip() == SAID
    assert wrongly_blocked(school, host, since, ROUTER.v4) == []


@pytest.mark.parametrize("host", EVERYBODY, ids=lambda h: h.name)
def test_tls_of_a_named_site_on_another_port_passes(school: Appliance, host: Host) -> None:
    lab = school.lab
    since = time.time()
    dig(lab, host.name, ALLOWED)
    page = openssl(lab, host.name, str(address_of(ALLOWED)), ALLOWED, port=PUSH_PORT)
    assert f"This is {ALLOWED}" in page
    place = f"{address_of(ALLOWED)} {PUSH_PORT}/tcp"
    assert wrongly_blocked(school, host, since, place) == []
