import io
import re
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_appliance.lists import formats
from gate_appliance.lists.formats import (
    MAX_LINE_OCTETS,
    MAX_QUOTED_CHARACTERS,
    MAX_REPORTED_LINES,
    Format,
    ListError,
    ParsedList,
    detect,
    lines_of,
    parse_list,
)
from gate_appliance.lists.networks import read_network
from gate_core.names import MalformedNameError, parse_name

# Lines that settle the form of a list, so that one more line can be looked at.
NAMES = [b"settled%d.example\n" % i for i in range(3)]
HOSTS = [b"0.0.0.0 settled%d.example\n" % i for i in range(3)]
ADBLOCK = [b"||settled%d.example^\n" % i for i in range(3)]
ZONE = [b"settled%d.example CNAME .\n" % i for i in range(3)]


def read(settled: list[bytes], line: bytes) -> ParsedList:
    return parse_list([*settled, line])


@pytest.mark.parametrize(
    ("line", "names"),
    [
        pytest.param(b"games.example\n", ["games.example"], id="plain"),
        pytest.param(b"games.example", ["games.example"], id="no line end"),
        pytest.param(b"games.example\r\n", ["games.example"], id="CRLF"),
        pytest.param(b"  games.example \t\n", ["games.example"], id="blanks around"),
        pytest.param(b"GAMES.Example.\n", ["games.example"], id="letter case and final dot"),
        pytest.param(b"\xef\xbb\xbfgames.example\n", ["games.example"], id="byte order mark"),
        pytest.param(b".games.example\n", ["games.example"], id="leading dot"),
        pytest.param(b"*.games.example\n", ["games.example"], id="wildcard"),
        pytest.param(b"games.example # why\n", ["games.example"], id="comment behind"),
        pytest.param(b"_ads.games.example\n", ["_ads.games.example"], id="underscore"),
        pytest.param("bücher.example\n".encode(), ["xn--bcher-kva.example"], id="IDNA"),
        pytest.param("例え。テスト\n".encode(), ["xn--r8jz45g.xn--zckzah"], id="IDNA dot"),
        pytest.param(b"# a comment\n", [], id="comment"),
        pytest.param(b"## a heading\n", [], id="heading"),
        pytest.param(b"! caf\xe9\n", [], id="comment in Latin-1"),
        pytest.param(b"; a comment\n", [], id="semicolon"),
        pytest.param(b"\n", [], id="blank line"),
    ],
)
def test_parse_list_takes_one_name_a_line(line: bytes, names: list[str]) -> None:
    parsed = read(NAMES, line)
    assert parsed.format is Format.NAMES
    assert list(parsed.names[3:]) == names
    assert parsed.exclusions == ()
    assert parsed.report.not_understood == 0


@pytest.mark.parametrize(
    ("line", "names"),
    [
        pytest.param(b"0.0.0.0 games.example\n", ["games.example"], id="null address"),
        pytest.param(b"127.0.0.1\tgames.example\r\n", ["games.example"], id="loopback, tab, CRLF"),
        pytest.param(b":: games.example\n", ["games.example"], id="IPv6 null address"),
        pytest.param(b"::1 games.example\n", ["games.example"], id="IPv6 loopback"),
        pytest.param(
            b"0.0.0.0 a.example b.example # two\n", ["a.example", "b.example"], id="several names"
        ),
        pytest.param(b"127.0.0.1 localhost\n", [], id="localhost"),
        pytest.param(b"127.0.0.1 localhost.localdomain\n", [], id="localhost.localdomain"),
        pytest.param(b"::1 ip6-localhost ip6-loopback\n", [], id="IPv6 localhost"),
        pytest.param(b"255.255.255.255 broadcasthost\n", [], id="broadcasthost"),
        pytest.param(b"fe80::1%lo0 localhost\n", [], id="link-local with zone"),
        pytest.param(b"ff02::1 ip6-allnodes\n", [], id="multicast"),
        pytest.param(b"0.0.0.0 0.0.0.0\n", [], id="null address twice"),
        pytest.param(b"# 0.0.0.0 games.example\n", [], id="commented out"),
    ],
)
def test_parse_list_takes_hosts_lines(line: bytes, names: list[str]) -> None:
    parsed = read(HOSTS, line)
    assert parsed.format is Format.HOSTS
    assert list(parsed.names[3:]) == names
    assert parsed.report.not_understood == 0


