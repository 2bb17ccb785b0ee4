"""What a pupil sends so that the server reads another name than the appliance: the server's log says whether it did.

Plain sockets need no rights on the laptop; raw frames need root, which a pupil has on a device of his own.
"""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from subprocess import Popen

import pytest
import raw
import segments
from appliance import Appliance, blocked
from clients import curl, dig, openssl, segmented_tls
from laboratory import HERE, Laboratory
from plan import (
    BOX,
    LAPTOP,
    ROUTER,
    STAFF,
    UNRESOLVED,
    UNRESOLVED_V6,
    Host,
    address6_of,
    address_of,
)
from programs import http3
from sites import ALLOWED, BLOCKED, SHOP

from gate_core.desk import ActivityFilter
from gate_firewall.classify import MAX_DATAGRAMS
from gate_firewall.host import MAX_OCTETS

DECOY = "a.maths.example"
"""Allowed, and as long as ``SHOP``: two hellos differ in the name alone, and in what is random."""
KEPT = next(
    name
    for name in map("kept{}.example".format, count())
    if address_of(name) == address_of(raw.ESSENTIAL)
)
"""Allowed except in a pause, at the address of a name that is always allowed."""

WITH_OCTETS_IN_A_SYN = ("octets in the SYN", "fast opened before")

families = pytest.mark.parametrize("family", [4, 6])
schemes = pytest.mark.parametrize("scheme", ["http", "https"])

# MSG_OOB: the server takes the octet out of the stream. A hello is built so that it is well formed with it and without.
URGENT = """
import socket, ssl, struct, sys
address, port, name, at = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4].encode()
def hello():
    outgoing = ssl.MemoryBIO()
    connection = ssl._create_unverified_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
def grown(octets):
    shake = octets[5:]
    place = 4 + 2 + 32
    place += 1 + shake[place]
    place += 2 + int.from_bytes(shake[place : place + 2])
    place += 1 + shake[place]
    first, extensions = shake[4:place], shake[place + 2 :]
    found, rest = b"", b""
    while extensions:
        kind, length = struct.unpack("!HH", extensions[:4])
        one, extensions = extensions[: 4 + length], extensions[4 + length :]
        found, rest = (one, rest) if kind == 0 else (found, rest + one)
    # The server: the name, this extension of three octets, the others. We, one octet later: a longer name, this
    # extension's head shifted by one, so that its length swallows all the others.
    all_ = found + struct.pack("!HHBH", 0xFA00, 3, 1, len(rest) - 1) + rest
    body = first + struct.pack("!H", len(all_)) + all_
    message = b"\\x01" + len(body).to_bytes(3) + body
    return b"\\x16\\x03\\x01" + struct.pack("!H", len(message)) + message
octets = grown(hello()) if port == 443 else f"GET / HTTP/1.1\\r\\nHost: {name}\\r\\nConnection: close\\r\\n\\r\\n".encode()
place = octets.index(at) + len(at)
with socket.create_connection((address, port), 5) as connection:
    connection.settimeout(3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        connection.send(octets[:place])
        connection.send(b"x", socket.MSG_OOB)
        connection.send(octets[place:])
        print("answered" if connection.recv(4096) else "end")
    except OSError as e:
        print(type(e).__name__)
"""


@pytest.fixture(scope="module", autouse=True)
def shops(school: Appliance, learnt: None) -> Iterator[None]:
    """Have shops for staff alone, whatever the hour; no address but those that they were given is open to pupils."""
    with school.cells({"ks2": "unacceptable", "staff": "acceptable"}, "shopping"):
        yield


@pytest.fixture(scope="module", autouse=True)
def silent(school: Appliance) -> Iterator[None]:
    """Keep the kernels from answering for the connections of attacks, of which they know nothing."""
    low, high = raw.PORTS
    rules = f"""table inet evasion {{
        chain out {{
            type filter hook output priority 0
            tcp sport {low}-{high} tcp flags rst drop
        }}
    }}"""
    hosts = (LAPTOP, STAFF, BOX)
    for host in hosts:
        school.lab.run(host.name, ["nft", "-f", "-"], input=rules, check=True)
    yield
    for host in hosts:
        school.lab.run(host.name, ["nft", "delete", "table", "inet", "evasion"], check=True)


