import contextlib
import os
import shutil
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_dns.messages.answer import Answer, failed, parse_answer
from gate_dns.messages.wire import MalformedMessageError, parse_query
from gate_dns.tunnels import (
    HOLD_S,
    MAX_NAMES,
    MAX_PARENTS,
    MAX_SOURCES,
    MAX_WINDOWS,
    WINDOW_S,
    Tunnels,
)

RECORDED = Path(__file__).parents[1] / "vectors" / "tunnels.txt"
CLIENT, OTHER = b"\xc0\0\2\x0a", b"\xc0\0\2\x0b"
A, CNAME, NULL, PTR, TXT, AAAA, SRV, HTTPS = 1, 5, 10, 12, 16, 28, 33, 65


def recordings():
    found: dict[str, list[tuple[float, int, str]]] = {}
    for line in RECORDED.read_text("ascii").splitlines():
        if line.startswith("["):
            queries = found[line.strip("[]")] = []
        elif line and not line.startswith("#"):
            at_s, qtype, qname = line.split(" ")
            queries.append((float(at_s), int(qtype), qname))
    return found


def answer(qtype, rcode=0):
    """Return an answer with one record of that type, which has no octets of data."""
    record = b"\xc0\x0c" + qtype.to_bytes(2, "big") + b"\0\1\0\0\0\0\0\0"
    return Answer(rcode, False, False, (1, 0), record, (6,))


def noticed(queries, tunnels=None, source=CLIENT, answered=answer):
    """Return the parents that ``queries`` of (time, type, name) are noticed below; those that are not are answered."""
    tunnels = tunnels or Tunnels()
    parents = set()
    for at, qtype, name in queries:
        parent = tunnels.noticed(name, qtype, source, at)
        parents.add(parent)
        if parent is None:
            tunnels.learn(name, qtype, answered(qtype), source, at)
    return parents - {None}


def piece(number, length=50):
    """Return one label of data, as a tunnel sends it: different for each ``number``."""
    digest = int.from_bytes(sha256(b"%d" % number).digest() * 2, "big")
    return "".join("abcdefghijklmnopqrstuvwxyz012345"[digest >> 5 * n & 31] for n in range(length))


def long_piece(number):
    """Return three labels of data, 152 octets."""
    return f"{piece(number)}.{piece(number + 1000)}.{piece(number + 2000)}"


def tunnel(names=40, parent="t.example", qtype=A, seconds=1.0):
    return [(n * seconds / names, qtype, f"{long_piece(n)}.{parent}") for n in range(names)]


@pytest.mark.parametrize(("title", "queries"), recordings().items())
def test_learn_notices_a_recorded_tunnel_before_it_carries_anything(title, queries):
    tunnels = Tunnels()
    noticed(queries, tunnels)
    at, qtype, _ = queries[-1]
    parent = "t.example" if title.startswith("iodine") else "d.example"
    assert tunnels.noticed(f"{long_piece(1)}.{parent}", qtype, CLIENT, at) == parent


def each_minute(names, qtype=A, minutes=3):
    """Return queries that ask for all of ``names`` in each of some minutes."""
    names = list(names)
    return [
        (60 * minute + 60 * place / len(names), qtype, name)
        for minute in range(minutes)
        for place, name in enumerate(names)
    ]


def hexes(number, length=32):
    return sha256(b"%d" % number).hexdigest()[:length]


def reverse(number):
    return ".".join(f"{int(hexes(number), 16):032x}"[::-1])


