"""The coordinator's tasks in Chromium: on a phone and on a desktop, with JavaScript and without."""

import shutil
import time
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no Chromium here"
    ),
]


class Chromium(webdriver.Chrome):
    """A browser that knows how wide a screen it shows."""

    screen_width: int
    """In CSS pixels."""


PHONE = pytest.param((375, True), id="phone")
DESKTOP = pytest.param((1280, True), id="desktop")
PLAIN_PHONE = pytest.param((375, False), id="phone without JavaScript")

live = pytest.mark.parametrize("chromium", [PHONE, DESKTOP], indirect=True)
"""For what only JavaScript does; without it the page shows the same when it is loaded again."""


@pytest.fixture(params=[PHONE, DESKTOP, PLAIN_PHONE])
def chromium(request: pytest.FixtureRequest) -> Iterator[Chromium]:
    width, scripts = request.param
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.accept_insecure_certs = True
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if not scripts:
        options.add_experimental_option(
            "prefs", {"profile.managed_default_content_settings.javascript": 2}
        )
    browser = Chromium(options, webdriver.ChromeService(shutil.which("chromedriver")))
    browser.screen_width = width
    try:
        browser.implicitly_wait(10)
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield browser
        refused = [
            e["message"]
            for e in browser.get_log("browser")
            if "Content Security Policy" in e["message"]
        ]
        assert not refused
    finally:
        browser.quit()


def fill_in(browser: Chromium, **fields: str) -> None:
    for name, text in fields.items():
        field = browser.find_element(By.NAME, name)
        field.clear()
        field.send_keys(text)


def press(browser: Chromium, words: str) -> None:
    browser.find_element(By.XPATH, f"//button[normalize-space()='{words}']").click()


def heading(browser: Chromium, words: str) -> None:
    """Wait for the page with this heading, and see that nothing sticks out at the side."""
    browser.find_element(By.XPATH, f"//h1[normalize-space()='{words}']")
    deadline = time.monotonic() + 5
    # A phone's layout viewport grows with what is too wide for it: the screen alone stays as it is. The heading may be
    # there before its page is laid out.
    while (width := content_width(browser)) > browser.screen_width:
        assert time.monotonic() < deadline, f"{width} pixels"
        time.sleep(0.05)


def content_width(browser: Chromium) -> int:
    return browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]["width"]


def sign_in(browser: Chromium, server, known, username: str = "") -> None:
    browser.get(f"{server.url}/sign-in")
    heading(browser, "Sign in")
    fill_in(browser, username=username or known.username, password=known.password)
    press(browser, "Sign in")
    heading(browser, "Today at Example Primary School")


def test_first_run_then_sign_out_and_in(chromium, fresh_server, known):
    chromium.get(f"{fresh_server.url}/first-run?code={fresh_server.code}")
    heading(chromium, "Set up Schoolgate")
    fill_in(
        chromium,
        school="Example Primary School",
        full_name="Robin Example",
        username=known.username,
        password=known.password,
        again="something else entirely",
    )
    press(chromium, "Finish")
    assert chromium.find_element(By.ID, "again-error").is_displayed()
    fill_in(chromium, password=known.password, again=known.password)
    press(chromium, "Finish")
    heading(chromium, "Today at Example Primary School")
    press(chromium, "Sign out")
    sign_in(chromium, fresh_server, known)


@pytest.mark.parametrize(
    ("chromium", "scripts"),
    [pytest.param((375, True), True, id="on"), pytest.param((375, False), False, id="off")],
    indirect=["chromium"],
)
def test_javascript_is_on_or_off_as_these_tests_say(chromium, server, scripts: bool):
    chromium.get(server.url)
    heading(chromium, "Sign in")
    body = chromium.find_element(By.TAG_NAME, "body")
    if scripts:
        WebDriverWait(chromium, 10).until(lambda _: "js-enabled" in body.get_attribute("class"))
    else:
        assert "js-enabled" not in body.get_attribute("class")


