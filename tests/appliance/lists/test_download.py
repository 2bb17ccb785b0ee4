"""Downloads from a real server over HTTP and HTTPS on this machine."""

import gzip
import ssl
import threading
import time
import zlib
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gate_appliance.lists.download import MAX_REDIRECTS, _is_public, fetch
from gate_appliance.lists.formats import ListError
from gate_appliance.lists.work import Worker, silent

LIST = b"".join(b"name%d.example\n" % n for n in range(5000))


class Handler(BaseHTTPRequestHandler):
    """Each path is a server that behaves, or misbehaves, in one way."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        getattr(self, f"send_{self.path.strip('/').partition('/')[0]}")()

    def log_message(self, *_):
        pass

    def answer(self, body, status=200, length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def send_list(self):
        mark = {"ETag": '"1"', "Last_Modified": "Mon, 02 Nov 2026 08:00:00 GMT"}
        if self.headers.get("If-None-Match") == '"1"':
            self.answer(b"", 304, **mark)
        else:
            self.answer(LIST, **mark)

    def send_dated(self):
        since = self.headers.get("If-Modified-Since")
        self.answer(b"" if since else LIST, 304 if since else 200, Last_Modified=since or "then")

    def send_packed(self):
        half = len(LIST) // 2
        body = gzip.compress(LIST[:half]) + gzip.compress(LIST[half:])
        self.answer(body, Content_Encoding="gzip")

    def send_file(self):
        self.answer(gzip.compress(LIST), Content_Type="application/gzip")

    def send_packed_cut(self):
        self.answer(gzip.compress(LIST)[:-20], Content_Encoding="gzip")

    def send_packed_damaged(self):
        self.answer(gzip.compress(LIST)[:200] + b"damaged" * 50)

    def send_bomb(self):
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            for _ in range(200):
                self.wfile.write(packer.compress(bytes(1 << 20)))
            self.wfile.write(packer.flush())
        except OSError:
            return

    def send_cut(self):
        self.answer(LIST[:100], length=len(LIST))
        self.close_connection = True

    def send_chunks(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (LIST[:1], LIST[1:3000], LIST[3000:]):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def send_chunks_cut(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b" % (len(LIST), LIST[:100]))
        self.close_connection = True

    def send_page(self):
        self.answer(b"<!DOCTYPE html><html></html>", Content_Type="text/html; charset=utf-8")

    def send_gone(self):
        self.answer(b"", 404)

    def send_huge(self):
        self.answer(LIST, length=10**12)

    def send_odd(self):
        self.answer(LIST, length="many")

    def send_brotli(self):
        self.answer(LIST, Content_Encoding="br")

    def send_trickle(self):
        self.send_response(200)
        self.end_headers()
        try:
            while not self.server.over.wait(0.01):
                self.wfile.write(b"a.example\n")
        except OSError:
            return

    def send_silence(self):
        self.server.over.wait()

    def send_silence_after(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(LIST)
        self.server.over.wait()

    def send_headers(self):
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            while not self.server.over.wait(0.01):
                self.wfile.write(b"x")
        except OSError:
            return

    def send_loop(self):
        self.answer(b"", 302, Location="/loop")

    def send_moved(self):
        left = int(self.path.rpartition("/")[2])
        self.answer(b"", 301, Location=f"/moved/{left - 1}" if left > 1 else "/list")

    def send_inside(self):
        self.answer(b"", 302, Location=self.server.inside)

    def send_downgrade(self):
        self.answer(b"", 302, Location="http://127.0.0.1:1/list")

    def send_elsewhere(self):
        self.answer(b"", 302, Location="file:/etc/hostname")


@pytest.fixture
def server():
    with running(None) as its:
        yield its


class running:  # noqa: N801  # reads like the context that it is
    def __init__(self, context):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.asked = []
        self.server.over = threading.Event()
        scheme = "http"
        if context:
            scheme = "https"
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.over.set()
        self.server.shutdown()
        self.server.server_close()


def read_file(source, target, validators=(), imports=None):
    bounds = {"reserve_octets": 0}
    return fetch(
        source.as_uri(), str(target), dict(validators), 0, bounds, imports=str(imports or source.parent), progress=silent
    )  # fmt: skip


def got(its, path, target, validators=(), expected=0, progress=silent, **limits):
    bounds = {"reserve_octets": 0, "total_s": 20, "idle_s": 10} | limits
    return fetch(its.url + path, str(target), dict(validators), expected, bounds, progress=progress)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "list"


@pytest.mark.parametrize("path", ["/list", "/packed", "/file", "/chunks"])
def test_fetch_writes_the_list_as_it_is(server, target, path):
    result = got(server, path, target)
    assert target.read_bytes() == LIST
    assert (result["changed"], result["octets"]) == (True, len(LIST))


def test_fetch_asks_for_what_has_changed_only(server, target):
    first = got(server, "/list", target)
    assert first["validators"] == {
        "etag": '"1"', "last_modified": "Mon, 02 Nov 2026 08:00:00 GMT",
    }  # fmt: skip
    target.unlink()
    assert got(server, "/list", target, first["validators"]) == {"changed": False}
    assert not target.exists()
    assert server.server.asked[-1][1]["If-None-Match"] == '"1"'
    dated = got(server, "/dated", target)
    assert got(server, "/dated", target, dated["validators"]) == {"changed": False}


def test_fetch_tells_how_far_it_is(server, target):
    told = []
    got(server, "/list", target, progress=lambda *step: told.append(step))
    assert told[0] == ("connecting", 0, 0)
    assert told[-1] == ("downloading", len(LIST), len(LIST))


@pytest.mark.parametrize(
    ("path", "kind", "part"),
    [
        ("/cut", OSError, "cut short|Broken|IncompleteRead|can't be got"),
        ("/chunks_cut", OSError, "can't be got"),
        ("/packed_cut", OSError, "end of the packed list is missing"),
        ("/packed_damaged", ListError, "damaged"),
        ("/page", ListError, "a web page"),
        ("/gone", OSError, "answers 404"),
        ("/huge", ListError, "longer than"),
        ("/odd", OSError, "makes no sense|can't be got"),
        ("/brotli", ListError, "gzip is understood"),
        ("/loop", OSError, f"more than {MAX_REDIRECTS} times"),
        ("/elsewhere", OSError, "which is not followed"),
        (f"/moved/{MAX_REDIRECTS + 1}", OSError, "elsewhere more than"),
    ],
)
def test_fetch_refuses_and_leaves_nothing(server, target, path, kind, part):
    with pytest.raises(kind, match=part):
        got(server, path, target)
    assert not target.exists()


def test_fetch_follows_a_few_redirects(server, target):
    assert got(server, f"/moved/{MAX_REDIRECTS}", target)["changed"]


def test_fetch_is_not_led_to_what_only_the_box_can_reach(server, target):
    """Not one octet is sent there."""
    with running(None) as inside:
        server.server.inside = f"{inside.url}/list"
        with pytest.raises(OSError, match="to an address that is not public"):
            got(server, "/inside", target)
        assert inside.server.asked == []
    assert not target.exists()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("8.8.8.8", True),
        ("::1", False),
        ("fe80::1%lo", False),
        ("fd00::1", False),
        ("::ffff:192.168.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::1", False),
        ("2600::1", True),
    ],
)
def test_address_of_a_redirect_is_public_whatever_form_it_has(address, public):
    assert _is_public(address) is public


def test_fetch_stops_unpacking_at_the_longest_list(server, target):
    with pytest.raises(ListError, match=r"longer than the 1\.0 MB"):
        got(server, "/bomb", target, max_octets=1_000_000)
    assert not target.exists()


def test_fetch_does_not_wait_for_ever(server, target):
    with pytest.raises(TimeoutError, match="not there after 1 seconds"):
        got(server, "/trickle", target, total_s=1)
    for path in ("/silence", "/silence_after"):
        with pytest.raises(TimeoutError, match="does not answer in time"):
            got(server, path, target, idle_s=0.2)
    assert not target.exists()


def test_worker_ends_what_trickles_before_the_answer_begins(server, target):
    """Headers that never end keep http.client reading; the process is what ends it."""
    arguments = {
        "url": f"{server.url}/headers", "into": str(target), "validators": {}, "expected_octets": 0, "limits": {},
    }  # fmt: skip
    with pytest.raises(TimeoutError, match="1 seconds"):
        Worker().run(fetch, arguments, total_s=1)


def test_fetch_is_refused_before_it_starts_where_the_disk_is_low(server, target):
    with pytest.raises(OSError, match=r"too little room on the disk: .* are free, .* are wanted"):
        got(server, "/list", target, reserve_octets=1 << 60)
    assert server.server.asked == []
    with pytest.raises(OSError, match="too little room on the disk"):
        got(server, "/list", target, expected=1 << 59, max_octets=1 << 62)
    assert server.server.asked == []


def test_fetch_reads_a_file_of_the_box(tmp_path, target):
    source = tmp_path / "with blank"
    source.write_bytes(LIST)
    first = read_file(source, target)
    assert target.read_bytes() == LIST
    assert read_file(source, target, first["validators"]) == {"changed": False}
    with pytest.raises(OSError, match="is no file"):
        read_file(tmp_path, target, imports=tmp_path)


def test_fetch_reads_no_file_out_of_the_directory_of_imports(tmp_path, target):
    imports = tmp_path / "imports"
    imports.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(LIST)
    (imports / "link").symlink_to(secret)
    for source in (secret, tmp_path / "nowhere", imports / ".." / "secret", imports / "link"):
        with pytest.raises(OSError, match=r"only files below .*imports are read"):
            read_file(source, target, imports=imports)
    with pytest.raises(OSError, match="only files below"):
        fetch(secret.as_uri(), str(target), {}, 0, {"reserve_octets": 0}, progress=silent)
    assert not target.exists()


# TLS


@pytest.fixture
def secured(tmp_path, monkeypatch):
    """Return a server with a certificate for a name, in which this machine trusts where ``trusted``."""

    def make(name, *, trusted=True):
        certificate, key = tmp_path / "certificate", tmp_path / "key"
        write_certificate(certificate, key, name)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        return running(context)

    return make


def write_certificate(certificate, key, address):
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lists")])
    now = datetime.fromtimestamp(time.time(), UTC)
    made = (
        x509.CertificateBuilder(subject, subject, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def test_fetch_takes_a_list_from_a_server_that_proves_who_it_is(secured, target):
    with secured("127.0.0.1") as its:
        assert got(its, "/list", target)["changed"]


@pytest.mark.parametrize(
    ("name", "trusted"),
    [
        pytest.param("192.0.2.1", True, id="another name"),
        pytest.param("127.0.0.1", False, id="nobody vouches for it"),
    ],
)
def test_fetch_refuses_a_server_that_does_not_prove_who_it_is(secured, target, name, trusted):
    with (
        secured(name, trusted=trusted) as its,
        pytest.raises(OSError, match="can't prove who it is"),
    ):
        got(its, "/list", target)


def test_fetch_does_not_follow_from_https_to_http(secured, target):
    with secured("127.0.0.1") as its, pytest.raises(OSError, match="from https to http"):
        got(its, "/downgrade", target)
