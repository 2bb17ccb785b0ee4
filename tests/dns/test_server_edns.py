"""ISC's compliance tests (genreport), with dig as that tool asks it, against a real worker.

What is expected is what RFC 8906, sections 8.1 and 8.2, expects of each, and for a server that is asked for recursion.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

import pytest

ZONE, BLOCKED = "zone.example", "games.example"
SOA = "300 IN SOA ns.zone.example. hostmaster.zone.example. 1 3600 600 86400 60"
KEY = "300 IN DNSKEY 256 3 13 " + "A" * 88
COOKIE = "0102030405060708"

# Test: dig's words, type, RCODE, what the OPT record says (None: there is none).
PLAIN, FIRST, LATER = "+noedns", "+edns=0 +nocookie", "+edns=1 +noednsneg +nocookie"
V0 = "version: 0, flags:; udp: 1232"
V0_DO = "version: 0, flags: do; udp: 1232"
TESTS = {
    "dns": (PLAIN, "SOA", "NOERROR", None),
    "aa": (f"{PLAIN} +aaflag", "SOA", "NOERROR", None),
    "ad": (f"{PLAIN} +ad", "SOA", "NOERROR", None),
    "cd": (f"{PLAIN} +cd", "SOA", "NOERROR", None),
    "ra": (f"{PLAIN} +raflag", "SOA", "NOERROR", None),
    "rd": (f"{PLAIN} +rec", "SOA", "NOERROR", None),
    "tc": (f"{PLAIN} +tcflag", "SOA", "NOERROR", None),
    "zflag": (f"{PLAIN} +zflag", "SOA", "NOERROR", None),
    "opcode": (f"{PLAIN} +header-only +opcode=15", "SOA", "NOTIMP", None),
    "opcodeflg": (
        f"{PLAIN} +header-only +opcode=15 +tcflag +rec +raflag +cd +ad +aaflag +zflag",
        "SOA",
        "NOTIMP",
        None,
    ),
    "type666": (PLAIN, "TYPE666", "NOERROR", None),
    "tcp": (f"{PLAIN} +tcp", "SOA", "NOERROR", None),
    "edns": (FIRST, "SOA", "NOERROR", V0),
    "edns1": (LATER, "SOA", "BADVERS", V0),
    "edns@512": (f"{FIRST} +dnssec +ignore +bufsize=512", "DNSKEY", "NOERROR", V0_DO),
    "ednsopt": (f"{FIRST} +ednsopt=100", "SOA", "NOERROR", V0),
    "edns1opt": (f"{LATER} +ednsopt=100", "SOA", "BADVERS", V0),
    "do": (f"{FIRST} +dnssec", "SOA", "NOERROR", V0_DO),
    "docd": (f"{FIRST} +dnssec +cd", "SOA", "NOERROR", V0_DO),
    "edns1do": (f"{LATER} +dnssec", "SOA", "BADVERS", V0_DO),
    "ednsflags": (f"{FIRST} +ednsflags=0x0080", "SOA", "NOERROR", V0),
    "optlist": (
        f"+edns=0 +nsid +subnet=0.0.0.0/0 +expire +cookie={COOKIE}",
        "SOA",
        "NOERROR",
        f"{V0} cookie",
    ),
    "ednsnsid": (f"{FIRST} +nsid", "SOA", "NOERROR", V0),
    "ednscookie": (f"+edns=0 +cookie={COOKIE}", "SOA", "NOERROR", f"{V0} cookie"),
    "ednsexpire": (f"{FIRST} +expire", "SOA", "NOERROR", V0),
    "ednssubnet": (f"{FIRST} +subnet=0.0.0.0/0", "SOA", "NOERROR", V0),
    "edns1nsid": (f"{LATER} +nsid", "SOA", "BADVERS", V0),
    "edns1cookie": (f"+edns=1 +noednsneg +cookie={COOKIE}", "SOA", "BADVERS", V0),
    "edns1expire": (f"{LATER} +expire", "SOA", "BADVERS", V0),
    "edns1subnet": (f"{LATER} +subnet=0.0.0.0/0", "SOA", "BADVERS", V0),
    "ednstcp": (f"{FIRST} +dnssec +bufsize=512 +tcp", "DNSKEY", "NOERROR", V0_DO),
    "bind11": (f"+edns=0 +cookie={COOKIE} +dnssec", "SOA", "NOERROR", f"{V0_DO} cookie"),
    "dig11": (f"+edns=0 +cookie={COOKIE} +ad +rec", "SOA", "NOERROR", f"{V0} cookie"),
}


@dataclass
class Said:
    """What dig printed."""

    rcode: str
    flags: set[str]
    edns: str | None
    answers: list[str]
    authorities: list[str]
    octets: int


@pytest.fixture
def ask(worker, upstream):
    upstream.zone[ZONE] = [SOA, *(f"{KEY[:-4]}{n:04}" for n in range(10))]

    def ask(name: str, words: str, kind: str) -> Said:
        command = ["dig", "@127.0.0.1", "-p", str(worker.port), "+tries=1", "+time=8", "+noall"]
        shown = ["+comments", "+answer", "+authority", "+stats"]
        # As genreport's own: without AD and RD, where the test does not set them.
        words = [*shown, "+noad", "+norec", *words.split()]
        asked = [] if "+header-only" in words else [name, kind]
        done = subprocess.run(
            [*command, *words, *asked], capture_output=True, text=True, check=True
        )
        return read(done.stdout)

    return ask


def read(text: str) -> Said:
    edns = re.search(r"; EDNS: (.*)", text)
    cookie = " cookie" if re.search(r"; COOKIE: \w+ \(good\)", text) else ""
    others = re.findall(r"^; (?!EDNS|COOKIE|EDE)[A-Z][A-Z0-9-]+[:=].*", text, re.MULTILINE)
    records = re.findall(r"^([^;\s]\S*\s+\d+\s+IN\s+\S+)", text, re.MULTILINE)
    before, _, after = text.partition(";; AUTHORITY SECTION")
    return Said(
        rcode=re.search(r"status: (\w+)", text)[1],
        flags=set(re.search(r";; flags:([^;]*);", text)[1].split()),
        edns=edns and edns[1] + cookie + "".join(others),
        answers=[r for r in records if r in before],
        authorities=[r for r in records if r in after],
        octets=int(re.search(r"rcvd: (\d+)", text)[1]),
    )


def faults(test: str, name: str, got: Said) -> list[str]:
    """Return what is wrong with what dig printed in ``test``."""
    words, kind, rcode, edns = TESTS[test]
    echoed = {flag for flag, word in (("rd", "+rec"), ("cd", "+cd")) if word in words.split()}
    truncated = test == "edns@512" and name == ZONE
    # Neither Z nor what a query has no use for; AA is for those who own a zone.
    flags = {"qr", "ra", *echoed, *(["tc"] if truncated else [])}
    if rcode == "NOTIMP":
        # Of an opcode nobody knows, nothing but RD may come back.
        flags = {"qr", *echoed} - {"cd"}
    answers = rcode == "NOERROR" and name == ZONE and kind != "TYPE666" and not truncated
    negative = rcode == "NOERROR" and not answers and not truncated
    checks = {
        "rcode": got.rcode == rcode,
        "edns": got.edns == edns,
        "flags": got.flags == flags,
        "answers": bool(got.answers) == answers and all(kind in a for a in got.answers),
        "authorities": len(got.authorities) == negative,
        "octets": got.octets <= (512 if truncated else 1232) or "+tcp" in words,
    }
    return [check for check, passed in checks.items() if not passed]


@pytest.mark.parametrize("name", [ZONE, BLOCKED])
def test_serve_passes_the_compliance_tests(ask, name):
    said = {test: ask(name, words, kind) for test, (words, kind, _, _) in TESTS.items()}
    assert {t: (wrong, got) for t, got in said.items() if (wrong := faults(t, name, got))} == {}


def test_serve_answers_a_cookie_that_dig_made(ask):
    # dig says itself whether its own came back, and a blocked answer is kept.
    for _ in range(2):
        assert ask(BLOCKED, "+edns=0 +cookie", "A").edns == f"{V0} cookie"