@pytest.mark.parametrize(
    "queries",
    [
        pytest.param(each_minute(f"d{hexes(n, 13)}.cloudfront.net" for n in range(60)), id="content network"),
        pytest.param(each_minute(f"e{n}.dscx.akamaiedge.net" for n in range(60)), id="content network in numbers"),
        pytest.param(each_minute(f"rr{n}---sn-{hexes(n, 8)}.googlevideo.com" for n in range(60)), id="films"),
        pytest.param(each_minute(f"{hexes(n)}.safeframe.googlesyndication.com" for n in range(60)), id="advertisements"),
        pytest.param(each_minute(f"{hexes(n)}.adserver.example" for n in range(10)), id="a page's hashes, unheard of"),
        pytest.param(each_minute(f"{UUID(hexes(n))}.fls.tracker.example" for n in range(11)), id="a page's UUIDs, unheard of"),
        pytest.param(each_minute((f"{hexes(n, 60)}.p.04.s.sophosxl.net" for n in range(200)), TXT), id="Sophos"),
        pytest.param(each_minute(f"0.11-a{hexes(n, 8)}.{hexes(n + 1, 40)}.avqs.mcafee.com" for n in range(200)), id="McAfee"),
        pytest.param(each_minute((f"{hexes(n, 50)}.a.h.e5.sk" for n in range(200)), TXT), id="ESET"),
        pytest.param(each_minute((f"{n}.{n}.2.192.zen.spamhaus.org" for n in range(200)), A), id="DNSBL"),
        pytest.param(each_minute((f"{n}.{n}.2.192.bl.unheard.example" for n in range(200)), TXT), id="DNSBL, unheard of"),
        pytest.param(
            each_minute((f"{reverse(n)}.dnsbl6.unheard.example" for n in range(200)), TXT), id="DNSBL of IPv6, unheard of"
        ),
        pytest.param(
            each_minute(f"{piece(n, 23)}.{piece(n, 23)}.net.shop.example" for n in range(200)), id="hosts of one shop"
        ),
        pytest.param(each_minute(f"{piece(n)}.bbc.co.uk" for n in range(32)), id="pictures of a page"),
        pytest.param(each_minute((f"{reverse(n)}.ip6.arpa" for n in range(200)), PTR), id="reverse IPv6"),
        pytest.param(each_minute((f"{n}.2.0.192.in-addr.arpa" for n in range(200)), PTR), id="reverse IPv4"),
        pytest.param(
            each_minute((f"{s}._domainkey.{d}.co.uk" for s in ("selector1", "s2048g1", "k1") for d in map(hexes, range(40))), TXT),
            id="DKIM of a mail server",
        ),
        pytest.param(each_minute((f"_dmarc.school{n}.kent.sch.uk" for n in range(100)), TXT), id="DMARC below one parent"),
        pytest.param(
            each_minute((f"_ldap._tcp.site-{n}._sites.dc._msdcs.school.example" for n in range(40)), SRV),
            id="directory of the school",
        ),
        pytest.param(each_minute(f"v{n}.events.data.microsoft.com" for n in range(40)), id="Microsoft telemetry"),
        pytest.param(each_minute(f"{hexes(n)}.nrb.footprintdns.com" for n in range(40)), id="Microsoft measurements"),
        pytest.param(each_minute(f"gsp{n}-ssl.ls.apple.com" for n in range(40)), id="Apple telemetry"),
        pytest.param(
            each_minute(f"p2-{hexes(n, 13)}-{hexes(n, 16)}-if-v6exp3-v4.metric.gstatic.com" for n in range(40)),
            id="Google measurements",
        ),
        pytest.param(
            each_minute(f"prod-dynamite-prod-{n:02}-us-signaler-pa.clients6.google.com" for n in range(60)),
            id="long words of Google",
        ),
        pytest.param(each_minute((f"www.shop{n}.co.uk" for n in range(200)), HTTPS), id="browsing"),
        pytest.param(each_minute([f"{piece(1)}.api.example"] * 300, TXT), id="one long name again and again"),
        pytest.param(each_minute(f"{n:040}.counter.example" for n in range(100)), id="numbers"),
        pytest.param(each_minute((f"shop{n}.example" for n in range(200)), CNAME), id="aliases of registered names"),
    ],
)  # fmt: skip
def test_learn_leaves_ordinary_look_ups_alone(queries):
    assert noticed(queries) == set()


@pytest.mark.parametrize(
    "parent",
    ["t.example", "t.example.co.uk", "example.co.uk", "a.t.duckdns.org", "t.county.sch.uk"],
)
@pytest.mark.parametrize("qtype", [A, AAAA, TXT, NULL, CNAME, SRV, HTTPS])
def test_learn_tells_the_parent_of_the_tunnel(parent, qtype):
    assert noticed(tunnel(parent=parent, qtype=qtype)) == {parent}