@pytest.mark.parametrize(
    ("line", "names", "exclusions"),
    [
        pytest.param(b"||games.example^\n", ["games.example"], [], id="host rule"),
        pytest.param(b"||Games.Example^\r\n", ["games.example"], [], id="letter case, CRLF"),
        pytest.param(b"@@||maths.example^\n", [], ["maths.example"], id="allow rule"),
        pytest.param("||bücher.example^\n".encode(), ["xn--bcher-kva.example"], [], id="IDNA"),
        pytest.param(b"! Title: a list\n", [], [], id="comment"),
        pytest.param(b"# Title: a list\n", [], [], id="comment as elsewhere"),
        pytest.param(b"[Adblock Plus 2.0]\n", [], [], id="head line"),
    ],
)
def test_parse_list_takes_adblock_host_rules(
    line: bytes, names: list[str], exclusions: list[str]
) -> None:
    parsed = read(ADBLOCK, line)
    assert parsed.format is Format.ADBLOCK
    assert list(parsed.names[3:]) == names
    assert list(parsed.exclusions) == exclusions
    assert parsed.report.not_understood == 0


@pytest.mark.parametrize(
    ("settled", "line", "reason"),
    [
        pytest.param(NAMES, b"two words\n", "more than one word", id="two words"),
        pytest.param(NAMES, b"https://games.example/\n", "label 'https:", id="URL"),
        pytest.param(NAMES, b"games..example\n", "label ''", id="empty label"),
        pytest.param(NAMES, b"-games.example\n", "label '-games'", id="hyphen first"),
        pytest.param(NAMES, b"a" * 64 + b".example\n", "label", id="label of 64 octets"),
        pytest.param(NAMES, b"a." * 130 + b"example\n", "at most 253", id="name of 267 octets"),
        pytest.param(NAMES, b"x" * (MAX_LINE_OCTETS + 1), "longer than", id="long line"),
        pytest.param(NAMES, b"com\n", "top-level domain", id="single label"),
        pytest.param(NAMES, b"CO.UK\n", "anybody may have a name below co.uk", id="public suffix"),
        pytest.param(HOSTS, b"0.0.0.0 sch.uk\n", "below sch.uk", id="public suffix in hosts"),
        pytest.param(ADBLOCK, b"@@||com.au^\n", "below com.au", id="public suffix excluded"),
        pytest.param(NAMES, b"*\n", "at least one label", id="wildcard alone"),
        pytest.param(NAMES, b"b\xfccher.example\n", "international form", id="Latin-1"),
        pytest.param(NAMES, b"||games.example^\n", "label", id="adblock rule among names"),
        pytest.param(HOSTS, b"games.example\n", "not an address", id="name among hosts lines"),
        pytest.param(HOSTS, b"0.0.0.0\n", "not an address and names", id="address alone"),
        pytest.param(HOSTS, b"192.0.2.1 games.example\n", "another address", id="redirection"),
        pytest.param(ADBLOCK, b"||games.example^$important\n", "'$important'", id="important"),
        pytest.param(ADBLOCK, b"@@||games.example^$denyallow=a\n", "options", id="option"),
        pytest.param(ADBLOCK, b"||games.example/path^\n", "not a host rule", id="path"),
        pytest.param(ADBLOCK, b"||*.games.example^\n", "not a host rule", id="pattern"),
        pytest.param(ADBLOCK, b"/ads[0-9]/\n", "not a host rule", id="regular expression"),
        pytest.param(ADBLOCK, b"##.banner\n", "not a host rule", id="hiding rule"),
        pytest.param(ADBLOCK, b"#@#.banner\n", "not a host rule", id="hiding exception"),
        pytest.param(
            ADBLOCK, b"games.example##.banner\n", "not a host rule", id="hiding on a host"
        ),
    ],
)
def test_parse_list_reports_what_it_does_not_understand(
    settled: list[bytes], line: bytes, reason: str
) -> None:
    parsed = read(settled, line)
    assert parsed.report.not_understood == 1
    (unread,) = parsed.report.unread
    assert unread.number == 4
    assert unread.text.startswith(line.decode("utf-8", "replace").strip()[:20])
    assert reason in unread.reason
    assert len(parsed.names) == 3


@pytest.mark.parametrize(
    ("settled", "line"),
    [
        pytest.param(NAMES, b"fe80::1%eth0\n", id="of one machine"),
        pytest.param(NAMES, b"*.192.0.2.1\n", id="below an address"),
        pytest.param(HOSTS, b"0.0.0.0 192.0.2.1\n", id="hosts"),
        pytest.param(ADBLOCK, b"||192.0.2.1^\n", id="adblock"),
    ],
)
def test_parse_list_counts_addresses_in_the_place_of_names(
    settled: list[bytes], line: bytes
) -> None:
    parsed = read(settled, line)
    report = parsed.report
    assert (report.names, report.addresses, report.not_understood) == (3, 1, 0)
    assert parsed.networks == ()


