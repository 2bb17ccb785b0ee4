import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core.names import (
    MAX_NAME_OCTETS,
    MalformedNameError,
    NameSet,
    canonical,
    is_under,
    parse_name,
    parse_rule,
    suffixes,
)

LABELS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12)
NAMES = st.builds(
    lambda labels, top: ".".join([*labels, top]),
    st.lists(LABELS, max_size=4),
    st.sampled_from(["example", "test", "org"]),
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("Example.ORG", "example.org", id="letter case"),
        pytest.param("example.org.", "example.org", id="final dot"),
        pytest.param(" example.org ", "example.org", id="blanks around"),
        pytest.param("bücher.example", "xn--bcher-kva.example", id="IDNA to A-label"),
        pytest.param("BÜCHER.example", "xn--bcher-kva.example", id="IDNA folds case"),
        pytest.param("例え。test", "xn--r8jz45g.test", id="ideographic full stop"),
        pytest.param("_dns.resolver.arpa", "_dns.resolver.arpa", id="underscore"),
        pytest.param("a.b-c.example", "a.b-c.example", id="hyphen inside"),
    ],
)
def test_parse_name_gives_canonical_form(text, name):
    assert parse_name(text) == name


@pytest.mark.parametrize(
    ("text", "part"),
    [
        pytest.param("", "at least one label", id="empty"),
        pytest.param(".", "at least one label", id="root"),
        pytest.param("a..example", "label ''", id="empty label"),
        pytest.param("-a.example", "label '-a'", id="leading hyphen"),
        pytest.param("*.example", "label '*'", id="wildcard"),
        pytest.param("a b.example", "label 'a b'", id="blank inside"),
        pytest.param("192.0.2.1", "an address", id="address"),
        pytest.param("x" * 64 + ".example", "1 to 63", id="label too long"),
        pytest.param(".".join(["x" * 60] * 5), "at most 253", id="name too long"),
        pytest.param("<script>.example", "label '<script>'", id="markup"),
    ],
)
def test_parse_name_refuses_and_says_what_is_allowed(text, part):
    with pytest.raises(MalformedNameError, match=r".") as caught:
        parse_name(text)
    assert part in str(caught.value)


@given(st.text(max_size=300))
def test_parse_name_of_any_text_is_canonical_or_malformed(text):
    try:
        name = parse_name(text)
    except MalformedNameError:
        return
    assert parse_name(name) == name == canonical(name)
    assert 1 <= len(name) <= MAX_NAME_OCTETS


@given(NAMES)
def test_suffixes_are_the_name_and_all_above_it(name):
    labels = name.split(".")
    assert list(suffixes(name)) == [".".join(labels[i:]) for i in range(len(labels))]


def test_suffixes_of_the_root_are_none():
    assert list(suffixes("")) == []


@pytest.mark.parametrize(
    ("name", "rule", "holds"),
    [
        ("example.com", "example.com", True),
        ("www.example.com", "example.com", True),
        ("notexample.com", "example.com", False),
        ("example.com.evil.test", "example.com", False),
        ("com", "example.com", False),
    ],
)
def test_is_under_matches_on_label_borders(name, rule, holds):
    assert is_under(name, rule) is holds
    assert (NameSet.of([rule]).match(name) is not None) is holds


def test_match_prefers_the_narrowest_rule():
    rules = NameSet.of(["example.org", "www.example.org", "=www.example.org"])
    assert rules.match("www.example.org") == "=www.example.org"
    assert rules.match("a.www.example.org") == "www.example.org"
    assert rules.match("other.example.org") == "example.org"


def test_match_of_an_exact_rule_leaves_subdomains_alone():
    assert NameSet.of(["=example.org"]).match("www.example.org") is None


@pytest.mark.parametrize("text", ["*.example.org", "www.*.example.org", "=*.example.org", "*"])
def test_parse_rule_with_a_wildcard_says_what_to_write_instead(text):
    with pytest.raises(MalformedNameError) as caught:
        parse_rule(text)
    assert str(caught.value) == (
        f"{text!r}: '*' is not allowed; example.org means itself and every name below it,"
        " =example.org itself alone"
    )


@given(st.text(max_size=80))
def test_parse_rule_of_any_text_is_canonical_or_malformed(text):
    try:
        rule = parse_rule(text)
    except MalformedNameError:
        return
    assert parse_rule(rule) == rule
    assert NameSet.of([text]).match(rule.removeprefix("=")) == rule