def test_learn_of_names_in_many_labels_tells_what_they_share():
    queries = [
        (n / 10, A, f"{piece(n)}.{piece(n + 100)}.{piece(n + 200, 9)}.t.example") for n in range(20)
    ]
    assert noticed(queries) == {"t.example"}


def test_learn_lets_a_slow_one_be():
    assert noticed(tunnel(names=60, seconds=60 * 60)) == set()


def test_learn_exempts_the_zones_of_the_school():
    assert (
        noticed(tunnel(parent="ad.school.example"), Tunnels(frozenset(["school.example"]))) == set()
    )


def test_noticed_exempts_the_zones_of_the_school_below_another_parent():
    tunnels = Tunnels(frozenset(["ad.school.example"]))
    assert noticed(tunnel(parent="school.example"), tunnels) == {"school.example"}
    assert noticed(tunnel(parent="ad.school.example"), tunnels) == set()


def test_learn_counts_nothing_in_the_zones_of_the_school_beside_others():
    tunnels = Tunnels(frozenset(["ad.school.example"]))
    beside = tunnel(names=1, parent="www.school.example")
    assert noticed([*beside, *tunnel(parent="ad.school.example")], tunnels) == set()
    assert tunnels._noticed == {}


def test_noticed_holds_for_that_client_only():
    tunnels = Tunnels()
    assert noticed(tunnel(), tunnels) == {"t.example"}
    data = f"{long_piece(99)}.t.example"
    assert tunnels.noticed(data, A, CLIENT, HOLD_S) == "t.example"
    assert tunnels.noticed(data, A, OTHER, HOLD_S) is None


@pytest.mark.parametrize("length", [12, 20, 31])
def test_learn_notices_short_names_of_types_that_pages_do_not_ask_for(length):
    names = [(n * 0.1, TXT, f"{piece(n, length)}.t.example") for n in range(400)]
    assert noticed(names) == {"t.example"}
    # As a mail server does, for one name after the other.
    senders = [
        (n * 0.1, TXT, f"{label}.sender{n}.example")
        for n in range(300)
        for label in ("_dmarc", "selector1-2026._domainkey", "_spf")
    ]
    assert noticed(senders) == set()


@pytest.mark.parametrize("parent", ["t.example", "en.t.example"])
def test_noticed_leaves_ordinary_names_below_a_noticed_parent_alone(parent):
    tunnels = Tunnels()
    assert noticed(tunnel(parent=parent), tunnels) == {parent}
    for name in (parent, f"www.{parent}", "www.example"):
        for qtype in (A, AAAA, HTTPS, TXT):
            assert tunnels.noticed(name, qtype, CLIENT, 2.0) is None
    for qtype in (A, AAAA, HTTPS):
        assert tunnels.noticed(f"static-assets-2.cdn.{parent}", qtype, CLIENT, 2.0) is None
    assert tunnels.noticed(parent, NULL, CLIENT, 2.0) is None
    assert tunnels.noticed(f"x.{parent}", NULL, CLIENT, 2.0) == parent


@pytest.mark.parametrize("qtype", [A, TXT, NULL, CNAME])
@pytest.mark.parametrize("rcode", [0, 2, 3])
def test_learn_counts_nothing_that_has_no_answer(qtype, rcode):
    assert noticed(tunnel(names=400, qtype=qtype), answered=lambda _: failed(rcode)) == set()


def test_learn_counts_no_name_that_does_not_exist():
    # With an alias on the way to it.
    assert noticed(tunnel(names=400), answered=lambda qtype: answer(qtype, 3)) == set()


def test_learn_counts_octets_that_are_written_as_numbers_once():
    data = [
        ".".join(rf"\2{n + 10}\1{n + 10}{letter}" for letter in piece(n, 20)) for n in range(40)
    ]
    plain = [(0.0, TXT, f"ping-{n:03}-of-this-client.example.co.uk") for n in range(100)]
    queries = [(1.0, TXT, f"{name}.example.co.uk") for name in data]
    assert noticed([queries[0], *plain, *queries]) == {"example.co.uk"}