@pytest.fixture
def far_away(lab: Laboratory) -> Iterator[None]:
    """Put the servers far behind the router: what has few hops to live does not reach them."""
    rules = """table inet far {
        chain in {
            type filter hook prerouting priority -300;
            ip ttl < 32 drop
            ip6 nexthdr tcp ip6 hoplimit < 32 drop
        }
    }"""
    lab.run(ROUTER.name, ["nft", "-f", "-"], input=rules, check=True)
    yield
    lab.run(ROUTER.name, ["nft", "delete", "table", "inet", "far"], check=True)


def saw(lab: Laboratory, since: int, name: str, host: Host | None = None) -> bool:
    """Tell whether a server has read that name, sent by ``host`` or anybody."""
    return name in {
        s.name.lower().rstrip(".")
        for s in lab.served(since)
        if s.kind != "dns" and (host is None or s.client in (host.v4, host.v6))
    }


def given(lab: Laboratory, host: Host, name: str, family: int) -> str:
    """Have ``host`` ask for ``name``; return the address."""
    address = str(address_of(name) if family == 4 else address6_of(name))
    assert dig(lab, host.name, name, "A" if family == 4 else "AAAA").data == (address,)
    return address


def attack(
    lab: Laboratory,
    host: Host,
    which: str,
    family: int,
    port: int,
    name: str,
    decoy: str = DECOY,
) -> Popen[str]:
    """Start an attack at the address that ``host`` was given for an allowed name."""
    if host is not BOX:
        given(lab, host, decoy, family)
    argv = [sys.executable, str(HERE / "raw.py"), host.name, which, str(family), str(port)]
    return lab.popen(host.name, [*argv, decoy, name], log=f"raw-{host.name}-{name}")


def carried(
    lab: Laboratory, which: str, family: int, port: int, control: Host = STAFF
) -> dict[str, bool]:
    """Let the laptop and a ``control`` ask for a shop by the same attack; tell of each whether a server has read that name.

    Staff may have it: they show that the server is taken in, and that it is the reading that stops a pupil. Where the
    appliance lets an attack come together for nobody, the box shows the former, which sends behind its own filter.
    """
    before = lab.mark()
    running = [attack(lab, host, which, family, port, SHOP) for host in (LAPTOP, control)]
    assert [process.wait(30) for process in running] == [0, 0]
    accepted = {s.client for s in lab.served(before) if s.kind == "accepted"}
    # The address was not refused; but a SYN with octets never arrives.
    assert bool(accepted & {LAPTOP.v4, LAPTOP.v6}) is (which not in WITH_OCTETS_IN_A_SYN)
    return {host.name: saw(lab, before, SHOP, host) for host in (LAPTOP, control)}


@pytest.mark.parametrize("port", [80, 443])
def test_urgent_octet_hides_no_name(lab: Laboratory, port: int) -> None:
    ends = {}
    before = lab.mark()
    for host in (LAPTOP, STAFF):
        argv = [given(lab, host, DECOY, 4), str(port), SHOP, SHOP[:7]]
        ends[host] = lab.run(host.name, [sys.executable, "-c", URGENT, *argv]).stdout.strip()
    assert ends == {LAPTOP: "ConnectionResetError", STAFF: "answered"}
    assert not saw(lab, before, SHOP, LAPTOP)
    assert saw(lab, before, SHOP, STAFF)


@families
@pytest.mark.parametrize("port", [80, 443])
def test_raw_frames_reach_the_server_with_an_allowed_name(
    lab: Laboratory, family: int, port: int
) -> None:
    before = lab.mark()
    assert attack(lab, LAPTOP, "none", family, port, DECOY).wait(30) == 0
    assert saw(lab, before, DECOY, LAPTOP)


