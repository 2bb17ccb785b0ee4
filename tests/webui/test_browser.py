"""The coordinator's tasks in Chromium: on a phone and on a desktop, with JavaScript and without."""

import shutil
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


PHONE = pytest.param((390, True), id="phone")
DESKTOP = pytest.param((1280, True), id="desktop")
PLAIN_PHONE = pytest.param((390, False), id="phone without JavaScript")

live = pytest.mark.parametrize("chromium", [PHONE, DESKTOP], indirect=True)
"""For what only JavaScript does; without it the page shows the same when it is loaded again."""


@pytest.fixture(params=[PHONE, DESKTOP, PLAIN_PHONE])
def chromium(request: pytest.FixtureRequest) -> Iterator[webdriver.Chrome]:
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
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
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


def fill_in(browser: webdriver.Chrome, **fields: str) -> None:
    for name, text in fields.items():
        field = browser.find_element(By.NAME, name)
        field.clear()
        field.send_keys(text)


def press(browser: webdriver.Chrome, words: str) -> None:
    browser.find_element(By.XPATH, f"//button[normalize-space()='{words}']").click()


def heading(browser: webdriver.Chrome, words: str) -> None:
    """Wait for the page with this heading, and see that nothing sticks out at the side."""
    browser.find_element(By.XPATH, f"//h1[normalize-space()='{words}']")
    size = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})
    assert size["cssContentSize"]["width"] <= size["cssLayoutViewport"]["clientWidth"]


def sign_in(browser: webdriver.Chrome, server, known) -> None:
    browser.get(server.url)
    heading(browser, "Sign in")
    fill_in(browser, username=known.username, password=known.password)
    press(browser, "Sign in")
    heading(browser, "Today at Example Primary School")


def test_first_run_then_sign_out_and_in(chromium, fresh_server, known):
    chromium.get(f"{fresh_server.url}/first-run?code={known.code}")
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
    [pytest.param((390, True), True, id="on"), pytest.param((390, False), False, id="off")],
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


def test_a_cell_changes_with_a_reason(chromium, server, known):
    sign_in(chromium, server, known)
    chromium.get(f"{server.url}/acceptable-use/ks2")
    heading(chromium, "Acceptable use")
    chromium.find_element(By.CSS_SELECTOR, "#video .sg-matrix__change a").click()
    heading(chromium, "22. Video sharing, such as YouTube")
    chromium.find_element(By.CSS_SELECTOR, "label[for=cell-0], label[for=cell]").click()
    fill_in(chromium, reason="Science week")
    press(chromium, "Save")
    heading(chromium, "Acceptable use")
    cell = chromium.find_element(By.CSS_SELECTOR, "#video .sg-matrix__cell--on")
    assert "sg-matrix__cell--acceptable" in cell.get_attribute("class")


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
        ("/acceptable-use/ks2", "Acceptable use"),
        ("/devices", "Devices"),
        ("/devices/3e:1f:a0:00:53:41", "A device without a name"),
        ("/activity", "Activity"),
        ("/why?client=ks2&name=www.games.example", "Check a site"),
        ("/changes", "Changes"),
        ("/cannot-see", "What this box cannot see"),
    ):
        chromium.get(server.url + path)
        heading(chromium, words)


def test_no_long_name_or_reason_makes_a_page_wider_than_the_screen(chromium, server, known):
    sign_in(chromium, server, known)
    chromium.get(f"{server.url}/devices/00:00:5e:00:53:10")
    fill_in(chromium, name="W" * 60)
    press(chromium, "Save")
    heading(chromium, "Devices")
    assert "W" * 60 in chromium.find_element(By.CLASS_NAME, "govuk-notification-banner").text
    chromium.get(f"{server.url}/acceptable-use/ks2/video")
    chromium.find_element(By.CSS_SELECTOR, "label[for=cell-0], label[for=cell]").click()
    fill_in(chromium, reason="W" * 500)
    press(chromium, "Save")
    heading(chromium, "Acceptable use")
    for path, words in (
        ("/changes", "Changes"),
        ("/activity", "Activity"),
        ("/", "Today at Example Primary School"),
        ("/devices/00:00:5e:00:53:10", "W" * 60),
    ):
        chromium.get(server.url + path)
        heading(chromium, words)