def test_learn_counts_no_odd_type_that_was_answered_with_another():
    assert noticed(tunnel(names=400, qtype=NULL), answered=lambda _: answer(CNAME)) == set()


def test_learn_counts_no_forged_look_ups_of_aliases():
    tunnels = Tunnels()
    queries = [(n / 10, CNAME, f"a{n}.encyclopedia.example") for n in range(50)]
    assert noticed(queries, tunnels) == set()
    for name in ("encyclopedia.example", "www.encyclopedia.example", "de.encyclopedia.example"):
        assert tunnels.noticed(name, A, CLIENT, 6.0) is None


@pytest.mark.parametrize("others", [0, 160])
def test_learn_takes_a_registered_name_for_a_tunnel_only_if_most_below_it_is_data(others):
    plain = [(1.0, A, f"www.department-of-{n:03}.the-university.example") for n in range(others)]
    queries = [(0.0, A, f"{long_piece(0)}.the-university.example"), *plain]
    queries += [(2.0, A, f"{long_piece(n)}.the-university.example") for n in range(1, 20)]
    assert noticed(queries) == (set() if others else {"the-university.example"})


def test_learn_notices_data_however_short_its_labels():
    names = [".".join(piece(10 * n + k, 23) for k in range(9)) for n in range(20)]
    queries = [(n / 10, TXT, f"{name}.t.pupil.example") for n, name in enumerate(names)]
    assert noticed(queries) == {"t.pupil.example"}


def test_learn_notices_many_names_no_longer_than_those_of_pages():
    queries = [(n / 10, A, f"{piece(n, 23)}.{piece(n, 23)}.t.pupil.example") for n in range(400)]
    assert noticed(queries) == {"t.pupil.example"}


def test_noticed_forgets_after_a_time_and_begins_anew_while_it_goes_on():
    tunnels = Tunnels()
    noticed(tunnel(), tunnels)
    data = f"{long_piece(99)}.t.example"
    assert tunnels.noticed(data, A, CLIENT, HOLD_S + 2) is None
    later = [(at + 300, qtype, name) for at, qtype, name in tunnel()]
    noticed([*tunnel(), *later], tunnels)
    assert tunnels.noticed(data, A, CLIENT, HOLD_S + 200) == "t.example"


def test_learn_beside_a_noticed_tunnel_does_not_widen_it():
    tunnels = Tunnels()
    noticed(tunnel(parent="mine.dyndns.example"), tunnels)
    beside = f"{long_piece(999)}.yours.dyndns.example"
    assert noticed([(2.0, A, beside)], tunnels) == set()
    data = f"{long_piece(99)}.mine.dyndns.example"
    assert tunnels.noticed(data, A, CLIENT, 2.0) == "mine.dyndns.example"
    assert tunnels.noticed(beside, A, CLIENT, WINDOW_S / 2) is None


def test_learn_is_bounded_whatever_is_asked():
    tunnels = Tunnels()
    for n in range(4 * MAX_WINDOWS):
        tunnels.learn(f"{piece(n)}.zone{n}.example.co.uk", A, answer(A), b"%d" % n, n / 1000)
        assert sum(map(len, tunnels._windows.values())) <= MAX_WINDOWS
    for client in range(2 * MAX_SOURCES):
        for zone in range(2 * MAX_PARENTS if client < 2 else 1):
            queries = tunnel(names=13, parent=f"zone{zone}.example", qtype=NULL)
            assert noticed(queries, tunnels, b"%d" % client)
    assert len(tunnels._noticed) <= MAX_SOURCES
    assert all(len(parents) <= MAX_PARENTS for parents in tunnels._noticed.values())


def test_learn_remembers_a_bounded_number_of_names():
    tunnels = Tunnels()
    for client in range(400):
        # Just less than a tunnel.
        for n in range(300):
            name = f"{piece(n, 32) if n < 2 else n}.zone.example"
            tunnels.learn(name, A, answer(A), b"%d" % client, 0.0)
    kept = sum(
        len(window.names) for windows in tunnels._windows.values() for window in windows.values()
    )
    assert kept == tunnels._names
    assert MAX_NAMES - 300 <= kept <= MAX_NAMES


