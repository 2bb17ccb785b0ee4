"""``gate policy explain``, as whoever looks into a complaint types it: what the two policies say of real sites."""

from __future__ import annotations

import re

import pytest

from gate_appliance.cli import main
from gate_appliance.control import ControlServer
from gate_core.desk import Desk

LESSON, LUNCH, EVENING = "2026-11-23T10:00", "2026-11-23T12:30", "2026-11-23T16:00"
CASES = (
    # The first policy's table, row by row
    ("ks2", "www.bet365.com", LUNCH, "BLOCK", "matrix:gambling:ks2"),
    ("staff", "www.bet365.com", EVENING, "BLOCK", "matrix:gambling:staff"),
    ("staff", "www.facebook.com", LUNCH, "ALLOW", "matrix:social-media:staff"),
    ("staff", "www.facebook.com", LESSON, "BLOCK", "matrix:social-media:staff"),
    ("ks2", "www.facebook.com", LUNCH, "BLOCK", "matrix:social-media:ks2"),
    ("ks2", "www.roblox.com", LESSON, "BLOCK", "matrix:games:ks2"),
    ("ks2", "nordvpn.com", EVENING, "BLOCK", "matrix:bypass:ks2"),
    ("staff", "uk.search.yahoo.com", EVENING, "BLOCK", "matrix:ethos:staff"),
    ("ks2", "www.google.co.uk", LESSON, "ALLOW", "default:ks2"),
    ("staff", "wetransfer.com", EVENING, "BLOCK", "matrix:file-sharing:staff"),
    ("ks2", "www.youtube.com", LUNCH, "ALLOW", "matrix:video:ks2"),
    ("ks2", "www.youtube.com", LESSON, "BLOCK", "matrix:video:ks2"),
    ("ks1", "www.youtube.com", LUNCH, "BLOCK", "matrix:video:ks1"),
    ("staff", "www.youtube.com", LESSON, "ALLOW", "matrix:video:staff"),
    ("guest", "www.argos.co.uk", LUNCH, "ALLOW", "matrix:shopping:guest"),
    ("guest", "www.argos.co.uk", LESSON, "BLOCK", "matrix:shopping:guest"),
    ("investigation", "www.pornhub.com", LESSON, "BLOCK", "matrix:pornography:investigation"),
    ("quarantine", "www.bbc.co.uk", LUNCH, "BLOCK", "default:quarantine"),
    # The second policy's rules
    ("ks2", "ngl.link", LUNCH, "BLOCK", "matrix:messaging:ks2"),
    ("staff", "web.whatsapp.com", LESSON, "BLOCK", "matrix:messaging:staff"),
    ("ks2", "www.bbc.co.uk", LESSON, "ALLOW", "default:ks2"),
    ("ks2", "www.childline.org.uk", LESSON, "ALLOW", "protected:childline.org.uk"),
    ("ks2", "use-application-dns.net", LESSON, "BLOCK", "canary:use-application-dns.net"),
)


@pytest.fixture
def explain(school, steward, config, short_path, capsys):
    """``gate policy explain`` on the desk of a school, as text."""
    path = short_path / "schoolgate.toml"
    path.write_text(
        f'[appliance]\nstate_directory = "{config.appliance.state_directory}"\n'
        f'run_directory = "{config.appliance.run_directory}"\n[dns]\nupstreams = ["192.0.2.1"]\n'
    )
    server = ControlServer(steward.places.desk, Desk, school)
    server.start()

    def run(*words):
        code = main(["policy", "explain", *words, "--config", str(path)])
        return code, capsys.readouterr().out

    yield run
    server.close()


@pytest.mark.parametrize(("group", "name", "at", "action", "rule_id"), CASES)
def test_explain_of_the_two_policies(explain, group, name, at, action, rule_id):
    code, out = explain(group, name, "--at", at)
    first, *steps = out.splitlines()
    assert code == 0
    assert f": {action}  [{rule_id}]" in first
    # Each place of the order has its line, and one of them decides.
    assert len([s for s in steps if re.match(r" [ >][1-8]\. ", s)]) == 8
    (deciding,) = (s for s in steps if s.startswith(" >"))
    assert deciding.endswith(rule_id)


@pytest.mark.parametrize(
    ("group", "name", "said"),
    [
        ("ks2", "www.google.co.uk", "the safe version of Google, forcesafesearch.google.com, as the policy has it for Key Stage 2.  [safesearch:google]"),
        ("staff", "www.youtube.com", "YouTube's restricted mode (moderate), restrictmoderate.youtube.com, as the policy has it for Staff.  [safesearch:youtube:moderate]"),
    ],
)  # fmt: skip
def test_explain_of_a_search_engine_says_that_its_safe_version_answers(explain, group, name, said):
    code, out = explain(group, name, "--at", LUNCH)
    assert code == 0
    assert f"  Answered by {said}" in out.splitlines()


@pytest.mark.parametrize(
    ("group", "name"), [("ks1", "www.youtube.com"), ("ks2", "docs.google.com")]
)
def test_explain_of_what_is_blocked_or_no_engine_speaks_of_no_safe_version(explain, group, name):
    assert "safe version" not in explain(group, name, "--at", LUNCH)[1]


def test_explain_of_a_protocol_without_a_name(explain):
    code, out = explain("ks2", "", "--protocol", "wireguard", "--at", LESSON)
    assert code == 0
    assert "wireguard for any device of Key Stage 2" in out
    assert "BLOCK  [matrix:bypass:ks2]" in out