@pytest.mark.parametrize(
    ("how", "family", "passes"),
    [
        ("fragments", 4, True),
        ("fragments backwards", 6, True),
        ("tag", 4, True),
        # Nothing can look into it, and so it is open to nobody.
        ("two tags", 4, False),
    ],
)
def test_name_decides_however_a_packet_is_framed(
    lab: Laboratory,
    how: str,
    family: int,
    passes: bool,  # a table's column
) -> None:
    before = lab.mark()
    # All at once, as most of it is waiting. What the box sends itself is not filtered.
    sent = ((LAPTOP, DECOY), (LAPTOP, SHOP), (STAFF, SHOP), (BOX, SHOP))
    running = [attack(lab, host, how, family, 443, name) for host, name in sent]
    assert [process.wait(30) for process in running] == [0] * len(running)
    found = [saw(lab, before, name, host) for host, name in sent]
    assert found == [passes, False, passes, True]


@families
@pytest.mark.parametrize(
    "which",
    [
        "none",
        "old timestamp",
        "wrong checksum",
        "out of the window",
        "reset with a wrong checksum",
        "reset out of the window",
        "overlap",
        "overlap behind a hole",
        "first octet alone",
        "last octet alone",
        "upper case",
        "acknowledges too much",
        "second SYN",
        "octets in the SYN",
    ],
)
def test_no_trick_with_segments_carries_a_hello_past(
    lab: Laboratory, which: str, family: int
) -> None:
    assert carried(lab, which, family, 443) == {"laptop": False, "staff": True}


@pytest.mark.parametrize(
    ("which", "family"),
    [
        ("old timestamp", 4),
        ("old timestamp", 6),
        ("digest", 4),
        ("acknowledges too much", 4),
        ("second SYN", 4),
        ("octets in the SYN", 4),
        ("discarded on the way", 6),
    ],
)
def test_octets_that_the_server_discards_hide_no_name(
    lab: Laboratory, which: str, family: int
) -> None:
    assert carried(lab, which, family, 80) == {"laptop": False, "staff": True}


@families
def test_ports_of_a_connection_that_only_looks_ended_carry_no_other(
    lab: Laboratory, family: int
) -> None:
    # Nobody begins anew in a flow that has a verdict.
    assert carried(lab, "ports of before", family, 80, BOX) == {"laptop": False, "box": True}


@families
def test_middle_of_a_connection_that_conntrack_takes_for_closed_is_no_beginning(
    lab: Laboratory, family: int
) -> None:
    assert carried(lab, "closed in between", family, 443, BOX) == {"laptop": False, "box": True}


@families
def test_beginning_within_a_flow_that_was_forgotten_hides_no_name(
    lab: Laboratory, family: int
) -> None:
    before = lab.mark()
    said = {}
    for host in (LAPTOP, STAFF):
        ends = [given(lab, host, DECOY, family), DECOY, SHOP, host.mac, ROUTER.mac]
        script = [sys.executable, str(HERE / "forgotten.py"), *ends]
        said[host] = lab.run(host.name, script, timeout_s=60).stdout.strip()

    assert said == {LAPTOP: "ConnectionResetError", STAFF: "served"}
    assert not saw(lab, before, SHOP, LAPTOP)
    assert saw(lab, before, SHOP, STAFF)


@families
def test_answer_from_the_side_of_who_asked_hides_no_name(school: Appliance, family: int) -> None:
    lab = school.lab
    before, since = lab.mark(), time.time()
    running = [attack(lab, host, "forged answer", family, 80, SHOP) for host in (LAPTOP, BOX)]
    assert [process.wait(30) for process in running] == [0, 0]
    assert not saw(lab, before, SHOP, LAPTOP)
    assert saw(lab, before, SHOP, BOX)
    # No server has accepted anything of the laptop: the record has to say that it was not for the address.

    def why() -> set[str]:
        return {r.reason for r in blocked(school, LAPTOP, since) if r.kind == "tcp/80"}

    lab.wait_for(why, "the record", 8)
    assert why() == {"unreadable"}


