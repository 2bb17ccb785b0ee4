import asyncio
from concurrent.futures import ThreadPoolExecutor

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_webui import http
from gate_webui.http import MAX_BODY_OCTETS, MAX_LARGE_BODY_OCTETS, Application, Ends, converse

ENDS = Ends("192.0.2.10", "192.0.2.2", 8443, "https")


class Writer:
    """What of asyncio.StreamWriter a conversation needs."""

    def __init__(self) -> None:
        self.sent = b""

    def write(self, octets: bytes) -> None:
        self.sent += octets

    async def drain(self) -> None:
        await asyncio.sleep(0)


class Recorder:
    """A WSGI application that keeps what it was asked."""

    def __init__(self, status: str = "200 OK", body: bytes = b"hello", headers=()) -> None:
        self.status, self.body, self.headers = status, body, list(headers)
        self.asked: list[dict] = []
        self.bodies: list[bytes] = []

    def __call__(self, environ, start_response):
        self.asked.append(environ)
        self.bodies.append(environ["wsgi.input"].read())
        start_response(self.status, [("Content-Type", "text/plain"), *self.headers])
        return [self.body]


def talk(octets: bytes, app=None, busy: list | None = None, roomy: tuple[str, ...] = ()) -> bytes:
    """Send ``octets``, then the end of the stream; return what comes back."""

    async def run() -> bytes:
        reader, writer = asyncio.StreamReader(), Writer()
        reader.feed_data(octets)
        reader.feed_eof()
        with ThreadPoolExecutor(1) as pool:
            application = Application(app or Recorder(), pool, frozenset(roomy))
            await converse(
                reader, writer, ENDS, application, (busy if busy is not None else []).append
            )
        return writer.sent

    return asyncio.run(run())


def test_converse_hands_over_the_request_whole():
    app = Recorder()
    talk(
        b"POST /a%20b/?x=%20y HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nX-One: 2\r\nCookie: a=1\r\nCookie: b=2\r\n"
        b"Content-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody",
        app,
    )
    environ = app.asked[0]
    assert app.bodies == [b"body"]
    expected = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/a b/",
        "QUERY_STRING": "x=%20y",
        "HTTP_HOST": "h",
        "HTTP_X_ONE": "1, 2",
        "HTTP_COOKIE": "a=1; b=2",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "4",
        "REMOTE_ADDR": "192.0.2.10",
        "SERVER_NAME": "192.0.2.2",
        "SERVER_PORT": "8443",
        "wsgi.url_scheme": "https",
    }
    assert {key: environ[key] for key in expected} == expected


def test_converse_joins_a_chunked_body():
    app = Recorder()
    talk(
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        app,
    )
    assert app.bodies == [b"abcde"]
    assert app.asked[0]["CONTENT_LENGTH"] == "5"
    assert "HTTP_TRANSFER_ENCODING" not in app.asked[0]


def test_converse_passes_over_fields_that_could_pose_as_others():
    app = Recorder()
    talk(b"GET / HTTP/1.1\r\nHost: h\r\nX_Real: evil\r\nX-Real: good\r\n\r\n", app)
    assert app.asked[0]["HTTP_X_REAL"] == "good"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("http://site.example/page?q=1", "/page", "q=1"),
        ("http://site.example", "/", ""),
        ("http://[bad/page", "/", ""),
        ("*", "/*", ""),
        ("//site.example/page", "//site.example/page", ""),
    ],
)
def test_converse_takes_any_form_of_target(target: str, path: str, query: str):
    app = Recorder()
    talk(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode(), app)
    assert (app.asked[0]["PATH_INFO"], app.asked[0]["QUERY_STRING"]) == (path, query)


def test_converse_answers_one_after_the_other():
    app = Recorder()
    busy: list[bool] = []
    sent = talk(
        b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        app,
        busy,
    )
    assert [environ["PATH_INFO"] for environ in app.asked] == ["/1", "/2"]
    assert sent.count(b"HTTP/1.1 200") == 2
    assert busy == [True, False, True, False]


def test_converse_ends_after_connection_close():
    app = Recorder()
    talk(
        b"GET /1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
        app,
    )
    assert len(app.asked) == 1


