from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_firewall.host import Absence
from gate_firewall.http import MalformedRequestError, Requests, host, is_request

GET = b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        pytest.param(GET + b"Host: www.Example.org\r\n\r\n", "www.example.org", id="host"),
        pytest.param(
            GET + b"Accept: */*\r\nhOST:www.example.org.:80\r\n\r\n", "www.example.org", id="port"
        ),
        pytest.param(GET.replace(b"\r", b"") + b"Host: a.example\n\n", "a.example", id="lf only"),
        pytest.param(
            b"\r\n" + GET + b"Host: a.example\r\n\r\n", "a.example", id="empty line first"
        ),
        pytest.param(b"GET http://A.example:80/p?q HTTP/1.1\r\n\r\n", "a.example", id="absolute"),
        pytest.param(
            b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "a.example",
            id="absolute and host",
        ),
        pytest.param(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n", "a.example", id="connect"),
        pytest.param(GET + b"Host: 192.0.2.1:8080\r\n\r\n", "192.0.2.1", id="ipv4"),
        pytest.param(GET + b"Host: [2001:db8::1]:80\r\n\r\n", "2001:db8::1", id="ipv6"),
        pytest.param(GET + "Host: ä.example\r\n\r\n".encode(), "\\195\\164.example", id="octets"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", Absence.ABSENT, id="none"),
        pytest.param(GET + b"Host:\r\n\r\n", Absence.ABSENT, id="empty"),
        pytest.param(
            GET + b"X-Host: b.example\r\n\r\nHost: c.example\r\n", Absence.ABSENT, id="in the body"
        ),
    ],
)
def test_host_finds_the_name(request_, name):
    assert host(request_) == name
    assert is_request(request_) is True


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(GET + b"Host: a.example\r\nHost: b.example\r\n\r\n", id="two hosts"),
        pytest.param(GET + b"Host: a.example\r\nHost: a.example\r\n\r\n", id="one host twice"),
        pytest.param(GET + b"Host : a.example\r\n\r\n", id="space before the colon"),
        pytest.param(GET + b"Host\x0b: a.example\r\n\r\n", id="name that is no token"),
        pytest.param(GET + b"Host: a.example\r\nhost\r\n\r\n", id="field without colon"),
        pytest.param(GET + b"Host: a.example\r\nX: \0\r\n\r\n", id="nul"),
        pytest.param(GET + b"X: x\nHost: a.example\r\n\r\n", id="two kinds of line ends"),
        pytest.param(b"GET http://u@a.example/ HTTP/1.1\r\n\r\n", id="user in the uri"),
        pytest.param(b"GET a.example/ HTTP/1.1\r\n\r\n", id="uri without scheme"),
        pytest.param(b"GET /a b HTTP/1.1\r\n\r\n", id="space in the target"),
        pytest.param(b"GET / HTTP/1.1 \r\n\r\n", id="space behind the version"),
        pytest.param(b"\n" * 17 + GET + b"\r\n", id="too many empty lines"),
        pytest.param(b"\rGET / HTTP/1.1\r\n\r\n", id="lone cr first"),
        pytest.param(GET + b"X: " + bytes(16_400), id="head of more than 16 KiB"),
        pytest.param(
            b"GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n", id="absolute differs"
        ),
        pytest.param(
            b"CONNECT a.example:443 HTTP/1.1\r\nHost: b.example\r\n\r\n", id="connect differs"
        ),
        pytest.param(GET + b"Host: a.example\r\nHost:\r\n\r\n", id="a host and none"),
        pytest.param(GET + b"Host: a.example, b.example\r\n\r\n", id="list"),
        pytest.param(GET + b"Host: %61.example\r\n\r\n", id="percent"),
        pytest.param(GET + b"Host: a@b.example\r\n\r\n", id="user"),
        pytest.param(GET + b"Host: a.example\r\n b.example\r\n\r\n", id="folded"),
        pytest.param(GET + b"Host: a.example\rHost: b.example\r\n\r\n", id="lone cr"),
        pytest.param(GET + b"Host: [::1\r\n\r\n", id="half a literal"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\n", id="http/2"),
        pytest.param(b"GET /\r\n\r\n", id="http/0.9"),
        pytest.param(b"SSH-2.0-x\r\n", id="another protocol"),
    ],
)
def test_host_refuses_what_has_two_readings_or_none(request_):
    with pytest.raises(MalformedRequestError):
        host(request_)


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        (b"", None),
        (b"\r\n", None),
        (b"GE", None),
        (b"GET ", None),
        (b"GET /" + b"x" * 9000, None),
        (b"GET / HTTP/1.1\r\n", True),
        (b"NICK somebody\r\n", False),
        (b"get / http/1.1\r\n", False),
        (b"SSH-2.0", False),
        (b"\x16\x03\x01", False),
    ],
)
def test_is_request_waits_only_while_it_may_become_one(payload, answer):
    assert is_request(payload) is answer