@pytest.mark.usefixtures("far_away")
@families
@pytest.mark.parametrize("port", [80, 443])
@pytest.mark.parametrize("which", ["few hops before", "few hops between", "few hops behind"])
def test_octets_with_few_hops_to_live_hide_no_name(
    lab: Laboratory, which: str, family: int, port: int
) -> None:
    before = lab.mark()
    # The appliance gives all that it reads the same number of hops: the attack works behind it alone.
    assert carried(lab, which, family, port, BOX) == {"laptop": False, "box": True}
    assert saw(lab, before, DECOY, LAPTOP) is (which == "few hops before")


@families
@pytest.mark.parametrize("octets", [7, 2000])
@pytest.mark.parametrize("cut", segments.CUTS)
def test_no_cut_into_records_hides_a_name(
    lab: Laboratory, cut: str, octets: int, family: int
) -> None:
    before = lab.mark()

    def get(host: Host, name: str) -> str:
        address = given(lab, host, DECOY, family)
        return segmented_tls(lab, host.name, address, name, octets, cut)

    assert get(LAPTOP, DECOY) == get(STAFF, SHOP) == "HTTP/1.1 200 OK"
    assert get(LAPTOP, SHOP) == "cut"
    assert not saw(lab, before, SHOP, LAPTOP)


@pytest.fixture(scope="class")
def quic_server(school: Appliance) -> Iterator[None]:
    with http3(school.lab, DECOY):
        yield


@pytest.mark.usefixtures("pupils_have_quic", "quic_server")
class TestJunkBeforeQuic:
    """Datagrams that are none of QUIC, and then a connection from the same port to the same one."""

    @families
    @pytest.mark.parametrize("junk", [0, 1, MAX_DATAGRAMS - 1, MAX_DATAGRAMS])
    def test_hides_no_name(self, lab: Laboratory, junk: int, family: int) -> None:
        before = lab.mark()

        def get(host: Host, name: str) -> bool:
            argv = [given(lab, host, DECOY, family), name, "v1", str(junk)]
            script = [sys.executable, str(HERE / "http3.py"), "get", *argv]
            return f"This is {name}" in lab.run(host.name, script).stdout

        assert get(STAFF, SHOP)
        assert not get(LAPTOP, SHOP)
        assert not saw(lab, before, SHOP, LAPTOP)
        # With so much of it a flow is none of QUIC, and closed to pupils on this port.
        assert get(LAPTOP, DECOY) is (junk < MAX_DATAGRAMS)


# Datagrams of no version that is known, to an echo.
UNREADABLE_QUIC = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
    own.settimeout(1)
    own.connect((sys.argv[1], 443))
    try:
        own.send(bytes.fromhex("c01234567808") + bytes(1300))
        print(len(own.recv(2000)))
    except OSError as e:
        print(type(e).__name__)
"""


@pytest.mark.usefixtures("pupils_have_quic")
class TestUnreadableQuic:
    def test_goes_nowhere_but_to_an_address_that_was_given(self, lab: Laboratory) -> None:
        def echoed(host: Host, address: str) -> str:
            argv = [sys.executable, "-c", UNREADABLE_QUIC, address]
            return lab.run(host.name, argv).stdout.strip()

        assert echoed(STAFF, UNRESOLVED) == "1306"
        assert echoed(LAPTOP, UNRESOLVED) == "ConnectionRefusedError"


def test_forged_syn_gives_a_flow_no_other_name(school: Appliance) -> None:
    lab, hosts = school.lab, (LAPTOP, STAFF)
    before = lab.mark()
    go = str(raw.PAUSED)
    for host in hosts:
        given(lab, host, KEPT, 4)
        given(lab, host, raw.ESSENTIAL, 4)
    running = [attack(lab, host, "forged SYN", 4, 80, KEPT, KEPT) for host in hosts]
    try:
        lab.wait_for(lambda: len(paths(lab, before, "/")) == 2, "both to be served", 20)
        school.gate("pause", "start", "--minutes", "5")
        school.wait_until_filtering()
        lab.run(LAPTOP.name, ["touch", go], check=True)
        assert [process.wait(20) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
        lab.run(LAPTOP.name, ["rm", "-f", go])
        school.gate("pause", "end", check=False)
        school.wait_until_filtering()
    # Staff have no pause.
    assert paths(lab, before, "/true") == [STAFF.v4]


# MSG_FASTOPEN: the SYN carries what is said first, and the server takes it before anything is acknowledged (RFC 7413).
FAST_OPEN = """
import socket, ssl, sys
address, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
request = f"GET / HTTP/1.1\\r\\nHost: {name}\\r\\nConnection: close\\r\\n\\r\\n".encode()
with socket.socket(family, socket.SOCK_STREAM) as plain:
    plain.settimeout(5)
    try:
        if port == 80:
            plain.sendto(request, socket.MSG_FASTOPEN, (address, port))
            said = plain.recv(4096)
        else:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
            send = lambda octets: plain.sendto(octets, socket.MSG_FASTOPEN, (address, port))
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    send(outgoing.read())
                    send = plain.sendall
                    incoming.write(plain.recv(16384) or sys.exit("end"))
            said = tls.version().encode()
        print("answered" if said else "end")
    except OSError as e:
        print(type(e).__name__)
