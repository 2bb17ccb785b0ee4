"""What a pupil sends so that the server reads another name than the appliance: the server's log says whether it did.

Plain sockets need no rights on the laptop; raw frames need root, which a pupil has on a device of his own.
"""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from appliance import Appliance
from clients import curl, dig, openssl
from laboratory import HERE, INSIDE, Laboratory
from plan import (
    LAPTOP,
    ROUTER,
    STAFF,
    UNRESOLVED,
    UNRESOLVED_V6,
    Host,
    address6_of,
    address_of,
)
from sites import ALLOWED, BLOCKED

from gate_core.desk import ActivityFilter
from gate_firewall.host import MAX_OCTETS

KEPT = "files.example"

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

RAW = """
import os, random, select, ssl, subprocess, sys, time
from scapy.all import IP, IPv6, TCP, Dot1Q, Ether, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, HBHOptUnknown, Raw, conf
from scapy.all import fragment, fragment6
attack, source, mac, router, address, web, false, true = sys.argv[1:]
web = int(web)
six = ":" in address
subprocess.run(["nft", "-f", "-"], input=\"\"\"table inet evasion
delete table inet evasion
table inet evasion { chain out { type filter hook output priority 0; tcp flags rst drop; }; }\"\"\", text=True, check=True)
port = random.randint(20000, 30000)
conf.verb = 0
# A tag of VLAN 0 is one that every host takes.
FRAME = {"tag": Ether() / Dot1Q(vlan=0), "two tags": Ether() / Dot1Q(vlan=0) / Dot1Q(vlan=0)}.get(attack, Ether())
FRAME.src, FRAME.dst = mac, router
link = conf.L2socket(iface="eth0")
FEW = 2
state = {"seq": random.randint(2**20, 2**30), "ack": 0, "ts": 2**20, "echo": 0}
text = b""

def request(name, path="/"):
    if web == 80:
        return f"GET {path} HTTP/1.1\\r\\nHost: {name}\\r\\n\\r\\n".encode()
    outgoing = ssl.MemoryBIO()
    connection = ssl._create_unverified_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()

def send(flags, data=b"", *, back=0, late=0, hops=64, options=(), between=None, **fields):
    ip = IPv6(src=source, dst=address, hlim=hops) if six else IP(src=source, dst=address, ttl=hops)
    ip = ip / between if between else ip
    stamp = [("Timestamp", (state["ts"] - late, state["echo"]))]
    tcp = TCP(sport=port, dport=web, flags=flags, seq=(state["seq"] - back) % 2**32, window=64000,
              ack=state["ack"] if "A" in flags else 0, options=[*options, *stamp], **fields)
    whole = ip / tcp / Raw(data)
    for part in cut(whole) if data and "fragments" in attack else [whole]:
        link.send(FRAME / part)

def cut(whole):
    # The TCP header and the first octets of the payload, then the rest.
    if six:
        identified = IPv6ExtHdrFragment(id=state["seq"], nh=6)
        parts = fragment6(IPv6(src=source, dst=address) / identified / whole[TCP], 40 + 8 + 64)
    else:
        parts = fragment(whole, fragsize=64)
    return parts[::-1] if "backwards" in attack else parts

def receive(seconds):
    global text
    end = time.monotonic() + seconds
    while select.select([link], [], [], max(0, end - time.monotonic()))[0]:
        frame = link.recv()
        if frame is None or TCP not in frame or frame[TCP].dport != port:
            continue
        tcp, ip = frame[TCP], frame[IPv6 if six else IP]
        whole = ip.plen if six else ip.len - 20
        data = bytes(tcp.payload)[: whole - tcp.dataofs * 4]
        state["echo"] = dict(o for o in tcp.options if len(o) == 2).get("Timestamp", (state["echo"], 0))[0]
        if "S" in tcp.flags:
            state["ack"] = tcp.seq + 1
            return
        if data and tcp.seq == state["ack"]:
            text += data
            state["ack"] += len(data)
            send("A")

def forge(flags):
    backwards = (IPv6 if six else IP)(src=address, dst=source) / TCP(
        sport=web, dport=port, flags=flags, seq=state["ack"], ack=(state["seq"] + ("S" in flags)) % 2**32, window=64000)
    link.send(Ether(src=mac, dst=router) / backwards)
    time.sleep(0.2)

def push(data):
    state["ts"] += 1
    send("PA", data)
    state["seq"] += len(data)

def connect(data=b""):
    if attack == "forged answer":
        # The server drops a SYN with a digest. It begins with the second one, a wide way before the first.
        send("S", options=[(19, bytes(16))])
        time.sleep(0.2)
        forge("SA")
        state["seq"] -= 100_000
    send("S", data)
    receive(2)
    state["seq"] += 1
    state["ts"] += 10
    send("A")

wrong, right = request(false), request(true, "/true")
place = right.find(true.encode()) + len(true) // 2
connect(wrong if attack == "octets in the SYN" else b"")
match attack:
    case "old timestamp":
        send("PA", wrong, late=100_000)
    case "digest":
        send("PA", wrong, options=[(19, bytes(16))])
    case "acknowledges too much":
        state["ack"] -= 100_000
        send("PA", wrong)
        state["ack"] += 100_000
    case "second SYN":
        send("S", wrong, back=1)
    case "discarded on the way":
        send("PA", wrong, between=IPv6ExtHdrDestOpt(options=[HBHOptUnknown(otype=0x5E, optlen=4, optdata=b"abcd")]))
    case "wrong checksum":
        send("PA", wrong, chksum=0x1234)
    case "out of the window":
        send("PA", wrong, back=-1_000_000)
    case "reset with a wrong checksum":
        send("R", chksum=0x1234)
        push(wrong[:30])
        send("PA", request(true), back=30)
    case "reset out of the window":
        send("R", back=-1_000_000)
        send("PA", request(true))
    case "overlap":
        send("PA", wrong[20:], back=-20)
        send("PA", request(true)[:20])
    case "overlap backwards":
        send("PA", request(true)[20:], back=-20)
        send("PA", wrong)
    case "first octet alone":
        octets = request(true)
        push(octets[:1])
        receive(0.5)
        push(octets[1:])
    case "upper case":
        push(request(true).replace(true.encode(), true.upper().encode()))
    case "few hops before":
        send("PA", wrong, hops=FEW)
    case "few hops between":
        send("PA", right[:place])
        send("PA", wrong, hops=FEW)
    case "few hops behind":
        send("PA", right[place:], back=-place)
        send("PA", wrong, hops=FEW)
    case "never ends":
        push(request(true)[:-1])
        receive(1)
    case "forged SYN":
        push(request(false))
        receive(1)
        print("ready", flush=True)
        while not os.path.exists("/run/lab/tmp/paused"):
            time.sleep(0.1)
        other = request("cpoms.net")
        send("S", back=len(other) + 1)
        time.sleep(0.2)
        send("PA", other, back=len(other))
        time.sleep(0.2)
    case "ports of before":
        push(wrong)
        receive(1)
        send("A")
        send("RA")
        time.sleep(0.2)
        forge("RA")
        time.sleep(0.2)
        state["seq"] += 100_000
        connect()
time.sleep(0.2)
push(right)
receive(1.5)
print(len(text))
"""


