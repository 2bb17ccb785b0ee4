"""A real worker, asked by clients of other makers: each has a reader of messages of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

PAGE, PAGE6 = "192.0.2.2", "2001:db8::2"


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("options", [[], ["+tcp"], ["+edns"], ["+dnssec", "+cookie"]])
def test_serve_answers_kdig(worker, options):
    def kdig(*words):
        return run("kdig", "@127.0.0.1", "-p", str(worker.port), "+retry=0", *options, *words)

    assert kdig("+short", "allowed.example", "AAAA").split() == ["2001:db8::10"]
    assert kdig("+short", "games.example").split() == [PAGE]
    blocked = kdig("games.example", "HTTPS")
    assert "status: NOERROR" in blocked
    assert "schoolgate.invalid." in blocked
    assert ("EDE: 15 (Blocked)" in blocked) == ("+edns" in options or "+cookie" in options)
    assert "WARNING" not in blocked
    assert "status: NXDOMAIN" in kdig("use-application-dns.net")
    assert "RFC8482" in kdig("allowed.example", "ANY")


def test_serve_answers_drill(worker):
    def drill(*words):
        return run("drill", "-p", str(worker.port), *words)

    assert "192.0.2.10" in drill("allowed.example", "@127.0.0.1")
    assert f"AAAA\t{PAGE6}" in drill("-t", "games.example", "@127.0.0.1", "AAAA")
    assert "rcode: NXDOMAIN" in drill("use-application-dns.net", "@127.0.0.1")
    assert "rcode: REFUSED" in drill("version.bind", "@127.0.0.1", "TXT", "CH")


def test_serve_answers_unbound_host(worker, upstream, tmp_path):
    settings = tmp_path / "unbound.conf"
    settings.write_text(
        "server:\n  do-not-query-localhost: no\n  module-config: iterator\n"
        f"forward-zone:\n  name: .\n  forward-addr: 127.0.0.1@{worker.port}\n"
    )

    def host(*words):
        return run("unbound-host", "-C", str(settings), *words)

    assert "allowed.example has address 192.0.2.10" in host("-t", "A", "allowed.example")
    assert f"games.example has address {PAGE}" in host("-t", "A", "games.example")
    assert f"games.example has IPv6 address {PAGE6}" in host("-t", "AAAA", "games.example")
    assert "has no HTTPS record" in host("-v", "-t", "HTTPS", "games.example")
    assert "not found: 3(NXDOMAIN)" in host("use-application-dns.net")


@pytest.mark.parametrize("transport", ["-U", "-T"])
def test_serve_answers_getdns(worker, transport):
    def getdns(name):
        words = ["-s", transport, "-j", "-A", name, f"@127.0.0.1@{worker.port}"]
        text = run("getdns_query", *words)
        # The tool writes octets that happen to look like text with escapes that JSON does not know.
        text = re.sub(r'\\(?!["\\/bfnrtu])', r"\\\\", text)
        said = json.loads(text[text.index("{") : text.rindex("}") + 1])
        addresses = {a["address_data"] for a in said.get("just_address_answers", [])}
        return addresses, said["replies_tree"]

    assert getdns("allowed.example")[0] == {"2001:db8::10", "192.0.2.10"}
    assert getdns("games.example")[0] == {PAGE, PAGE6}
    replies = getdns("use-application-dns.net")[1]
    assert {reply["header"]["rcode"] for reply in replies} == {dns.rcode.NXDOMAIN}


@pytest.mark.netns
@pytest.mark.skipif(os.geteuid() != 0, reason="the tool asks at port 53 alone, which needs root")
def test_serve_passes_ldns_test_edns(start_worker, upstream):
    upstream.zone["."] = ["300 IN DNSKEY 256 3 8 AAAA"]
    upstream.zone["se"] = ["300 IN DS 1 8 2 " + "00" * 32]
    unsigned = upstream._right

    def signed(query):
        answer = unsigned(query)
        owner, kind = answer.question[0].name, answer.question[0].rdtype
        assert query.ednsflags & dns.flags.DO
        rdata = f"{dns.rdatatype.to_text(kind)} 8 0 300 20301231235959 20200101000000 1 . AAAA"
        answer.answer.append(dns.rrset.from_text(owner, 300, "IN", "RRSIG", rdata))
        return answer

    upstream._right = signed
    worker = start_worker([upstream], listen=("127.0.0.77",), port=53)
    # The tool waits for a second at most: it finds kept answers.
    for name, kind in ((".", "DNSKEY"), ("se.", "DS")):
        flags = dns.flags.RD | dns.flags.CD
        asked = dns.message.make_query(name, kind, flags=flags, want_dnssec=True)
        worker.udp(name, query=asked, to="127.0.0.77")
    assert "127.0.0.77 OK" in run("ldns-test-edns", str(worker.settings.listen[0]))