"""


@pytest.fixture
def fast_open(lab: Laboratory) -> Iterator[None]:
    """Let hosts send octets in a SYN, and every server take them, without a cookie."""
    hosts = {LAPTOP: 0x1 | 0x4, STAFF: 0x1 | 0x4, ROUTER: 0x2 | 0x200}
    before = {}
    for host, flags in hosts.items():
        before[host] = lab.run(host.name, ["sysctl", "-n", "net.ipv4.tcp_fastopen"]).stdout.strip()
        lab.run(host.name, ["sysctl", "-qw", f"net.ipv4.tcp_fastopen={flags}"], check=True)
    yield
    for host, flags in before.items():
        lab.run(host.name, ["sysctl", "-qw", f"net.ipv4.tcp_fastopen={flags}"], check=True)


def opened_fast(lab: Laboratory) -> int:
    """Return how many connections servers have taken by what a SYN carried."""
    words = [line.split() for line in lab.run(ROUTER.name, ["nstat", "-asz"]).stdout.splitlines()]
    return next(int(line[1]) for line in words if line[0] == "TcpExtTCPFastOpenPassive")


@families
@pytest.mark.parametrize("port", [80, 443])
@pytest.mark.usefixtures("fast_open")
def test_name_decides_in_a_syn_that_carries_it(lab: Laboratory, family: int, port: int) -> None:
    address = given(lab, LAPTOP, DECOY, family)
    given(lab, STAFF, DECOY, family)

    def ask_fast(host: Host, name: str) -> str:
        argv = [sys.executable, "-c", FAST_OPEN, address, str(port), name]
        return lab.run(host.name, argv).stdout.strip()

    before, taken = lab.mark(), opened_fast(lab)
    # Pupils' clients go on without, after a second.
    assert ask_fast(LAPTOP, DECOY) == "answered"
    assert saw(lab, before, DECOY, LAPTOP)
    assert opened_fast(lab) == taken
    assert ask_fast(STAFF, SHOP) == "answered"
    # Servers do take what comes so.
    assert opened_fast(lab) == taken + 1
    assert ask_fast(LAPTOP, SHOP) == "ConnectionResetError"
    assert not saw(lab, before, SHOP, LAPTOP)


@families
@pytest.mark.usefixtures("fast_open")
def test_octets_of_a_syn_that_the_filter_has_forgotten_hide_no_name(
    lab: Laboratory, family: int
) -> None:
    assert carried(lab, "fast opened before", family, 443, BOX) == {"laptop": False, "box": True}


def paths(lab: Laboratory, since: int, path: str) -> list[str]:
    """Return who was served that path of ``KEPT``."""
    return [s.client for s in lab.served(since) if (s.name, s.path) == (KEPT, path)]


@schemes
@pytest.mark.parametrize("expect", ["Expect:", "Expect: 100-continue"])
def test_upload_passes(lab: Laboratory, scheme: str, expect: str) -> None:
    dig(lab, "laptop", ALLOWED)
    options = ("-H", expect, "-H", "Content-Type: text/plain", "--data-binary", "@-")
    form = ["curl", "-sS", "--max-time", "8", "-o", "/dev/null", "-w", "%{http_code}", *options]
    done = lab.run("laptop", [*form, f"{scheme}://{ALLOWED}/"], input="x" * 60_000)
    assert done.stdout == "400", "the server has read all of it, and it is no DNS message"
    assert curl(lab, "laptop", f"{scheme}://{ALLOWED}/").status == 200


def ask(lab: Laboratory, host: Host, scheme: str, address: str, name: str) -> bool:
    """Ask for ``name`` at ``address``, spelled as it is; tell whether anything was served."""
    if scheme == "https":
        return "This is" in openssl(lab, host.name, address, name)
    there = f"[{address}]" if ":" in address else address
    return curl(lab, host.name, f"http://{there}/", "-H", f"Host: {name}").status == 200


@schemes
@families
@pytest.mark.parametrize(
    "spell",
    [
        pytest.param(str.upper, id="upper case"),
        pytest.param("{}.".format, id="final dot"),
        pytest.param(lambda name: f"{name.upper()}.", id="both"),
    ],
)
def test_name_is_the_same_however_it_is_spelled(
    lab: Laboratory, scheme: str, family: int, spell: Callable[[str], str]
) -> None:
    address = given(lab, LAPTOP, ALLOWED, family)
    before = lab.mark()

    assert ask(lab, LAPTOP, scheme, address, spell(ALLOWED))
    assert not ask(lab, LAPTOP, scheme, address, spell(SHOP))
    assert ask(lab, STAFF, scheme, address, spell(SHOP))
    assert not saw(lab, before, SHOP, LAPTOP)


@schemes
@families
@pytest.mark.parametrize("known", [True, False])
def test_address_is_no_name_of_a_site_for_pupils(
    lab: Laboratory,
    scheme: str,
    family: int,
    known: bool,  # a table's column
) -> None:
    """Be it one that the device was given for a name, or one that nobody asked for."""
    if known:
        address = given(lab, LAPTOP, ALLOWED, family)
    else:
        address = UNRESOLVED if family == 4 else UNRESOLVED_V6
    name = f"[{address}]" if ":" in address and scheme == "http" else address
    before = lab.mark()

    assert not ask(lab, LAPTOP, scheme, address, name)
    assert {s.kind for s in lab.served(before) if s.kind != "dns"} <= {"accepted"}
    assert ask(lab, STAFF, scheme, address, name)


# The protocols that it offers make a hello of any length, which every server reads.
LONG_HELLO = """
import socket, ssl, sys
address, name, octets = sys.argv[1], sys.argv[2], int(sys.argv[3])
context = ssl.create_default_context()
def hello():
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
def offer(rest, many):
    context.set_alpn_protocols(["x" * (1 + rest), *["y" * 199] * many])