def saw(lab: Laboratory, since: int, name: str) -> bool:
    seen = [s.name.lower().rstrip(".") for s in lab.served(since) if s.kind != "dns"]
    return name in seen


def raw(attack: str, family: int, false: str, true: str, web: int = 80) -> list[str]:
    source = LAPTOP.v4 if family == 4 else LAPTOP.v6
    target = str(address_of(BLOCKED) if family == 4 else address6_of(BLOCKED))
    ends = (source, LAPTOP.mac, ROUTER.mac, target, str(web))
    return [sys.executable, "-c", RAW, attack, *ends, false, true]


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


@pytest.fixture
def resets_pass(lab: Laboratory) -> Iterator[None]:
    """Let the laptop's kernel answer again."""
    yield
    lab.run("laptop", ["nft", "delete", "table", "inet", "evasion"])


@pytest.mark.parametrize("port", [80, 443])
def test_urgent_octet_hides_no_name(lab: Laboratory, port: int) -> None:
    before = lab.mark()
    argv = [sys.executable, "-c", URGENT, str(address_of(BLOCKED)), str(port), BLOCKED, "www.bet"]
    assert lab.run("laptop", argv).stdout.strip() == "ConnectionResetError"
    assert not saw(lab, before, BLOCKED)


@pytest.mark.usefixtures("resets_pass")
@families
def test_raw_frames_reach_the_server_with_an_allowed_name(lab: Laboratory, family: int) -> None:
    before = lab.mark()
    assert lab.run("laptop", raw("none", family, ALLOWED, ALLOWED)).returncode == 0
    assert "/true" in {s.path for s in lab.served(before) if s.name == ALLOWED}


