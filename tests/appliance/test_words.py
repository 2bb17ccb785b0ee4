import pytest

from gate_appliance.words import safe_sentence, sentence, titles
from gate_core.acceptable_use import ROWS, SHIPPED_CELLS
from gate_core.categories import mask_of
from gate_core.clients import Group
from gate_core.policy import Policy, Reason
from gate_core.safesearch import SafeName, YouTube, safe_names
from gate_core.snapshot import NO_LISTS
from gate_firewall.ruling import LISTED_ADDRESS, Fault

POLICY = Policy(
    version=1,
    groups={"ks2": Group("ks2", "Key Stage 2", 2, SHIPPED_CELLS["ks2"])},
    rows=ROWS,
    unknown_group="ks2",
    index=NO_LISTS,
)


@pytest.mark.parametrize("reason", [*Reason, *Fault], ids=lambda r: r.value)
@pytest.mark.parametrize("action", ["allow", "block"])
def test_sentence_is_there_for_every_reason_and_names_no_rule_id(reason, action):
    row = "games:" if reason is Reason.MATRIX else ""
    text = sentence(action, reason.value, f"{reason.value}:{row}ks2", POLICY)
    assert text.endswith(".")
    assert f"{reason.value}:" not in text


def test_sentence_of_the_table_names_row_and_group():
    assert sentence("block", "matrix", "matrix:gambling:ks2", POLICY) == (
        "Blocked by the acceptable-use table: “Online gambling” for Key Stage 2."
    )


def test_sentence_of_a_listed_address_names_row_and_group():
    assert sentence("block", LISTED_ADDRESS, "matrix:gambling:ks2", POLICY) == (
        "Blocked because the address it goes to is on a list: “Online gambling” for Key Stage 2."
    )


def test_sentence_of_a_group_that_is_gone_names_its_id():
    assert "for gone" in sentence("block", "matrix", "matrix:gambling:gone", POLICY)


def test_titles_are_those_of_the_mask():
    assert titles(mask_of(["games", "gambling"])) == ("Games", "Gambling")


def test_sentence_of_a_row_that_is_gone_names_its_id():
    assert "“gone”" in sentence("allow", "matrix", "matrix:gone:ks2", POLICY)


def test_sentence_of_a_tunnel_names_what_the_look_ups_are_below():
    assert "below t.example look" in sentence("block", "tunnel", "tunnel:t.example", POLICY)


@pytest.mark.parametrize(
    ("rule_id", "answered_by"),
    [
        ("safesearch:google", "the safe version of Google"),
        ("safesearch:brave", "the safe version of Brave Search"),
        ("safesearch:youtube:moderate", "YouTube's restricted mode (moderate)"),
        ("safesearch:youtube:strict", "YouTube's restricted mode (strict)"),
        pytest.param("safesearch:gone", "the safe version of gone", id="an engine of before"),
    ],
)
@pytest.mark.parametrize("reason", ["matrix", "default", "lesson", "exception"])
def test_sentence_of_a_safe_version_names_it(rule_id, answered_by, reason):
    """The rule is that of the safe version, whatever the reason was to allow the name."""
    assert sentence("allow", reason, rule_id, POLICY) == f"Allowed, and answered by {answered_by}."


def test_sentence_of_every_safe_version_calls_it_by_its_title():
    for safe in safe_names(safe_search=True, youtube=YouTube.STRICT).values():
        text = sentence("allow", "matrix", safe.rule_id, POLICY)
        assert safe.rule_id.split(":")[1] not in text


@pytest.mark.parametrize("reason", ["unknown-flow", "unreadable", "protocol"])
def test_sentence_of_what_nobody_can_judge_says_what_became_of_it(reason):
    assert sentence("allow", reason, f"{reason}:staff", POLICY).startswith("Allowed unread: ")
    assert sentence("block", reason, f"{reason}:ks2", POLICY).split()[0] in ("Blocked", "Cut")


def test_sentence_of_a_flood_says_what_the_device_did():
    assert "asked for more names at once" in sentence(
        "block", "flood", "flood:00:00:5e:00:53:10", POLICY
    )


@pytest.mark.parametrize(
    ("safe", "answered_by"),
    [
        (SafeName("strict.bing.com", "safesearch:bing"), "the safe version of Bing"),
        (
            SafeName("restrict.youtube.com", "safesearch:youtube:strict"),
            "YouTube's restricted mode (strict)",
        ),
    ],
)
def test_safe_sentence_names_version_target_and_group(safe, answered_by):
    assert safe_sentence(safe, "ks2", POLICY) == (
        f"Answered by {answered_by}, {safe.target}, as the policy has it for Key Stage 2."
    )
