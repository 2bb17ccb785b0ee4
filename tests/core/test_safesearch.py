import pytest

from gate_core.names import parse_name
from gate_core.safesearch import TARGETS, YOUTUBE_STRICTNESS, YouTube, safe_names

ON = safe_names(safe_search=True, youtube=YouTube.STRICT)
GOOGLE = "forcesafesearch.google.com"


@pytest.mark.parametrize(
    ("name", "target", "rule_id"),
    [
        ("www.google.com", GOOGLE, "safesearch:google"),
        ("google.com", GOOGLE, "safesearch:google"),
        ("www.google.co.uk", GOOGLE, "safesearch:google"),
        ("google.ie", GOOGLE, "safesearch:google"),
        ("www.google.co.za", GOOGLE, "safesearch:google"),
        ("www.google.com.tr", GOOGLE, "safesearch:google"),
        ("www.google.cat", GOOGLE, "safesearch:google"),
        ("www.bing.com", "strict.bing.com", "safesearch:bing"),
        ("edgeservices.bing.com", "strict.bing.com", "safesearch:bing"),
        ("duckduckgo.com", "safe.duckduckgo.com", "safesearch:duckduckgo"),
        ("www.duckduckgo.com", "safe.duckduckgo.com", "safesearch:duckduckgo"),
        ("start.duckduckgo.com", "safe.duckduckgo.com", "safesearch:duckduckgo"),
        ("search.brave.com", "forcesafe.search.brave.com", "safesearch:brave"),
        ("www.ecosia.org", "strict-safe-search.ecosia.org", "safesearch:ecosia"),
        ("pixabay.com", "safesearch.pixabay.com", "safesearch:pixabay"),
        ("api.qwant.com", "safeapi.qwant.com", "safesearch:qwant"),
        ("www.youtube.com", "restrict.youtube.com", "safesearch:youtube:strict"),
    ],
)
def test_safe_names_answer_by_the_engine_s_own_safe_version(name, target, rule_id):
    assert (ON[name].target, ON[name].rule_id) == (target, rule_id)


@pytest.mark.parametrize(
    "name",
    [
        "accounts.google.com",
        "docs.google.com",
        "classroom.google.com",
        "drive.google.com",
        "mail.google.com",
        "fonts.googleapis.com",
        "www.googleapis.com",
        "www.gstatic.com",
        "clients3.google.com",
        "a.www.google.com",
        "www.google.example",
        "external-content.duckduckgo.com",
        "login.bing.com",
        "cdn.pixabay.com",
        "i.ytimg.com",
        "",
    ],
)
def test_safe_names_leave_other_hosts_alone(name):
    assert name not in ON


@pytest.mark.parametrize(
    ("youtube", "target"),
    [
        (YouTube.OFF, None),
        (YouTube.MODERATE, "restrictmoderate.youtube.com"),
        (YouTube.STRICT, "restrict.youtube.com"),
    ],
)
def test_safe_names_of_youtube_are_its_five_whatever_the_engines(youtube, target):
    alone = safe_names(safe_search=False, youtube=youtube)
    assert set(alone) == (
        {
            "www.youtube.com",
            "m.youtube.com",
            "youtubei.googleapis.com",
            "youtube.googleapis.com",
            "www.youtube-nocookie.com",
        }
        if target
        else set()
    )
    assert {safe.target for safe in alone.values()} == ({target} if target else set())
    assert alone.items() <= safe_names(safe_search=True, youtube=youtube).items()


def test_safe_names_are_canonical_and_no_target_is_answered_by_another():
    for name, safe in ON.items():
        assert parse_name(name) == name
        assert parse_name(safe.target) == safe.target
        assert safe.target in TARGETS
    assert not TARGETS & ON.keys()


def test_safe_names_have_every_national_name_of_google_in_both_forms():
    google = {name for name, safe in ON.items() if safe.target == GOOGLE}
    others = {"images.google.com", "ipv4.google.com", "ipv6.google.com"}
    bare = {name for name in google - others if not name.startswith("www.")}
    assert len(bare) > 220
    assert google == others | bare | {f"www.{name}" for name in bare}


def test_youtube_strictness_is_from_off_to_strict():
    assert sorted(YOUTUBE_STRICTNESS, key=YOUTUBE_STRICTNESS.get) == ["off", "moderate", "strict"]