# Beyond 512 octets it is not padded.
offer(0, 3)
many, rest = divmod(octets - len(hello()), 200)
offer(rest, 3 + many)
assert len(hello()) == octets
try:
    with socket.create_connection((address, 443), 5) as plain, context.wrap_socket(plain, server_hostname=name) as tls:
        tls.sendall(f"GET / HTTP/1.1\\r\\nHost: {name}\\r\\nConnection: close\\r\\n\\r\\n".encode())
        print("served" if tls.recv(4096).startswith(b"HTTP/1.1 200") else "end")
except OSError as e:
    print(type(e).__name__)
"""


def say_hello(lab: Laboratory, host: Host, family: int, name: str, octets: int) -> str:
    """Make a request with a hello of that many octets, where an allowed name is; return what came of it."""
    argv = [sys.executable, "-c", LONG_HELLO, given(lab, host, ALLOWED, family), name, str(octets)]
    return lab.run(host.name, argv).stdout.strip()


@families
@pytest.mark.parametrize("host", [LAPTOP, STAFF], ids=lambda h: h.name)
def test_name_decides_in_the_longest_hello_that_is_read(
    lab: Laboratory, host: Host, family: int
) -> None:
    before = lab.mark()

    assert say_hello(lab, host, family, ALLOWED, MAX_OCTETS) == "served"
    assert say_hello(lab, host, family, BLOCKED, MAX_OCTETS) == "ConnectionResetError"
    assert saw(lab, before, ALLOWED)
    assert not saw(lab, before, BLOCKED)


@families
def test_longer_hello_gets_what_its_group_has_for_what_cannot_be_read(
    school: Appliance, family: int
) -> None:
    lab = school.lab
    before, since = lab.mark(), time.time()

    for name in (ALLOWED, BLOCKED):
        said = say_hello(lab, LAPTOP, family, name, MAX_OCTETS + 1)
        assert said == "ConnectionResetError"
        assert not saw(lab, before, name)
    assert say_hello(lab, STAFF, family, ALLOWED, MAX_OCTETS + 1) == "served"

    there = str(address_of(ALLOWED) if family == 4 else address6_of(ALLOWED))

    def recorded(host: Host) -> set[tuple[str, str]]:
        wanted = ActivityFilter(device=host.mac, source="firewall", limit=100)
        found = school.desk.activity(filter=wanted, actor="command line (test)")
        return {
            (r.action, r.reason)
            for r in found.records
            if r.remote == f"{there} 443/tcp"
            and r.name == ""
            and dt.datetime.fromisoformat(r.at).timestamp() >= since
        }

    lab.wait_for(lambda: recorded(LAPTOP) and recorded(STAFF), "the record", 8)
    assert recorded(LAPTOP) == {("block", "unreadable")}
    assert recorded(STAFF) == {("allow", "unreadable")}


# Says hello, or makes a request, to who does not answer; then sends more, and tells whether it was refused.
HALF = """
import os, socket, ssl, sys, time
address, name, kind, go = sys.argv[1:]
outgoing = ssl.MemoryBIO()
try:
    ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