def request(line, *fields, body=b""):
    return b"".join(part + b"\r\n" for part in (line, *fields, b"")) + body


def feed_all(octets, size):
    requests = Requests()
    pieces = (octets[i : i + size] for i in range(0, len(octets), size))
    return [name for piece in pieces for name in requests.feed(piece)]


A = request(b"GET /a HTTP/1.1", b"Host: a.example")
B = request(b"GET /b HTTP/1.1", b"Host: B.example:80")
POST = b"POST / HTTP/1.1"
CHUNKED = b"Transfer-Encoding: Chunked"


@pytest.mark.parametrize(
    ("octets", "hosts"),
    [
        pytest.param(A + B + A, ["a.example", "b.example", "a.example"], id="pipelined"),
        pytest.param(
            request(POST, b"Content-Length: 5", body=b"\r\n\r\nx") + B, ["", "b.example"], id="body"
        ),
        pytest.param(
            request(POST, b"Content-Length:%d" % len(A), body=A) + B,
            ["", "b.example"],
            id="request in a body",
        ),
        pytest.param(
            request(POST, CHUNKED, body=b"3\r\nabc\r\n0a\r\n0123456789\r\n000\r\n\r\n") + B,
            ["", "b.example"],
            id="chunks",
        ),
        pytest.param(
            request(POST, b"Content-Length: 1", b"Content-Length: 1", body=b"x") + B,
            ["", "b.example"],
            id="one length twice",
        ),
        pytest.param(
            request(b"GET / HTTP/1.1", b"Content-Length: 0") + b"\r\n" + B,
            ["", "b.example"],
            id="no octets, and an empty line behind",
        ),
        pytest.param(
            request(b"GET / HTTP/1.1", b"Host: a.example", b"Upgrade: h2c") + B,
            ["a.example", "b.example"],
            id="upgrade that the server did not take",
        ),
        pytest.param(
            request(b"CONNECT a.example:443 HTTP/1.1"), ["a.example"], id="connect without more"
        ),
        pytest.param(A + B[:-1], ["a.example"], id="half a head"),
        pytest.param(A.replace(b"\r", b"") + B, ["a.example", "b.example"], id="lf only"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1448])
def test_feed_gives_the_host_of_every_request(octets, hosts, size):
    assert feed_all(octets, size) == hosts


def test_feed_gives_a_host_with_the_last_octet_of_the_head():
    requests = Requests()

    assert requests.feed(A[:-1]) == []
    assert requests.feed(A[-1:] + B[:9]) == ["a.example"]
    assert requests.feed(B[9:]) == ["b.example"]


@pytest.mark.parametrize(
    ("octets", "what"),
    [
        pytest.param(
            request(POST, b"Content-Length: 3", CHUNKED), "see differently", id="length and chunks"
        ),
        pytest.param(
            request(b"POST / HTTP/1.0", CHUNKED), "see differently", id="chunks in http/1.0"
        ),
        pytest.param(
            request(POST, b"Transfer-Encoding: gzip, chunked"), "see differently", id="codings"
        ),
        pytest.param(request(POST, CHUNKED, CHUNKED), "see differently", id="chunked twice"),
        pytest.param(
            request(POST, b"Transfer-Encoding: \x0bchunked"), "see differently", id="coding, nearly"
        ),
        pytest.param(
            request(POST, b"Content-Length: 3", b"Content-Length: 4"), "lengths", id="two lengths"
        ),
        pytest.param(request(POST, b"Content-Length: 3, 3"), "lengths", id="list of lengths"),
        pytest.param(request(POST, b"Content-Length: +3"), "lengths", id="length with sign"),
        pytest.param(request(POST, b"Content-Length: 010"), "lengths", id="length with zeros"),
        pytest.param(request(POST, b"Content-Length:"), "lengths", id="length of nothing"),
        pytest.param(
            request(b"GET / HTTP/1.1", b"Content-Length: 9"), "not every server", id="get with body"
        ),
        pytest.param(request(POST, CHUNKED, b"Expect: something"), "not every server", id="expect"),
        pytest.param(
            request(POST, b"Content-Length: 9", b"Upgrade: h2c"),
            "not every server",
            id="upgrade with body",
        ),
        pytest.param(request(POST, CHUNKED, body=b"x\r\n"), "chunks", id="no size"),
        pytest.param(request(POST, CHUNKED, body=b"0x3\r\nabc"), "chunks", id="size with 0x"),
        pytest.param(request(POST, CHUNKED, body=b"3\nabc\r\n"), "chunks", id="size ended by lf"),
        pytest.param(request(POST, CHUNKED, body=b"3;a=b\r\nabc"), "chunks", id="extension"),
        pytest.param(request(POST, CHUNKED, body=b"123456789\r\n"), "chunks", id="huge chunk"),
        pytest.param(
            request(POST, CHUNKED, body=b"3\r\nabcd\r\n"), "chunks", id="chunk longer than said"
        ),
        pytest.param(request(POST, CHUNKED, body=b"0\r\nHost: b\r\n"), "chunks", id="trailer"),
        pytest.param(
            request(b"CONNECT a.example:443 HTTP/1.1") + b"\x16", "behind CONNECT", id="tunnel"
        ),
        pytest.param(
            request(b"GET / HTTP/1.1", b"Upgrade: h2c") + b"PRI * HTTP/2.0\r\n",
            "no request line",
            id="h2c",
        ),
        pytest.param(b"PRI * HTTP/2.0\r\n", "no request line", id="http/2"),
        pytest.param(b"GET /\r\n", "no request line", id="http/0.9"),
        pytest.param(b"\x81\x85", "no request line", id="websocket frame"),
        pytest.param(
            b"GET / HTTP/1.1\r\nX: " + b"x" * 16_384, "more than 16384", id="head that does not end"
        ),
        pytest.param(
            request(b"GET / HTTP/1.1", b"Host: a", b"Host: b"), "two hosts", id="two hosts"
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 1448, 20_000])
def test_feed_refuses_what_two_servers_could_read_differently(octets, what, size):
    with pytest.raises(MalformedRequestError, match=what):
        feed_all(A + octets, size)


def test_feed_keeps_no_body():
    requests = Requests()
    requests.feed(request(POST, b"Content-Length: 9000000"))
    for _ in range(9000):
        assert requests.feed(bytes(1000)) == []

    assert requests.feed(B) == ["b.example"]


def fed(octets, cuts):
    """Return the hosts found in ``octets`` cut at ``cuts``, and whether they were refused."""
    requests, found = Requests(), []
    places = sorted({0, len(octets), *(c for c in cuts if c < len(octets))})
    for start, end in pairwise(places):
        try:
            found += requests.feed(octets[start:end])
        except MalformedRequestError:
            return found, True
    return found, False


def outcome(octets):
    try:
        return host(octets)
    except MalformedRequestError:
        return MalformedRequestError


def outcomes(octets):
    """Feed ``octets`` one by one; a decided outcome must never change again."""
    found = [outcome(octets[:n]) for n in range(len(octets) + 1)]
    decided = [o for o in found if o is not Absence.INCOMPLETE]
    assert len(set(decided)) <= 1
    assert found[len(found) - len(decided) :] == decided


PIECES = st.sampled_from(
    [
        b"GET ",
        b"/",
        b" ",
        b"http://",
        b"a.example",
        b"B",
        b"HTTP/1.1",
        b"\r\n",
        b"\n",
        b"\r",
        b"Host:",
        b":80",
        b"@",
        b"[",
    ]
)


@given(st.binary(max_size=120))
def test_host_of_any_octets_gives_a_value_or_malformed(octets):
    outcomes(octets)


@given(st.lists(PIECES, max_size=20))
def test_host_of_pieces_of_requests_gives_a_value_or_malformed(pieces):
    outcomes(b"".join(pieces))


BODIES = st.sampled_from(
    [
        A,
        B,
        POST + b"\r\n",
        CHUNKED + b"\r\n",
        b"Content-Length: 3\r\n",
        b"Host: c.example\r\n",
        b"\r\n",
        b"\n",
        b"3\r\n",
        b"0\r\n",
        b"abc",
        b"x",
    ]
)


@given(st.lists(BODIES, max_size=12), st.lists(st.integers(1, 300), max_size=9))
def test_feed_of_pieces_gives_the_same_however_they_are_cut(pieces, cuts):
    octets = b"".join(pieces)
    whole, cut = fed(octets, []), fed(octets, cuts)

    assert whole[1] == cut[1]
    assert whole[0] == cut[0] or whole[1]


@given(st.binary(max_size=200), st.sampled_from([b"", A, request(POST, CHUNKED)]))
def test_feed_of_any_octets_gives_hosts_or_malformed(octets, start):
    fed(start + octets, range(300))


EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
NEXT = b"GET / HTTP/1.1\r\nHost: b\r\n\r\n"


def test_feed_waits_for_the_answer_to_a_request_that_expects_one():
    requests = Requests()
    assert requests.feed(EXPECTING) == ["a"]
    assert requests.expecting
    requests.answered(100)
    assert requests.feed(b"x" * 5 + NEXT) == ["b"]


@pytest.mark.parametrize("code", [200, 417])
@pytest.mark.parametrize("octets", [NEXT, b"x" * 5])
def test_feed_refuses_whatever_follows_another_answer(code, octets):
    """It may be the answer to a request before: then the server still waits for the body."""
    requests = Requests()
    requests.feed(EXPECTING)
    requests.answered(code)
    with pytest.raises(MalformedRequestError, match="behind"):
        requests.feed(octets)


def test_feed_refuses_a_body_that_did_not_wait():
    with pytest.raises(MalformedRequestError, match="did not wait"):
        Requests().feed(EXPECTING + b"x" * 5)
    requests = Requests()
    requests.feed(EXPECTING)
    with pytest.raises(MalformedRequestError, match="did not wait"):
        requests.feed(b"x" * 5)


UPGRADE = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"


def test_feed_ends_where_the_server_agrees_to_websocket():
    requests = Requests()
    assert requests.feed(UPGRADE) == ["a"]
    assert requests.expecting
    requests.answered(101)
    assert requests.switched


@pytest.mark.parametrize("code", [200, 404, 426])
def test_feed_goes_on_where_the_server_does_not_agree_to_websocket(code):
    requests = Requests()
    requests.feed(UPGRADE)
    requests.answered(code)

    assert not requests.switched
    assert requests.feed(NEXT) == ["b"]


def test_feed_refuses_what_does_not_wait_for_the_agreement():
    with pytest.raises(MalformedRequestError, match="did not wait"):
        Requests().feed(UPGRADE + NEXT)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(NEXT + UPGRADE, id="behind another request, whose answer it might be"),
        pytest.param(UPGRADE.replace(b"WebSocket", b"h2c"), id="to HTTP/2"),
        pytest.param(UPGRADE.replace(b"WebSocket", b"websocket, h2c"), id="to either"),
        pytest.param(UPGRADE.replace(b"GET", b"OPTIONS"), id="by another method"),
    ],
)
def test_feed_takes_no_other_upgrade(octets):
    requests = Requests()
    requests.feed(octets)

    assert not requests.expecting
    assert requests.feed(NEXT) == ["b"]
