"""Safe search: the names of search engines whose answer is replaced by that of the engine's own safe version.

Each name is matched alone, never what lies below it: ``docs.google.com`` and ``classroom.google.com`` are no search.
The targets are those that the engines document for schools; their addresses are looked up when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final


class YouTube(Enum):
    """How much of YouTube a group gets, loosest first."""

    OFF = "off"
    """All of it."""
    MODERATE = "moderate"
    """YouTube's restricted mode, with a larger choice of films."""
    STRICT = "strict"
    """YouTube's restricted mode at its strictest, without comments."""


YOUTUBE_STRICTNESS: Final = {level.value: place for place, level in enumerate(YouTube)}
"""Higher is stricter."""


@dataclass(frozen=True, slots=True)
class SafeName:
    """What answers in place of one name."""

    target: str
    """Canonical name of the safe version."""
    rule_id: str
    """``safesearch:google``, ``safesearch:youtube:strict``..."""


# The national names of Google's search: those that Google lists, and those that Chromium takes for Google's besides.
_NATIONAL = (
    "ac ad ae af ag al am as at az ba be bf bg bi bj bs bt by ca cat cc cd cf cg ch ci cl cm"
    " cn co com cv cz de dj dk dm dz ee es fi fm fr ga ge gg gl gm gp gr gy hk hn hr ht hu ie"
    " im iq ir is it je jo jp kg ki kz la li lk lt lu lv md me mg mk ml mn ms mu mv mw ne ng"
    " nl no nr nu pk pl pn ps pt ro rs ru rw sc se sh si sk sm sn so sr st td tg tk tl tm tn"
    " to tt ua ug us uz vg vu ws"
    " co.ao co.bw co.ck co.cr co.hu co.id co.il co.im co.in co.je co.jp co.ke co.kr co.ls"
    " co.ma co.mz co.nz co.th co.tz co.ug co.uk co.uz co.ve co.vi co.za co.zm co.zw com.af"
    " com.ag com.ai com.ar com.au com.bd com.bh com.bn com.bo com.br com.by com.bz com.cn"
    " com.co com.cu com.cy com.do com.ec com.eg com.et com.fj com.ge com.gh com.gi com.gr"
    " com.gt com.hk com.iq com.jm com.jo com.kh com.kw com.lb com.ly com.mm com.mt com.mx"
    " com.my com.na com.nf com.ng com.ni com.np com.nr com.om com.pa com.pe com.pg com.ph"
    " com.pk com.pl com.pr com.py com.qa com.ru com.sa com.sb com.sg com.sl com.sv com.tj"
    " com.tn com.tr com.tw com.ua com.uy com.vc com.ve com.vn it.ao ne.jp off.ai"
)
# Those serve the search, too: by one family of addresses, and for pictures.
_GOOGLE_NAMES: Final = [
    "images.google.com",
    "ipv4.google.com",
    "ipv6.google.com",
    *(f"{host}{ending}" for ending in _NATIONAL.split() for host in ("google.", "www.google.")),
]

_ENGINES: Final = (
    # id, title, target, names
    ("google", "Google", "forcesafesearch.google.com", _GOOGLE_NAMES),
    # The second is what the sidebar of Edge asks.
    ("bing", "Bing", "strict.bing.com", ["www.bing.com", "edgeservices.bing.com"]),
    (
        "duckduckgo",
        "DuckDuckGo",
        "safe.duckduckgo.com",
        ["duckduckgo.com", "noai.duckduckgo.com", "start.duckduckgo.com", "www.duckduckgo.com"],
    ),
    ("brave", "Brave Search", "forcesafe.search.brave.com", ["search.brave.com"]),
    ("ecosia", "Ecosia", "strict-safe-search.ecosia.org", ["www.ecosia.org"]),
    ("pixabay", "Pixabay", "safesearch.pixabay.com", ["pixabay.com"]),
    # Its pages are www.qwant.com, what they show comes from here.
    ("qwant", "Qwant", "safeapi.qwant.com", ["api.qwant.com"]),
)

_YOUTUBE_NAMES: Final = (
    "www.youtube.com",
    "m.youtube.com",
    "youtubei.googleapis.com",
    "youtube.googleapis.com",
    "www.youtube-nocookie.com",
)
_YOUTUBE_TARGETS: Final = {
    YouTube.MODERATE: "restrictmoderate.youtube.com",
    YouTube.STRICT: "restrict.youtube.com",
}

ENGINE_TITLES: Final = {id_: title for id_, title, _, _ in _ENGINES}
"""What people call an engine, by its id in a rule; YouTube is none of them."""

TARGETS: Final = frozenset((*(target for _, _, target, _ in _ENGINES), *_YOUTUBE_TARGETS.values()))
"""Every name that answers in place of another."""


@cache
def safe_names(*, safe_search: bool, youtube: YouTube) -> Mapping[str, SafeName]:
    """Return the canonical names that are answered by another one, each with what answers it.

    >>> safe_names(safe_search=True, youtube=YouTube.OFF)["www.bing.com"].target
    'strict.bing.com'
    """
    found = {}
    for id_, _, target, names in _ENGINES if safe_search else ():
        found.update(dict.fromkeys(names, SafeName(target, f"safesearch:{id_}")))
    if youtube in _YOUTUBE_TARGETS:
        rule_id = f"safesearch:youtube:{youtube.value}"
        safe = SafeName(_YOUTUBE_TARGETS[youtube], rule_id)
        found.update(dict.fromkeys(_YOUTUBE_NAMES, safe))
    return found