except ssl.SSLWantReadError:
    hello = outgoing.read()
request = f"GET / HTTP/1.1\\r\\nHost: {name}\\r\\n\\r\\n".encode()
first, more = (hello, bytes.fromhex("170303000161")) if kind == "tls" else (request, request)
with socket.create_connection((address, 7001), 5) as connection:
    connection.settimeout(1)
    connection.sendall(first)
    print(connection.getsockname()[1], flush=True)
    while not os.path.exists(go):
        time.sleep(0.1)
    try:
        connection.sendall(more)
        print(len(connection.recv(1)))
    except TimeoutError:
        print("open")
    except OSError as e:
        print(type(e).__name__)
"""
# The way to the server is too narrow for what a client has sent.
NARROW = """
import sys
from scapy.all import ICMP, IP, TCP, Ether, conf
router, mac, client, port, address = sys.argv[1:]
conf.verb = 0
sent = IP(src=client, dst=address) / TCP(sport=int(port), dport=7001)
error = IP(src=address, dst=client) / ICMP(type=3, code=4, nexthopmtu=1400) / sent
conf.L2socket(iface="eth0").send(Ether(src=router, dst=mac) / error)
"""
DEAF = """
import socket
listening = socket.create_server(("0.0.0.0", 7001))  # the laboratory's internet
print("ready", flush=True)
held = []
while True:
    held.append(listening.accept())
"""


@pytest.mark.parametrize("kind", ["tls", "http"])
def test_error_on_the_way_ends_no_connection(lab: Laboratory, kind: str) -> None:
    address, go = given(lab, LAPTOP, ALLOWED, 4), str(raw.PAUSED)
    server = lab.popen(ROUTER.name, [sys.executable, "-c", DEAF])
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        argv = [sys.executable, "-c", HALF, address, ALLOWED, kind, go]
        client = lab.popen(LAPTOP.name, argv)
        assert client.stdout is not None
        ends = [ROUTER.mac, LAPTOP.mac, LAPTOP.v4, client.stdout.readline().strip(), address]
        lab.run(ROUTER.name, [sys.executable, "-c", NARROW, *ends], check=True)
        lab.run(LAPTOP.name, ["touch", go], check=True)
        assert client.stdout.readline() == "open\n"
        assert client.wait(10) == 0
    finally:
        lab.run(LAPTOP.name, ["rm", "-f", go])
        server.kill()
        server.wait()


SECOND_REQUEST = """
import socket, sys
address, first, second, how = sys.argv[1:]
def request(name, more=""):
    return f"GET / HTTP/1.1\\r\\nHost: {name}\\r\\n{more}\\r\\n".encode()
