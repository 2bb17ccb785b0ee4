"""The coordinator's pages in a real browser on the staff PC, and what a click there does to pupils' traffic."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest
from appliance import APPROVERS, PASSWORD, USERNAME, Appliance
from clients import chromium, curl
from laboratory import Laboratory
from plan import BOX
from selenium.webdriver import Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as conditions
from selenium.webdriver.support.wait import WebDriverWait
from sites import ALLOWED, SHOP

pytestmark = pytest.mark.browser

URL = f"https://{BOX.v4}:8443"
SCHOOL = "Laboratory Primary School"
CUT = {18, 56}
"""curl's exit status where the other side ends too early, or resets."""


@pytest.fixture(scope="module")
def school(namespaces: None) -> Iterator[Appliance]:
    """An appliance whose first run nobody has completed."""
    with Laboratory("pages") as lab, Appliance(lab) as appliance:
        appliance.place_devices()
        yield appliance


@pytest.fixture(scope="module")
def browser(school: Appliance) -> Iterator[Remote]:
    """The coordinator's browser, in which the first-run wizard has been completed."""
    with chromium(school.lab, "staff", any_certificate=True) as browser:
        browser.get(f"{URL}/first-run?code={school.first_run_code}")
        for field, text in (
            ("school", SCHOOL),
            ("full_name", "Alex Coordinator"),
            ("username", USERNAME),
            ("password", PASSWORD),
            ("again", PASSWORD),
        ):
            browser.find_element(By.NAME, field).send_keys(text)
        send(browser, "Finish")
        WebDriverWait(browser, 20).until(conditions.title_contains("Today"))
        for username, role in APPROVERS.items():
            school.add_account(username, role)
        yield browser


def send(browser: Remote, label: str) -> None:
    """Click the button with this label, and wait for the page that follows."""
    old = browser.find_element(By.TAG_NAME, "html")
    browser.find_element(
        By.XPATH, f"//main//button[contains(normalize-space(), '{label}')]"
    ).click()
    WebDriverWait(browser, 20).until(conditions.staleness_of(old))


def set_cell(browser: Remote, group: str, row: str, cell: str, label: str) -> None:
    """Choose another cell, look at what it changes, and send it with the button of this label."""
    browser.get(f"{URL}/acceptable-use/{group}/{row}")
    choice = browser.find_element(By.CSS_SELECTOR, f"input[name=cell][value={cell}]")
    browser.execute_script("arguments[0].click()", choice)
    send(browser, "Show what this changes")
    browser.find_element(By.NAME, "reason").send_keys("the shop of the school fair")
    send(browser, label)


def test_first_run_ends_on_the_dashboard(browser: Remote) -> None:
    browser.get(URL)
    assert f"Today at {SCHOOL}" in browser.find_element(By.TAG_NAME, "h1").text


def test_cell_changed_in_the_browser_changes_what_pupils_get(
    browser: Remote, school: Appliance
) -> None:
    lab = school.lab
    assert curl(lab, "laptop", f"http://{SHOP}/").status == 403
    set_cell(browser, "ks2", "shopping", "acceptable", "Ask for approval")
    (proposal,) = school.desk.proposals(actor=USERNAME, waiting=True)
    for username in APPROVERS:
        assert curl(lab, "laptop", f"http://{SHOP}/").status == 403
        school.desk.answer(id=proposal.id, approve=True, actor=username)
    lab.wait_for(
        lambda: curl(lab, "laptop", f"http://{SHOP}/").status == 200, "the shop to open", 3
    )
    assert curl(lab, "tablet", f"https://{SHOP}/").status == 200
    set_cell(browser, "ks2", "shopping", "unacceptable", "Make this change")
    lab.wait_for(
        lambda: curl(lab, "laptop", f"http://{SHOP}/").status == 403, "the shop to close", 3
    )
    assert curl(lab, "tablet", f"https://{SHOP}/").status == 0


def by_page(browser: Remote) -> None:
    send(browser, "Internet pause")


def by_panel_on_the_page(browser: Remote) -> None:
    button = browser.find_element(By.CSS_SELECTOR, "button[form=press]")
    browser.execute_script("arguments[0].click()", button)


@pytest.mark.parametrize(
    "start", [by_page, by_panel_on_the_page], ids=["button of the page", "button of the panel"]
)
def test_pause_in_the_browser_cuts_pupils_and_not_staff(
    browser: Remote, school: Appliance, start: Callable[[Remote], None]
) -> None:
    lab = school.lab
    before = lab.mark()
    argv = ["curl", "-sS", "-o", "/dev/null", "http://files.example/slow?seconds=60&rate=50000"]
    downloads: dict[str, subprocess.Popen[str]] = {
        c: lab.popen(c, argv) for c in ("laptop", "staff")
    }
    try:
        lab.wait_for(
            lambda: len({s.client for s in lab.served(before) if s.path == "/slow"}) == 2,
            "the downloads",
            10,
        )
        browser.get(URL)
        start(browser)
        assert downloads["laptop"].wait(10) in CUT
        assert downloads["staff"].poll() is None
        assert curl(lab, "laptop", f"https://{ALLOWED}/").status == 0
        assert curl(lab, "staff", f"https://{ALLOWED}/").status == 200
    finally:
        school.gate("pause", "end", check=False)
        for process in downloads.values():
            process.terminate()
            process.wait(10)
    lab.wait_for(
        lambda: curl(lab, "laptop", f"https://{ALLOWED}/").status == 200, "the end of the pause", 5
    )
