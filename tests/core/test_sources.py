from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core.sources import ListSource, SourceError, Zone, check_source, zone_of

GOOD = ListSource("games", "Games", "https://lists.example/games.txt", "MIT", "games")
ZONE = replace(
    GOOD,
    url="rpz://192.0.2.53/rpz.trust.example",
    key_name="school-key",
    key_algorithm="hmac-sha256",
)
SECRET = "c2Nob29sZ2F0ZSBzY2hvb2xnYXRl"  # noqa: S105  # for this test


@pytest.mark.parametrize(
    "url",
    [
        "https://lists.example",
        "http://192.0.2.1:8080/a?b=c",
        "file:/srv/list",
        "rpz://[2001:db8::1]:53/z",
    ],
)
def test_check_source_takes(url):
    assert check_source(replace(GOOD, url=url)).url == url


def test_check_source_takes_a_key_for_a_zone():
    assert check_source(ZONE, SECRET) == ZONE
    assert check_source(replace(ZONE, key_name="", key_algorithm="")).key_name == ""


@pytest.mark.parametrize(
    ("changed", "field", "part"),
    [
        ({"id": "Games"}, "id", "a-z, 0-9"),
        ({"id": "x" * 41}, "id", "1 to 40"),
        ({"title": " "}, "title", "1 to 100 characters"),
        ({"licence": "a\nb"}, "licence", "on one line"),
        ({"category": "gaming"}, "category", "allowed are"),
        ({"trust": "me"}, "trust", "official, curated, community"),
        ({"category": "terrorism"}, "trust", "only official sources"),
        ({"category": "terrorism", "trust": "official", "url": "http://a.example/"}, "url", "comes by https"),
        ({"format": "xml"}, "format", "names, hosts, adblock, rpz"),
        ({"interval_h": 0}, "interval_h", "1 to 744"),
        ({"url": "ftp://a.example/"}, "url", "allowed are https"),
        ({"url": "https:///list"}, "url", "allowed are https"),
        ({"url": "https://a.example:x/"}, "url", "is no URL"),
        ({"url": "https://me:pass@a.example/"}, "url", "without user name and password"),
        ({"url": "https://a.example/" + "x" * 500}, "url", "at most 500"),
        ({"url": "https://a.example/b c"}, "url", "printable ASCII"),
        ({"url": "file:" "//host/etc"}, "url", "allowed are https"),
        ({"url": "rpz://trust.example/zone"}, "url", "with an IP address"),
        ({"url": "rpz://192.0.2.53/"}, "url", "with an IP address"),
        ({"key_name": "k"}, "key_name", "only a zone transfer"),
    ],
)  # fmt: skip
def test_check_source_refuses(changed, field, part):
    with pytest.raises(SourceError, match=part) as caught:
        check_source(replace(GOOD, **changed))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("changed", "secret", "field"),
    [
        ({"key_name": "a b"}, SECRET, "key_name"),
        ({"key_name": ""}, SECRET, "key_name"),
        ({"key_algorithm": "hmac-md5"}, SECRET, "key_algorithm"),
        ({}, "", "secret"),
        ({}, "c2hvcnQ=", "secret"),
        ({}, "no base64!", "secret"),
    ],
)
def test_check_source_refuses_a_key(changed, secret, field):
    with pytest.raises(SourceError) as caught:
        check_source(replace(ZONE, **changed), secret)
    assert caught.value.field == field
    assert not secret or secret not in str(caught.value)


def test_zone_of_reads_address_port_and_name():
    assert zone_of("rpz://192.0.2.53/RPZ.Trust.example.") == Zone(
        "192.0.2.53", 53, "rpz.trust.example"
    )
    assert zone_of("rpz://[2001:db8::1]:5300/z") == Zone("2001:db8::1", 5300, "z")


@given(st.text(max_size=60), st.text(max_size=20))
def test_check_source_takes_or_refuses_any_text(url, text):
    for source in (
        replace(GOOD, url=url),
        replace(GOOD, url=f"rpz://{url}"),
        replace(GOOD, id=text),
    ):
        with suppress(SourceError):
            assert check_source(source, text) == source