@pytest.mark.usefixtures("resets_pass")
@families
def test_raw_frames_reach_a_tls_server_with_an_allowed_name(lab: Laboratory, family: int) -> None:
    dig(lab, "laptop", ALLOWED)
    before = lab.mark()
    assert lab.run("laptop", raw("none", family, ALLOWED, ALLOWED, 443)).returncode == 0
    assert saw(lab, before, ALLOWED)


@pytest.mark.usefixtures("resets_pass")
@pytest.mark.parametrize(
    ("how", "family", "passes"),
    [
        ("fragments", 4, True),
        ("fragments backwards", 6, True),
        ("tag", 4, True),
        # Nothing can look into it.
        ("two tags", 4, False),
    ],
)
def test_name_decides_however_a_packet_is_framed(
    lab: Laboratory,
    how: str,
    family: int,
    passes: bool,  # a table's column
) -> None:
    dig(lab, "laptop", ALLOWED, "A" if family == 4 else "AAAA")
    before = lab.mark()
    # Both at once, as most of it is waiting.
    running = [
        lab.popen("laptop", raw(how, family, name, name, 443), log=f"raw-{name}")
        for name in (ALLOWED, BLOCKED)
    ]
    assert [process.wait(30) for process in running] == [0, 0]
    assert saw(lab, before, ALLOWED) is passes
    assert not saw(lab, before, BLOCKED)


@pytest.mark.usefixtures("resets_pass")
@families
@pytest.mark.parametrize(
    "attack",
    [
        "none",
        "old timestamp",
        "wrong checksum",
        "out of the window",
        "reset with a wrong checksum",
        "reset out of the window",
        "overlap",
        "overlap backwards",
        "first octet alone",
        "upper case",
        "never ends",
        "acknowledges too much",
        "second SYN",
        "octets in the SYN",
    ],
)
def test_no_trick_with_segments_carries_a_hello_past(
    lab: Laboratory, attack: str, family: int
) -> None:
    before = lab.mark()
    assert lab.run("laptop", raw(attack, family, ALLOWED, BLOCKED, 443)).returncode == 0
    assert not saw(lab, before, BLOCKED)


@pytest.mark.usefixtures("resets_pass")
@pytest.mark.parametrize(
    ("attack", "family"),
    [
        ("old timestamp", 4),
        ("old timestamp", 6),
        ("digest", 4),
        ("acknowledges too much", 4),
        ("second SYN", 4),
        ("octets in the SYN", 4),
        ("discarded on the way", 6),
        ("forged answer", 4),
        ("forged answer", 6),
        ("ports of before", 4),
    ],
)
def test_octets_that_the_server_discards_hide_no_name(
    lab: Laboratory, attack: str, family: int
) -> None:
    before = lab.mark()
    assert lab.run("laptop", raw(attack, family, ALLOWED, BLOCKED)).returncode == 0
    assert not saw(lab, before, BLOCKED)


@pytest.mark.usefixtures("resets_pass", "far_away")
@families
@pytest.mark.parametrize("port", [80, 443])
@pytest.mark.parametrize("attack", ["few hops before", "few hops between", "few hops behind"])
def test_octets_with_few_hops_to_live_hide_no_name(
    lab: Laboratory, attack: str, family: int, port: int
) -> None:
    dig(lab, "laptop", ALLOWED, "A" if family == 4 else "AAAA")
    before = lab.mark()
    assert lab.run("laptop", raw(attack, family, ALLOWED, BLOCKED, port)).returncode == 0
    assert not saw(lab, before, BLOCKED)
    # They come as far as all others.
    assert saw(lab, before, ALLOWED) is (attack == "few hops before")


