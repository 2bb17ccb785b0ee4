import re
from html import unescape
from io import BytesIO

import pytest

TABLE = """User actions\tAcceptable\tAcceptable at certain times\tAcceptable for nominated users\tUnacceptable\tUnacceptable and illegal
On-line gaming (educational)\tX\t\t\t\t
On-line shopping / commerce\t\t\tX\t\t
Use of social media\t\tX\t\t\t
Flying drones in the hall\t\t\t\tX\t
"""


def export(browser) -> str:
    return browser.get("/policy-text/export").text


def test_export_is_a_file(head, desk):
    assert 'href="/policy-text/export"' in head.get("/policy-text").text
    answer = head.get("/policy-text/export")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="policy.toml"'
    assert answer.text == desk.export_policy(actor="h.example")
    assert "[rows.video]" in answer.text


def test_import_shows_signature_and_effects_before_anything_changes(coordinator, desk):
    text = export(coordinator).replace('video = "times"', 'video = "acceptable"')
    page = coordinator.post("/policy-text/import", {"text": text})
    assert page.status_code == 200
    assert desk.read_policy(text=text).signature in unescape(page.text)
    assert "Video sharing, such as YouTube”: now acceptable" in page.text
    assert 'name="reason"' in page.text
    assert desk.cell("ks2", "video") == "times"


def test_import_takes_a_file(coordinator):
    text = export(coordinator).replace('video = "times"', 'video = "unacceptable"')
    page = coordinator.post(
        "/policy-text/import",
        {"text": "", "file": (BytesIO(text.encode()), "policy.toml")},
        content_type="multipart/form-data",
    )
    assert page.status_code == 200
    assert "now unacceptable" in page.text


def test_import_of_what_is_in_force_says_so(coordinator):
    page = coordinator.post("/policy-text/import", {"text": export(coordinator)})
    assert page.status_code == 422
    assert "This is the policy in force: nothing would change." in page.text
    assert 'id="text-error"' in page.text


def test_import_tells_every_fault_with_its_place(coordinator):
    text = export(coordinator).replace('video = "times"', 'video = "perhaps"')
    page = coordinator.post("/policy-text/import", {"text": text})
    assert page.status_code == 422
    assert "groups.ks2.cells.video" in page.text
    assert "groups.guest.cells.video" in page.text
    assert "perhaps" in page.text


def test_import_refuses_an_exception_for_a_public_suffix(coordinator, full_desk):
    text = export(coordinator)
    assert '"films.example"' in text
    page = coordinator.post(
        "/policy-text/import", {"text": text.replace('"films.example"', '"sch.uk"')}
    )
    assert page.status_code == 422
    assert "anybody may have a name below sch.uk" in page.text


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"text": " "}, "Paste the text of a policy, or choose a file."),
        ({"text": "", "file": (b"\xff\xfe\x00", "policy.toml")}, "This file is not text."),
    ],
)
def test_import_says_what_is_missing(coordinator, sent, words: str):
    if "file" in sent:
        octets, name = sent["file"]
        sent = {**sent, "file": (BytesIO(octets), name)}
    page = coordinator.post("/policy-text/import", sent, content_type="multipart/form-data")
    assert page.status_code == 422
    assert words in page.text
    assert 'id="text-error"' in page.text


def test_import_of_what_is_no_policy_says_so(coordinator):
    page = coordinator.post("/policy-text/import", {"text": "this is not toml"})
    assert page.status_code == 422
    assert "There is a problem" in page.text
    assert "this is not toml" in page.text


def test_import_never_lowers_illegal_content(coordinator, desk):
    text = export(coordinator).replace('grooming = "illegal"', 'grooming = "acceptable"')
    page = coordinator.post("/policy-text/import", {"text": text})
    assert page.status_code == 422
    assert "this row is illegal content" in page.text
    assert 'name="reason"' not in page.text
    assert desk.cell("ks2", "grooming") == "illegal"


def test_table_shows_row_by_row_what_was_understood(coordinator, desk):
    page = coordinator.post("/policy-text/table", {"text": TABLE, "groups": "ks2"})
    assert page.status_code == 200
    for words in (
        "On-line shopping / commerce",
        "Online shopping",
        "Acceptable for nominated users",
    ):
        assert words in page.text
    assert "A new row" in page.text
    assert ">Sure<" in page.text
    assert "Key Stage 2 gains “Online shopping”" in page.text
    assert "Two other people have to approve this first" in page.text
    assert desk.cell("ks2", "shopping") == "unacceptable"


UNSURE = TABLE.replace("social media\t\tX\t\t\t", "social media\t\tX\t\tX\t")


def test_table_leaves_unsure_rows_out_until_they_are_ticked(coordinator, desk):
    sent = {"text": UNSURE, "groups": "ks1"}
    assert not all(row.sure for row in desk.read_table(text=UNSURE, groups=("ks1",)).rows)
    page = coordinator.post("/policy-text/table", {**sent, "groups": "staff"}).text
    assert ">Not sure<" in page
    assert "“Social media”" not in page
    line = re.search(r'name="take" type="checkbox" value="(\d+)">', page)[1]
    page = coordinator.post("/policy-text/table", {**sent, "groups": "staff", "take": line}).text
    assert "Staff loses “Social media”" in page
    assert re.search(rf'name="take" type="checkbox" value="{line}" checked', page)
    # What was pasted goes along, to be read once more.
    assert UNSURE.splitlines()[3] in page


def test_table_refuses_a_tick_of_no_line(coordinator):
    sent = {"text": UNSURE, "groups": "ks1", "take": "x"}
    assert coordinator.post("/policy-text/table", sent).status_code == 400


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"text": "", "groups": "ks2"}, "text-error"),
        ({"text": TABLE}, "groups-error"),
        ({"text": TABLE, "groups": "ks9"}, "groups-error"),
        ({"text": "A sentence and no table.", "groups": "ks2"}, "text-error"),
    ],
)
def test_table_says_what_is_allowed(coordinator, sent: dict[str, str], error: str):
    page = coordinator.post("/policy-text/table", sent)
    assert page.status_code == 422
    assert f'id="{error}"' in page.text


def test_table_may_be_long(coordinator):
    filler = "<p>" + "x" * 100_000 + "</p>"
    page = coordinator.post("/policy-text/table", {"text": filler + TABLE, "groups": "ks2"})
    assert page.status_code in {200, 422}


@pytest.mark.parametrize("path", ["/policy-text/import", "/policy-text/table"])
def test_nothing_is_read_without_a_token(coordinator, desk, path: str):
    desk.asked.clear()
    assert coordinator.post_bare(path, {"text": TABLE, "groups": "ks2"}).status_code == 400
    assert not {"read_policy", "read_table"} & {method for method, _ in desk.asked}