last = request(second, "Connection: close\\r\\n")
with socket.create_connection((address, 80), 5) as connection:
    connection.settimeout(3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if how == "in one packet":
            connection.sendall(request(first) + last)
        else:
            connection.sendall(request(first))
            print("first" if connection.recv(65536) else "end", flush=True)
            size = 1 if how == "octet by octet" else len(last)
            for place in range(0, len(last), size):
                connection.sendall(last[place : place + size])
        while octets := connection.recv(65536):
            pass
        print("end")
    except OSError as e:
        print(type(e).__name__)
"""


@pytest.mark.parametrize("how", ["in one packet", "after the first", "octet by octet"])
def test_second_request_of_a_connection_is_for_no_other_name(lab: Laboratory, how: str) -> None:
    before = lab.mark()
    for host, last in ((LAPTOP, "ConnectionResetError"), (STAFF, "end")):
        ends = [given(lab, host, ALLOWED, 4), ALLOWED, SHOP, how]
        printed = lab.run(host.name, [sys.executable, "-c", SECOND_REQUEST, *ends]).stdout.split()

        assert printed[-1] == last
        assert ("first" in printed) is (how != "in one packet")
        assert saw(lab, before, SHOP, host) is (host is STAFF)


def test_second_request_for_the_same_name_passes(lab: Laboratory) -> None:
    dig(lab, "laptop", ALLOWED)
    done = lab.run(
        "laptop", ["curl", "-sS", "--max-time", "8", f"http://{ALLOWED}/", f"http://{ALLOWED}/"]
    )

    assert done.stdout.count(ALLOWED) >= 2
    assert done.returncode == 0


SOCKET = """
import socket, sys, time
name, answered = sys.argv[1:]
head = "GET /echo HTTP/1.1\\r\\nHost: " + name + "\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n"
with socket.create_connection((name, 80), timeout=8) as one:
    one.sendall(head.encode())
    if answered == "yes":
        one.recv(4096)
    for number in range(20):
        one.sendall(b"frame %02d" % number)
        time.sleep(0.02)
    got = b""
    while len(got) < 160:
        got += one.recv(4096)
    print(got[-8:].decode())
"""


@pytest.mark.parametrize("waits", ["yes", "no"])
def test_websocket_without_tls_passes_once_the_server_has_agreed(
    lab: Laboratory, waits: str
) -> None:
    """Frames of a client that does not wait are dropped, and come again."""
    done = lab.run(LAPTOP.name, [sys.executable, "-c", SOCKET, ALLOWED, waits], timeout_s=20)
    assert done.stdout == "frame 19\n", done.stderr


def test_second_hello_that_a_server_asks_for_has_no_other_name(lab: Laboratory) -> None:
    first = "maths0".ljust(len(BLOCKED) - 4, "0") + ".com"
    script, port = str(HERE / "retry.py"), "8444"
    server = lab.popen("router", [sys.executable, script, "serve", port])
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        names = {}
        for host in ("laptop", "staff"):
            dig(lab, host, first)
            argv = [sys.executable, script, "connect", str(address_of(first)), port, first]
            honest = lab.run(host, [*argv, first]).stdout.strip()
            false = lab.run(host, [*argv, BLOCKED]).stdout.strip()
            names[host] = honest, false
        server.terminate()
        said, _ = server.communicate(timeout=10)
    finally:
        server.kill()
        server.wait()

    assert names["laptop"] == ("answered", "ConnectionResetError")
    # Whose group is open shows that the server would have gone by the second name.
    assert said.split().count(BLOCKED) == 1