def test_a_change_is_proposed_approved_by_somebody_else_and_in_force(chromium, server, known):
    sign_in(chromium, server, known)
    chromium.get(f"{server.url}/acceptable-use/ks2")
    heading(chromium, "Acceptable use")
    chromium.find_element(By.CSS_SELECTOR, "#video .sg-matrix__change a").click()
    heading(chromium, "22. Video sharing, such as YouTube")
    chromium.find_element(By.CSS_SELECTOR, "label[for=cell]").click()
    press(chromium, "Show what this changes")
    heading(chromium, "Check this change")
    fill_in(chromium, reason="Science week")
    press(chromium, "Ask for approval")
    heading(chromium, "Acceptable use")
    assert "Nothing has changed yet" in banner(chromium)
    cell = chromium.find_element(By.CSS_SELECTOR, "#video .sg-matrix__cell--on")
    assert "sg-matrix__cell--times" in cell.get_attribute("class")

    press(chromium, "Sign out")
    sign_in(chromium, server, known, "h.example")
    chromium.get(f"{server.url}/proposals")
    heading(chromium, "Changes")
    chromium.find_element(By.CSS_SELECTOR, "table a").click()
    assert "Science week" in chromium.find_element(By.TAG_NAME, "main").text
    press(chromium, "Approve")
    assert "Approved, and in force now" in banner(chromium)
    chromium.get(f"{server.url}/acceptable-use/ks2")
    cell = chromium.find_element(By.CSS_SELECTOR, "#video .sg-matrix__cell--on")
    assert "sg-matrix__cell--acceptable" in cell.get_attribute("class")


def banner(browser: Chromium) -> str:
    return browser.find_element(By.CLASS_NAME, "govuk-notification-banner").text


def test_a_service_is_blocked_in_one_form(chromium, server, known):
    sign_in(chromium, server, known)
    chromium.get(f"{server.url}/exceptions?text=snap")
    heading(chromium, "Services and exceptions")
    chromium.find_element(By.CSS_SELECTOR, "a[href*='block&service=snapchat']").click()
    heading(chromium, "Allow or block for a while")
    Select(chromium.find_element(By.NAME, "whom")).select_by_visible_text("Key Stage 2")
    chromium.find_element(By.CSS_SELECTOR, "label[for=until]").click()
    fill_in(chromium, reason="A dare is going round")
    press(chromium, "Save")
    heading(chromium, "Services and exceptions")
    assert "In force now: Block Snapchat" in banner(chromium)


def test_a_change_is_tried_on_past_days(chromium, server, known):
    sign_in(chromium, server, known)
    chromium.get(f"{server.url}/proposals")
    chromium.find_element(By.CSS_SELECTOR, "table a").click()
    press(chromium, "Try it")
    heading(chromium, "What would have changed")
    # With JavaScript the page follows by itself; without, it is loaded again and again.
    assert chromium.find_element(By.CSS_SELECTOR, "main > .govuk-body-l").text.startswith("Of ")


def test_pause_and_end(chromium, server, known):
    sign_in(chromium, server, known)
    Select(chromium.find_element(By.NAME, "group")).select_by_visible_text("Key Stage 2")
    fill_in(chromium, minutes="20")
    press(chromium, "Internet pause")
    assert chromium.find_element(
        By.XPATH, "//h2[normalize-space()='Internet pause is on']"
    ).is_displayed()
    press(chromium, "End the pause")
    assert chromium.find_element(
        By.XPATH, "//h2[normalize-space()='Internet pause']"
    ).is_displayed()


@live
def test_a_pause_from_elsewhere_shows_by_itself(chromium, server, known):
    sign_in(chromium, server, known)
    first = chromium.current_window_handle
    chromium.switch_to.new_window("tab")
    chromium.get(server.url)
    press(chromium, "Internet pause")
    chromium.find_element(By.XPATH, "//h2[normalize-space()='Internet pause is on']")
    chromium.switch_to.window(first)
    assert chromium.find_element(
        By.XPATH, "//h2[normalize-space()='Internet pause is on']"
    ).is_displayed()