@given(
    st.lists(
        st.tuples(
            st.text("ab1.\\-_", max_size=60),
            st.integers(0, 65535),
            st.sampled_from([CLIENT, OTHER]),
        ),
        max_size=30,
    )
)
def test_noticed_of_anything_is_a_parent_of_the_name_or_none(queries):
    tunnels = Tunnels()
    for at, (qname, qtype, source) in enumerate(queries):
        tunnels.learn(qname, qtype, answer(qtype), source, float(at))
        parent = tunnels.noticed(qname, qtype, source, float(at))
        assert parent is None or qname.endswith("." + parent)


LISTENER = """
import socket
raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
raw.bind(("lo", 0x0800))
raw.settimeout(20)
print("listening", flush=True)
while True:
    packet = raw.recv(65535)
    at = (packet[0] & 15) * 4
    if packet[9] == socket.IPPROTO_UDP and bytes((0, 53)) in (packet[at : at + 2], packet[at + 2 : at + 4]):
        print(packet[at + 8 :].hex(), flush=True)
"""
ZONE = """
listen = 127.0.0.1
port = 53
domain = d.example
resources = sink:127.0.0.1:9
"""
SINK = """
import socket
listening = socket.create_server(("127.0.0.1", 9))
print("listening", flush=True)
taken, _ = listening.accept()
while taken.recv(4096):
    pass
"""
SEND = """
until dns2tcpc -z d.example 127.0.0.1 | grep --quiet sink; do :; done
head --bytes 4000 /dev/urandom | dns2tcpc -z d.example -r sink -l - 127.0.0.1
"""


@pytest.fixture
def inside():
    """A network namespace with its loopback up; called with a command, it starts it there."""
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces")
    name = f"sgtunnel{os.getpid()}"
    started = []

    def start(*command, **options):
        words = ("ip", "netns", "exec", name, *command)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | options
        # What a shell has started ends with it.
        started.append(subprocess.Popen(words, start_new_session=True, **quiet))
        return started[-1]

    subprocess.run(("ip", "netns", "add", name), check=True)
    try:
        subprocess.run(("ip", "-n", name, "link", "set", "lo", "up"), check=True)
        yield start
    finally:
        for process in reversed(started):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            if process.stdout:
                process.stdout.close()
        subprocess.run(("ip", "netns", "del", name), check=False)


@pytest.mark.netns
@pytest.mark.parametrize("program", ["iodine", "dns2tcpc"])
def test_learn_notices_the_real_program(inside, tmp_path, program):
    if not shutil.which(program):
        pytest.skip(f"needs {program}")

    def listening(script):
        process = inside(sys.executable, "-c", script, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "listening\n"
        return process.stdout

    queries = listening(LISTENER)
    if program == "iodine":
        inside("iodined", "-f", "-P", "secret", "-l", "127.0.0.1", "198.51.100.1/30", "t.example")
        # Asks until somebody answers.
        inside("iodine", "-f", "-r", "-P", "secret", "127.0.0.1", "t.example")
    else:
        listening(SINK)
        settings = tmp_path / "dns2tcpd.conf"
        settings.write_text(ZONE)
        inside("dns2tcpd", "-F", "-f", str(settings))
        inside("sh", "-c", SEND)
    tunnels, parent, asked = Tunnels(), None, {}
    for number, line in enumerate(queries):
        message, now = bytes.fromhex(line), number / 20
        # Some of what these programs say to each other is no DNS.
        with contextlib.suppress(MalformedMessageError):
            if message[2] & 0x80:
                query = asked.pop(message[:2], None)
                if query is not None:
                    said = parse_answer(message, query, query.id)
                    tunnels.learn(query.qname, query.qtype, said, CLIENT, now)
            else:
                query = asked[message[:2]] = parse_query(message)
                parent = tunnels.noticed(query.qname, query.qtype, CLIENT, now)
        if parent or number > 1000:
            break
    assert parent == ("t.example" if program == "iodine" else "d.example")
