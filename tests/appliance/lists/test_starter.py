"""The lists that come with the program: each is understood wholly, says nothing twice, and contradicts no other."""

from collections import Counter
from importlib.resources import files

import pytest

from gate_appliance.lists.compile import Source, compile_lists
from gate_appliance.lists.formats import Format, ParsedList, parse_list
from gate_appliance.lists.index import MappedIndex, open_index
from gate_core.categories import BY_ID, ILLEGAL_MASK, UNSAFE_SEARCH_MASK
from gate_core.names import NameSet, is_under, parse_rule
from gate_core.safesearch import TARGETS, YouTube, safe_names

LISTS = files("gate_appliance.lists")
STARTERS = {
    path.name.removesuffix(".txt"): path.read_text("utf-8")
    for path in (LISTS / "starter").iterdir()
}
NAME_FILES = ("canaries", "essential", "protected")

# What a page may be only one of. An educational game may lie below a maker of games, so that names are compared.
CONTRADICTING = (("games", "games-educational"), ("messaging", "anonymous-chat"), ("vpn", "proxy"))


def starter(category: str) -> ParsedList:
    return parse_list(STARTERS[category].encode().splitlines())


def rules(file: str) -> list[str]:
    text = (LISTS / "names" / f"{file}.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> MappedIndex:
    sources = [Source(category, starter(category).names) for category in STARTERS]
    compiled = compile_lists(sources, tmp_path_factory.mktemp("lists"))
    return open_index(compiled.path, compiled.sha256)


@pytest.mark.parametrize("category", STARTERS)
def test_starter_list_is_understood_wholly(category: str) -> None:
    parsed = starter(category)
    assert parsed.format is Format.NAMES
    assert parsed.report.not_understood == parsed.report.addresses == 0
    assert len(parsed.names) >= 10


@pytest.mark.parametrize("category", STARTERS)
def test_starter_list_says_what_it_is(category: str) -> None:
    assert STARTERS[category].startswith("# ")


@pytest.mark.parametrize("category", STARTERS)
def test_starter_list_is_of_a_category_and_nothing_illegal(category: str) -> None:
    assert not BY_ID[category].mask & ILLEGAL_MASK


@pytest.mark.parametrize("category", STARTERS)
def test_starter_list_says_nothing_twice(category: str) -> None:
    names = starter(category).names
    assert [n for n, count in Counter(names).items() if count > 1] == []
    assert [(a, b) for a in names for b in names if a != b and is_under(a, b)] == []


@pytest.mark.parametrize("pair", CONTRADICTING, ids="-".join)
def test_starter_lists_do_not_contradict(pair: tuple[str, str]) -> None:
    one, other = (set(starter(category).names) for category in pair)
    assert one & other == set()


def test_starter_lists_leave_the_probes_of_test_sites_alone(index: MappedIndex) -> None:
    assert [c for c, text in STARTERS.items() if "testfiltering" in text] == []
    for host in ("iwf", "ctiru", "swearing", "decryption"):
        assert index.mask(f"{host}.testfiltering.com") == 0


@pytest.mark.parametrize("file", ["essential", "protected"])
def test_starter_lists_hold_no_name_that_stays_open(file: str, index: MappedIndex) -> None:
    assert [rule for rule in rules(file) if index.mask(rule.removeprefix("="))] == []


def test_starter_lists_give_well_known_names_their_categories(index: MappedIndex) -> None:
    expected = {
        "www.roblox.com": "games",
        "www.bet365.com": "gambling",
        "www.tiktok.com": "social-media",
        "web.whatsapp.com": "messaging",
        "www.youtube.com": "video",
        "nordvpn.com": "vpn",
        "www.ttrockstars.com": "games-educational",
    }
    for name, category in expected.items():
        assert index.mask(name) == BY_ID[category].mask, name


@pytest.mark.parametrize("file", NAME_FILES)
def test_name_file_holds_rules_in_their_own_form(file: str) -> None:
    assert rules(file)
    assert [rule for rule in rules(file) if parse_rule(rule) != rule] == []


@pytest.mark.parametrize("file", NAME_FILES)
def test_name_file_says_nothing_twice(file: str) -> None:
    held = NameSet.of(rules(file))
    assert [rule for rule, count in Counter(rules(file)).items() if count > 1] == []
    names = [rule.removeprefix("=") for rule in rules(file)]
    assert [n for n in names if held.match(n) not in (n, f"={n}")] == []


def test_every_name_file_is_known() -> None:
    assert {path.name for path in (LISTS / "names").iterdir()} == {f"{f}.txt" for f in NAME_FILES}


@pytest.mark.parametrize("file", ["essential", "protected"])
def test_canaries_are_in_no_set_that_opens_names(file: str) -> None:
    opened = NameSet.of(rules(file))
    assert [rule for rule in rules("canaries") if opened.match(rule)] == []


def test_canaries_hold_the_names_that_programs_ask_for() -> None:
    assert set(rules("canaries")) == {
        "use-application-dns.net",
        "mask.icloud.com",
        "mask-h2.icloud.com",
        "mask-canary.icloud.com",
        "doh.dns.apple.com",
        "doh-dns-apple-com.v.aaplimg.com",
        "resolver.arpa",
    }


@pytest.mark.parametrize("file", ["essential", "protected"])
def test_probes_open_nothing_below_them(file: str) -> None:
    opened = NameSet.of(rules(file))
    assert opened.match("captive.apple.com") == "=captive.apple.com"
    assert opened.match("evil.captive.apple.com") is None


@pytest.mark.parametrize("name", ["www.childline.org.uk", "school.cpoms.net", "time.windows.com"])
def test_a_pause_leaves_help_records_and_the_clock_open(name: str) -> None:
    assert NameSet.of(rules("essential")).match(name)


def test_help_probes_and_the_clock_are_the_same_in_both_sets() -> None:
    only_essential = set(rules("essential")) - set(rules("protected"))
    text = (LISTS / "names" / "essential.txt").read_text("utf-8")
    own_part = text.partition("# Probes")[0]
    assert {line for line in own_part.splitlines() if line and line[0] != "#"} == only_essential


# What Chromium, Firefox, Windows, Android and Apple's systems know, or the providers tell people to write there.
@pytest.mark.parametrize(
    "name",
    [
        "dns.google",
        "dns64.dns.google",
        "8888.google",
        "cloudflare-dns.com",
        "mozilla.cloudflare-dns.com",
        "chrome.cloudflare-dns.com",
        "family.cloudflare-dns.com",
        "one.one.one.one",
        "abc.cloudflare-gateway.com",
        "dns.quad9.net",
        "dns11.quad9.net",
        "doh.opendns.com",
        "doh.umbrella.com",
        "firefox.dns.nextdns.io",
        "chromium.dns.nextdns.io",
        "doh.cleanbrowsing.org",
        "family-filter-dns.cleanbrowsing.org",
        "dns.adguard-dns.com",
        "abcdef.d.adguard-dns.com",
        "adblock.dns.mullvad.net",
        "freedns.controld.com",
        "private.canadianshield.cira.ca",
        "doh.xfinity.com",
        "doh.cox.net",
        "public.dns.iij.jp",
        "odvr.nic.cz",
        "dns.switch.ch",
        "doh.dns.sb",
        "unfiltered.joindns4.eu",
        "zero.dns0.eu",
        "family.dot.dns.yandex.net",
        "dns.alidns.com",
        "max.rethinkdns.com",
        "anycast.uncensoreddns.org",
        "dns.aa.net.uk",
    ],
)
def test_starter_list_of_encrypted_dns_has_the_public_resolvers(
    name: str, index: MappedIndex
) -> None:
    assert index.mask(name) & BY_ID["encrypted-dns"].mask


@pytest.mark.parametrize(
    "name",
    [
        "uk.search.yahoo.com",
        "search.aol.co.uk",
        "www.ask.com",
        "www.baidu.com",
        "www.mojeek.com",
        "www.dogpile.com",
        "yandex.com",
        "ya.ru",
        "www.startpage.com",
        "searx.be",
        "paulgo.io",
        "metager.org",
        "lite.qwant.com",
        "html.duckduckgo.com",
        "ts1.explicit.bing.net",
    ],
)
def test_starter_list_of_unsafe_search_has_engines_without_enforcement(
    name: str, index: MappedIndex
) -> None:
    assert index.mask(name) == UNSAFE_SEARCH_MASK


def test_starter_lists_leave_engines_with_a_safe_version_alone(index: MappedIndex) -> None:
    names = {*safe_names(safe_search=True, youtube=YouTube.OFF), *TARGETS, "www.qwant.com"}
    assert [name for name in names if index.mask(name) & ~BY_ID["video"].mask] == []