@live
def test_a_page_that_loses_the_box_says_so(chromium, server, known):
    sign_in(chromium, server, known)
    server.process.terminate()
    WebDriverWait(chromium, 10).until(
        lambda b: b.find_element(By.ID, "lost-contact").is_displayed()
    )


def test_no_page_is_wider_than_the_screen(chromium, server, known):
    sign_in(chromium, server, known)
    for path, words in (
        ("/acceptable-use", "Acceptable use"),
        ("/acceptable-use/ks2", "Acceptable use"),
        ("/rows/bypass", "10. Getting round the filtering or other safeguards"),
        ("/exceptions", "Services and exceptions"),
        ("/exceptions/new", "Allow or block for a while"),
        ("/lists", "Lists"),
        ("/lists/choose/ut1-games", "Games (Université Toulouse Capitole)"),
        ("/lists/add", "Add a list"),
        ("/policy-text", "Policy text"),
        ("/policy-text/table", "Paste a table"),
        ("/proposals", "Changes"),
        ("/record/check", "Record"),
        ("/times", "Times"),
        ("/people", "People"),
        ("/accounts", "Accounts"),
        ("/devices", "Devices"),
        ("/devices/3e:1f:a0:00:53:41", "A device without a name"),
        ("/activity", "Why do you look?"),
        ("/why?client=ks2&name=www.games.example", "Check a site"),
        ("/cannot-see", "What this box cannot see"),
    ):
        chromium.get(server.url + path)
        heading(chromium, words)


def test_no_long_name_or_reason_makes_a_page_wider_than_the_screen(chromium, server, known):
    sign_in(chromium, server, known)
    chromium.get(f"{server.url}/devices/00:00:5e:00:53:10")
    fill_in(chromium, name="W" * 60, reason="W" * 500)
    press(chromium, "Save")
    heading(chromium, "Devices")
    assert "W" * 60 in banner(chromium)
    chromium.get(f"{server.url}/acceptable-use/ks2/video")
    chromium.find_element(By.CSS_SELECTOR, "label[for=cell]").click()
    press(chromium, "Show what this changes")
    fill_in(chromium, reason="W" * 500)
    press(chromium, "Ask for approval")
    heading(chromium, "Acceptable use")
    for path, words in (
        ("/record", "Record"),
        ("/proposals", "Changes"),
        ("/", "Today at Example Primary School"),
        ("/devices/00:00:5e:00:53:10", "W" * 60),
    ):
        chromium.get(server.url + path)
        heading(chromium, words)


def test_no_fault_of_a_form_makes_a_page_wider_than_the_screen(chromium, server, known):
    sign_in(chromium, server, known)
    chromium.get(f"{server.url}/exceptions/new")
    chromium.find_element(By.CSS_SELECTOR, "label[for=action]").click()
    Select(chromium.find_element(By.NAME, "whom")).select_by_visible_text("Key Stage 2")
    chromium.find_element(By.CSS_SELECTOR, "label[for=until]").click()
    fill_in(chromium, names="w" * 5000, reason="W" * 500)
    press(chromium, "Save")
    heading(chromium, "Allow or block for a while")
    assert "w" * 40 in chromium.find_element(By.ID, "names-error").text
    chromium.get(f"{server.url}/lists/add")
    fill_in(chromium, title="Trust", id="trust", licence="Members only")
    for name in ("category", "trust"):
        Select(chromium.find_element(By.NAME, name)).select_by_index(1)
    fill_in(chromium, url="rpz://trust.example/" + "w" * 200)
    press(chromium, "Add the list")
    heading(chromium, "Add a list")
    assert chromium.find_element(By.ID, "url-error").is_displayed()