def test_converse_measures_the_body():
    sent = talk(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert b"content-length: 5\r\n" in sent.lower()
    assert sent.endswith(b"\r\n\r\nhello")


def test_converse_head_has_no_body():
    sent = talk(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", Recorder(headers=[("Content-Length", "5")]))
    assert b"200 OK" in sent or b"HTTP/1.1 200" in sent
    assert sent.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", ["204 NO CONTENT", "304 NOT MODIFIED"])
def test_converse_answers_without_a_body_are_left_so(status: str):
    sent = talk(
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", Recorder(status, b"")
    )
    assert sent.count(status[:3].encode()) == 2
    assert b"content-length" not in sent.lower()


def test_converse_says_go_on_to_who_waits_for_it():
    sent = talk(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n")
    assert b"HTTP/1.1 200" in sent


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"Content-Length: %d\r\n\r\n" % (MAX_BODY_OCTETS + 1), id="measured"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (MAX_BODY_OCTETS + 1), id="chunked"
        ),
    ],
)
def test_converse_refuses_a_long_body(head: bytes):
    app = Recorder()
    sent = talk(b"POST / HTTP/1.1\r\nHost: h\r\n" + head + b"x" * (MAX_BODY_OCTETS + 1), app)
    assert sent.startswith(b"HTTP/1.1 413")
    assert b"at most 65,536 octets are taken" in sent
    assert b"connection: close" in sent.lower()
    assert not app.asked


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", b"400", id="no Host"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400", id="TLS"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 40_000, b"431", id="long head"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", b"400", id="length"
        ),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400", id="two hosts"),
    ],
)
def test_converse_refuses_what_is_no_request(octets: bytes, status: bytes):
    app = Recorder()
    assert talk(octets, app).startswith(b"HTTP/1.1 " + status)
    assert not app.asked


@pytest.mark.parametrize(
    "octets", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc"]
)
def test_converse_asks_nothing_for_who_leaves_early(octets: bytes):
    app = Recorder()
    talk(octets, app)
    assert not app.asked


def test_converse_our_own_fault_is_a_plain_answer():
    def broken(environ, start_response):
        raise TypeError("something of ours")

    sent = talk(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", broken)
    assert sent.startswith(b"HTTP/1.1 500")
    assert b"ours" not in sent


def test_converse_waits_no_longer_than_it_says(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http, "RECEIVE_S", 0.05)

    async def run() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(b"GET / HTTP/1.1\r\nHost")
        with ThreadPoolExecutor(1) as pool, pytest.raises(TimeoutError):
            await converse(reader, Writer(), ENDS, Application(Recorder(), pool), lambda _: None)

    asyncio.run(run())


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_converse_any_octets_get_an_answer_or_silence(octets: bytes):
    sent = talk(octets)
    assert sent == b"" or sent.startswith(b"HTTP/1.1 ")


@given(
    st.lists(
        st.sampled_from(
            [
                b"GET ",
                b"/",
                b" HTTP/1.1",
                b"\r\n",
                b"Host: h",
                b"\r\n\r\n",
                b"Content-Length: 3",
                b"abc",
                b"Transfer-Encoding: chunked",
                b"Connection: upgrade",
                b"Upgrade: x",
                b"CONNECT h:443",
            ]
        ),
        max_size=14,
    )
)
@settings(max_examples=150, deadline=None)
def test_converse_any_order_of_parts_gets_an_answer_or_silence(parts: list[bytes]):
    sent = talk(b"".join(parts))
    assert sent == b"" or sent.startswith(b"HTTP/1.1 ")


def test_converse_answers_are_what_h11_reads():
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    client.send(h11.EndOfMessage())
    client.receive_data(talk(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
    assert [type(client.next_event()) for _ in range(3)] == [
        h11.Response,
        h11.Data,
        h11.EndOfMessage,
    ]


@pytest.mark.parametrize(
    ("target", "octets", "status"),
    [
        ("/import", MAX_BODY_OCTETS + 1, b"200"),
        ("/import?x=1", MAX_LARGE_BODY_OCTETS, b"200"),
        ("/import", MAX_LARGE_BODY_OCTETS + 1, b"413"),
        ("/import/more", MAX_BODY_OCTETS + 1, b"413"),
        ("/", MAX_BODY_OCTETS + 1, b"413"),
    ],
)
def test_converse_takes_large_bodies_where_there_is_room_only(
    target: str, octets: int, status: bytes
):
    head = f"POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {octets}\r\n\r\n".encode()
    sent = talk(head + b"x" * octets, roomy=("/import",))
    assert sent.split(b" ")[1] == status


def test_converse_receives_four_large_bodies_at_a_time():
    async def run() -> int:
        with ThreadPoolExecutor(1) as pool:
            application = Application(Recorder(), pool, frozenset(("/import",)))
            readers = [asyncio.StreamReader() for _ in range(6)]
            tasks = []
            for reader in readers:
                reader.feed_data(
                    b"POST /import HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"
                    + b"x" * 70_000
                )
                talking = converse(reader, Writer(), ENDS, application, lambda _: None)
                tasks.append(asyncio.create_task(talking))
            while not application.large.locked():
                await asyncio.sleep(0)
            for reader in readers:
                reader.feed_data(b"x" * 30_000)
                reader.feed_eof()
            await asyncio.gather(*tasks)
            return len(application.wsgi.bodies)

    assert asyncio.run(run()) == 6
