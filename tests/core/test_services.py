import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core import categories, protocols
from gate_core.names import NameSet, is_under, parse_rule, suffixes
from gate_core.services import (
    BY_ID,
    INDEX,
    SERVICES,
    Service,
    ServiceIndex,
    categories_of,
    in_mask,
    mask_of,
)

# fmt: off
SHARED = [
    "akamaized.net", "akamaihd.net", "amazonaws.com", "cloudfront.net", "fastly.net",
    "azureedge.net", "windows.net", "microsoft.com", "live.com", "google.com",
    "googleapis.com", "gstatic.com", "googleusercontent.com", "gvt1.com", "icloud.com",
    "apple.com", "bing.com", "bbc.co.uk", "bbci.co.uk", "cloudflare.com", "github.io",
]
# fmt: on
"""Names that carry more than any one service: a rule as wide as these would break other sites."""

ALL_RULES = sorted(rule for service in SERVICES for rule in service.names)


def test_services_have_one_id_and_one_title_each():
    assert len({s.id for s in SERVICES}) == len({s.title for s in SERVICES}) == len(SERVICES)
    assert list(BY_ID.values()) == list(SERVICES)


def test_services_fit_into_64_bits():
    assert 42 <= len(SERVICES) <= 64


def test_services_keep_their_bits():
    # Snapshots and audit records hold these numbers: an entry is added at the end, never moved.
    first = ["tiktok", "snapchat", "whatsapp", "discord", "roblox", "fortnite", "minecraft"]
    assert [s.id for s in SERVICES[:7]] == first
    assert (SERVICES[47].id, mask_of(["tor"])) == ("tor", 1 << 47)


@pytest.mark.parametrize("service", SERVICES, ids=lambda s: s.id)
def test_service_refers_to_what_exists(service):
    assert set(service.protocols) <= set(protocols.BY_ID)
    assert set(service.categories) <= set(categories.BY_ID)
    assert not categories_of(mask_of([service.id])) & categories.ILLEGAL_MASK


@pytest.mark.parametrize("rule", ALL_RULES)
def test_service_rules_are_canonical_and_as_narrow_as_the_service(rule):
    assert parse_rule(rule) == rule
    assert "." in rule
    assert not [name for name in SHARED if is_under(name, rule)]


def test_service_rules_hold_nothing_twice():
    wide = [
        (service.id, rule)
        for service in SERVICES
        for rule in service.names
        if any(above in service.names for above in suffixes(rule.partition(".")[2]))
    ]
    assert wide == []


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        pytest.param("tiktok.com", ["tiktok"], id="the name itself"),
        pytest.param("v16-webapp.tiktok.com", ["tiktok"], id="below it"),
        pytest.param("nottiktok.com", [], id="label border"),
        pytest.param("com", [], id="above all rules"),
        pytest.param("", [], id="root"),
        pytest.param("www.example.org", [], id="no service"),
        pytest.param("edge-chat.facebook.com", ["facebook", "messenger"], id="two services"),
        pytest.param("www.bbc.co.uk", [], id="shared with lessons"),
        pytest.param("translate.google.com", [], id="translator for words"),
        pytest.param(
            "en-m-example-org.translate.goog", ["translate-proxy"], id="translator as proxy"
        ),
        pytest.param("docs.google.com", [], id="Google beside Gemini"),
        pytest.param("gemini.google.com", ["gemini"], id="Gemini"),
        pytest.param("classroom.googleapis.com", [], id="Google beside YouTube"),
        pytest.param("youtubei.googleapis.com", ["youtube"], id="YouTube"),
        pytest.param("www.icloud.com", [], id="iCloud beside its relay"),
    ],
)
def test_index_mask_gives_the_services_of_a_name(name, ids):
    assert [service.id for service in in_mask(INDEX.mask(name))] == ids


def test_index_mask_takes_an_exact_rule_for_the_name_alone():
    index = ServiceIndex([Service("a", "A", frozenset({"=www.example.org"}), (), ())])
    names = ("www.example.org", "x.www.example.org", "example.org")
    assert [index.mask(name) for name in names] == [1, 0, 0]


LABELS = st.sampled_from(["www", "cdn", "a", "co", "xn--bcher-kva", "0"])


@given(st.lists(LABELS, max_size=4), st.sampled_from([*ALL_RULES, "example.org", "com", "uk"]))
def test_index_mask_agrees_with_the_name_sets_of_the_services(labels, end):
    name = ".".join([*labels, end])
    matching = [s.id for s in SERVICES if NameSet(s.names).match(name)]
    assert INDEX.mask(name) == mask_of(matching)


@given(st.sets(st.sampled_from(sorted(BY_ID))))
def test_mask_of_and_in_mask_are_inverse(ids):
    assert {service.id for service in in_mask(mask_of(ids))} == ids


def test_in_mask_passes_over_unknown_bits():
    assert list(in_mask(1 << 63)) == []


def test_mask_of_an_unknown_service_lists_what_is_allowed():
    with pytest.raises(ValueError, match=r"'tictok' is no service; allowed are amazon, .*, zoom$"):
        mask_of(["tiktok", "tictok"])


def test_categories_of_is_the_union_over_the_services():
    mask = mask_of(["twitch", "chatgpt", "spotify"])
    assert categories_of(mask) == categories.mask_of(["video", "games", "ai-chat"])