@pytest.mark.parametrize(
    ("line", "network"),
    [
        (b"192.0.2.1\n", "192.0.2.1/32"),
        (b"192.0.2.0/24 # why\n", "192.0.2.0/24"),
        (b"192.0.2.0/24 ; why\r\n", "192.0.2.0/24"),
        (b" 2001:DB8::1\n", "2001:db8::1/128"),
        (b"2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_parse_list_takes_an_address_or_network_a_line(line: bytes, network: str) -> None:
    parsed = read(NAMES, line)
    assert parsed.networks == (network,)
    assert len(parsed.names) == parsed.report.names == 3
    assert (parsed.report.networks, parsed.report.addresses) == (1, 0)


def test_parse_list_takes_a_list_of_addresses_alone() -> None:
    parsed = parse_list([b"; a list\n", b"192.0.2.0/24 ; one\n", b"2001:db8::1\n"])
    assert (parsed.format, parsed.names) == (Format.NAMES, ())
    assert parsed.networks == ("192.0.2.0/24", "2001:db8::1/128")


@pytest.mark.parametrize("line", [b"10.0.0.1\n", b"0.0.0.0/0\n", b"192.0.2.1/24\n", b"::1\n"])
def test_parse_list_reports_addresses_that_no_list_may_hold(line: bytes) -> None:
    parsed = read(NAMES, line)
    assert parsed.networks == ()
    assert [unread.number for unread in parsed.report.unread] == [4]


def test_parse_list_refuses_more_addresses_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_NETWORKS", 9)
    lines = [b"192.0.2.%d\n" % n for n in range(10)]
    assert len(parse_list(lines[:9]).networks) == 9
    with pytest.raises(ListError, match="more than the 9 addresses and networks"):
        parse_list(lines)


def test_parse_list_bounds_its_report() -> None:
    wrong = [b"no name \x00\n"] * (MAX_REPORTED_LINES + 7)
    report = parse_list([b"a%d.example\n" % i for i in range(100)] + wrong).report
    assert report.lines == 100 + len(wrong)
    assert report.not_understood == len(wrong)
    assert len(report.unread) == MAX_REPORTED_LINES
    assert report.unread[0].text == "no name \ufffd"


def test_parse_list_cuts_what_it_quotes() -> None:
    (unread,) = read(NAMES, b"no\x1b[31mname " * 30).report.unread
    assert len(unread.text) == MAX_QUOTED_CHARACTERS
    assert unread.text.isprintable()


def test_parse_list_reads_a_list_once_and_line_by_line() -> None:
    lines = (b"a%d.example\n" % i for i in range(10_000))
    assert parse_list(lines).names[-1] == "a9999.example"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param([b"<!DOCTYPE html>\n", b"<html>\n"], "HTML", id="HTML"),
        pytest.param([b"\xef\xbb\xbf\n", b"  <html><body>\n"], "HTML", id="HTML later"),
        pytest.param([b'<?xml version="1.0"?>\n'], "HTML or XML", id="XML"),
        pytest.param([], "empty", id="empty"),
        pytest.param([b"\n", b"# nothing\n", b"! here\n"], "empty", id="comments only"),
        pytest.param([b'{"message": "Not Found"}\n'], "no list of names", id="JSON"),
        pytest.param([b"Dear head teacher,\n"], "no list of names", id="a letter"),
        pytest.param([b"\x1f\x8b\x08\x00" + bytes(range(256))], "a binary file", id="compressed"),
        pytest.param([b"0.0.0.0 192.0.2.1\n"], "no name among them", id="addresses only"),
        pytest.param([b"@@||a.example^\n"], "no name among them", id="allow rules only"),
        pytest.param(
            [b"||a.example^\n", b"||b.example^$third-party\n", b"##.banner\n"],
            "2 of 3 lines were not understood, first line 2",
            id="mostly not understood",
        ),
        pytest.param(
            [b"a.example\n", b"\x00\x9b\x1b[2J\n", b"\xff\xfe\n"],
            "a binary file",
            id="mostly binary",
        ),
    ],
)
def test_parse_list_refuses_what_is_no_list(lines: list[bytes], message: str) -> None:
    with pytest.raises(ListError, match=message) as refusal:
        parse_list(lines)
    assert "allowed are one name a line, one address a line" in str(refusal.value)


@pytest.mark.parametrize(
    ("lines", "format_"),
    [
        pytest.param(NAMES, Format.NAMES, id="names"),
        pytest.param(HOSTS, Format.HOSTS, id="hosts"),
        pytest.param(ADBLOCK, Format.ADBLOCK, id="adblock"),
        pytest.param([b"# head\n"] * 300 + HOSTS, Format.HOSTS, id="after a long comment"),
        pytest.param([b"127.0.0.1 localhost\n", *HOSTS], Format.HOSTS, id="localhost first"),
        pytest.param([b"hello world\n", *ADBLOCK], Format.ADBLOCK, id="one line of something else"),
        pytest.param([b"192.0.2.1\n", *NAMES], Format.NAMES, id="address first"),
    ],
)
def test_detect_tells_the_form(lines: list[bytes], format_: Format) -> None:
    assert detect(lines) is format_


lines_of_octets = st.lists(st.binary(max_size=80), max_size=12)
pieces = b"|| @@|| ^ $ 0.0.0.0 127.0.0.1 :: # . a.example localhost xn-- \xc3\xbc \xef\xbb\xbf - * [ ] % 0"
near_misses = st.sampled_from([*pieces.split(), b" ", b"\r", b"\n"])


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        lines_of_octets,
        st.lists(st.lists(near_misses, max_size=8).map(b"".join), max_size=12),
    )
)
def test_parse_list_gives_a_list_or_a_list_error_for_any_octets(lines: list[bytes]) -> None:
    try:
        parsed = parse_list(lines)
    except ListError:
        return
    for name in (*parsed.names, *parsed.exclusions):
        assert parse_name(name) == name
    for network in parsed.networks:
        assert read_network(network) == network
    assert parsed.names or parsed.networks
    assert parsed.report.lines == len(lines)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_parse_list_survives_mutations_of_real_lines(data: st.DataObject) -> None:
    line = bytearray(data.draw(st.sampled_from([NAMES, HOSTS, ADBLOCK]))[0])
    for _ in range(data.draw(st.integers(1, 4))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = parse_list([*NAMES, bytes(line)])
    except ListError:
        return
    report = parsed.report
    assert len(parsed.names) + report.not_understood + report.addresses + report.networks in (3, 4)


@settings(max_examples=300, deadline=None)
@given(st.text("aZ0-_.9", min_size=1, max_size=20) | st.from_regex(re.compile(r"\A[a-z0-9_.-]+\Z")))
def test_parse_list_agrees_with_parse_name(text: str) -> None:
    """The fast way through and the slow one take the same names."""
    try:
        expected = [parse_name(text.removeprefix("."))]
    except MalformedNameError:
        expected = []
    if expected and "." not in expected[0]:
        expected = []
    assert list(read(NAMES, text.encode()).names[3:]) == expected


def test_detect_looks_at_the_head_only() -> None:
    def endless() -> object:
        while True:
            yield b"# comment\n"

    with pytest.raises(ListError, match="empty"):
        detect(islice(endless(), 5000))


def test_lines_of_keeps_no_more_of_a_long_line_than_tells_that_it_is_one():
    long = b"x" * (MAX_LINE_OCTETS + 1)
    text = b"a.example\n" + b"x" * 5 * MAX_LINE_OCTETS + b"\n" + long[1:] + b"\nb.example"
    lines = list(lines_of(io.BytesIO(text)))
    # The third is as long as allowed, but for its line end.
    assert lines == [b"a.example\n", long, long[1:] + b"\n", b"b.example"]
    report = parse_list(lines_of(io.BytesIO(text))).report
    assert (report.lines, report.names, report.not_understood) == (4, 2, 2)


def test_long_line_is_never_matched():
    """A hundred megabytes of labels would take gigabytes of a regular expression's stack."""

    class Line(bytes):
        def lower(self):
            raise AssertionError("a long line was looked at")

    for head in (NAMES, HOSTS, ADBLOCK, ZONE):
        report = parse_list([*head, Line(b"a." * MAX_LINE_OCTETS)]).report
        assert report.unread[0].reason == f"longer than {MAX_LINE_OCTETS} octets"


def test_platforms_may_be_listed():
    assert parse_list([b"github.io\n", b"blogspot.co.uk\n", b"bad.co.uk\n"]).names == (
        "github.io", "blogspot.co.uk", "bad.co.uk",
    )  # fmt: skip
