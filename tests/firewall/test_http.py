import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_firewall.host import Absence
from gate_firewall.http import MalformedRequestError, host, is_request

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
        pytest.param(GET + b"Host : a.example\r\n\r\n", "a.example", id="space before the colon"),
        pytest.param(
            b"GET http://u:p@A.example:80/p?q HTTP/1.1\r\n\r\n", "a.example", id="absolute"
        ),
        pytest.param(
            b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "a.example",
            id="absolute and host",
        ),
        pytest.param(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n", "a.example", id="connect"),
        pytest.param(
            GET + b"Host: a.example\r\nHost: A.example.\r\n\r\n", "a.example", id="one host twice"
        ),
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