@pytest.mark.usefixtures("resets_pass")
def test_forged_syn_gives_a_flow_no_other_name(school: Appliance) -> None:
    lab = school.lab
    before = lab.mark()
    go = str(INSIDE / "tmp" / "paused")
    process = lab.popen("laptop", raw("forged SYN", 4, KEPT, KEPT))
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        school.gate("pause", "start", "--minutes", "5")
        school.wait_until_filtering()
        lab.run("laptop", ["touch", go], check=True)
        assert process.wait(20) == 0
    finally:
        process.kill()
        lab.run("laptop", ["rm", "-f", go])
        school.gate("pause", "end", check=False)
        school.wait_until_filtering()
    assert [s.path for s in lab.served(before) if s.name == KEPT and s.kind == "request"] == ["/"]


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
    dig(lab, LAPTOP.name, ALLOWED, "A" if family == 4 else "AAAA")
    # Where it may go with another name.
    address = str(address_of(ALLOWED) if family == 4 else address6_of(ALLOWED))
    before = lab.mark()

    assert ask(lab, LAPTOP, scheme, address, spell(ALLOWED))
    assert not ask(lab, LAPTOP, scheme, address, spell(BLOCKED))
    assert saw(lab, before, ALLOWED)
    assert not saw(lab, before, BLOCKED)


@schemes
@families
@pytest.mark.parametrize("given", [True, False])
def test_address_is_no_name_of_a_site_for_pupils(
    lab: Laboratory,
    scheme: str,
    family: int,
    given: bool,  # a table's column
) -> None:
    """Be it one that the device was given for a name, or one that nobody asked for."""
    if given:
        dig(lab, LAPTOP.name, ALLOWED, "A" if family == 4 else "AAAA")
        address = str(address_of(ALLOWED) if family == 4 else address6_of(ALLOWED))
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
    dig(lab, host.name, ALLOWED, "A" if family == 4 else "AAAA")
    address = str(address_of(ALLOWED) if family == 4 else address6_of(ALLOWED))
    argv = [sys.executable, "-c", LONG_HELLO, address, name, str(octets)]
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
            for r in found
            if r.remote == f"{there} 443/tcp"
            and r.name == ""
            and dt.datetime.fromisoformat(r.at).timestamp() >= since
        }

    lab.wait_for(lambda: recorded(LAPTOP) and recorded(STAFF), "the record", 8)
    assert recorded(LAPTOP) == {("block", "unreadable")}
    assert recorded(STAFF) == {("allow", "default")}


SECOND_REQUEST = """
import socket, sys
address, first, second, how = sys.argv[1:]
def request(name):
    return f"GET / HTTP/1.1\\r\\nHost: {name}\\r\\n\\r\\n".encode()
with socket.create_connection((address, 80), 5) as connection:
    connection.settimeout(3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if how == "in one packet":
            connection.sendall(request(first) + request(second))
        else:
            connection.sendall(request(first))
            print("first" if connection.recv(65536) else "end", flush=True)
            octets = request(second)
            size = 1 if how == "octet by octet" else len(octets)
            for place in range(0, len(octets), size):
                connection.sendall(octets[place : place + size])
        while octets := connection.recv(65536):
            pass
        print("end")
    except OSError as e:
        print(type(e).__name__)
"""


@pytest.mark.parametrize("how", ["in one packet", "after the first", "octet by octet"])
def test_second_request_of_a_connection_is_for_no_other_name(lab: Laboratory, how: str) -> None:
    dig(lab, "laptop", ALLOWED)
    before = lab.mark()
    address = str(address_of(ALLOWED))
    argv = [sys.executable, "-c", SECOND_REQUEST, address, ALLOWED, BLOCKED, how]
    printed = lab.run("laptop", argv).stdout.split()

    assert printed[-1] == "ConnectionResetError"
    assert ("first" in printed) is (how != "in one packet")
    assert not saw(lab, before, BLOCKED)


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
