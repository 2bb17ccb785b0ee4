#!/usr/bin/env python3
"""Take screenshots of the pages, as a phone and as a desktop show them, with Chromium.

``webui/screenshots.py FOLDER`` takes every page, served by the real server with the made-up school of the tests.

The pictures in docs/screenshots are of the product itself: while ``make demo`` runs, with the address and code it prints (an
empty code once it is set up by this), and after a minute of its traffic,

    webui/screenshots.py docs/screenshots --url https://127.0.0.1:PORT --code CODE
    make pupil CMD='.venv/bin/python webui/screenshots.py docs/screenshots --blocked http://www.bet365.com/'
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

TESTS: Final = Path(__file__).parents[1] / "tests"

SUBMIT: Final = "main button[type=submit]"

TABLE: Final = """User actions;Acceptable;Acceptable at certain times;Acceptable for nominated users;Unacceptable;Unacceptable and illegal
On-line gaming (educational);X;;;;
On-line gaming (non educational);;;;X;
On-line gambling;;;;X;
On-line shopping / commerce;;;X;;
Use of social media;;X;;X;
Flying drones in the hall;;;;X;
""".replace(";", "\t")

WIDTHS: Final = {"phone": 390, "desktop": 1280}

PAGES: Final = {
    "today": "/",
    "acceptable-use": "/acceptable-use",
    "acceptable-use-group": "/acceptable-use/ks2",
    "cell": "/acceptable-use/ks2/video",
    "cell-locked": "/acceptable-use/ks2/grooming",
    "searching": "/searching/ks2",
    "connecting": "/connecting/ks2",
    "row-new": "/rows/new",
    "row": "/rows/bypass",
    "exceptions": "/exceptions",
    "exception": "/exceptions/exception-1",
    "exception-ended": "/exceptions/exception-2",
    "exception-new": "/exceptions/new?action=block&service=snapchat",
    "direct": "/direct",
    "direct-add": "/direct/add",
    "times": "/times",
    "lists": "/lists",
    "list-choose": "/lists/choose/ut1-games",
    "list-add": "/lists/add",
    "policy-text": "/policy-text",
    "policy-import": "/policy-text/import",
    "policy-table": "/policy-text/table",
    "changes": "/proposals",
    "devices": "/devices",
    "device": "/devices/3e:1f:a0:00:53:41",
    "people": "/people",
    "nominees": "/people/nominees",
    "loans": "/people/loans",
    "network-places": "/network-places",
    "accounts": "/accounts",
    "account": "/account",
    "recovery-codes": "/account/recovery-codes",
    "data-use": "/usage",
    "holds": "/holds",
    "check-a-site": "/why?client=ks2&name=www.games.example&at=2027-01-12T12:30",
    "check-a-search-engine": "/why?client=ks2&name=www.bing.com",
    "record": "/record",
    "record-checked": "/record/check",
    "cannot-see": "/cannot-see",
    "not-found": "/nowhere",
}

OTHERS: Final = {
    "h.example": {"today-head": "/", "changes-head": "/proposals"},
    "t.example": {"my-class": "/my-class", "not-for-you": "/activity"},
    "g.example": {"record-governor": "/record", "acceptable-use-governor": "/acceptable-use"},
}
"""What people besides the coordinator see."""

REAL_PICTURES: Final = {"phone": ("today",), "desktop": ("today", "acceptable-use", "activity")}
"""Those in docs/screenshots, besides the block page on a phone."""

BLOCKED: Final = {
    "block-page": "www.games.example",
    "block-page-illegal": "bad.example",
    "block-page-open": "stories.example",
}


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description="Take screenshots of every page.")
    parser.add_argument("folder", type=Path, help="where to put them")
    parser.add_argument("--url", help="of an appliance that runs, such as make demo's")
    parser.add_argument(
        "--code", default="", help="its first-run code; without it, nobody sets it up"
    )
    parser.add_argument("--blocked", help="a blocked site; run this on a pupil's device")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    tests = _module("webui/conftest.py")
    find_port = _module("conftest.py").find_port
    if arguments.blocked:
        with _Camera(folder, "phone", WIDTHS["phone"]) as camera:
            camera.shoot("block-page", arguments.blocked)
        return
    if arguments.url:
        for size, names in REAL_PICTURES.items():
            with _Camera(folder, size, WIDTHS[size]) as camera:
                _real_tour(camera, tests, names, arguments.url, arguments.code)
        return
    for size, width in WIDTHS.items():
        with tempfile.TemporaryDirectory() as state, _Camera(folder, size, width) as camera:
            with tests.running_server(Path(state) / "fresh", find_port, fresh=True) as server:
                camera.shoot("first-run", f"{server.url}/first-run?code={server.code}")
            with tests.running_server(Path(state) / "full", find_port) as server:
                _tour(camera, tests, server)


def _module(name: str) -> ModuleType:
    """Return a module of the tests, which is no part of a package."""
    spec = importlib.util.spec_from_file_location(f"tests_{Path(name).parent.name}", TESTS / name)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Where dataclasses look their annotations up.
    spec.loader.exec_module(module)
    return module


def _real_tour(
    camera: _Camera, tests: ModuleType, names: tuple[str, ...], url: str, code: str
) -> None:
    browser = camera.browser
    fields = {"username": tests.USERNAME, "password": tests.PASSWORD}
    browser.get(f"{url}/first-run?code={code}")
    if not browser.current_url.endswith("/sign-in"):
        fields |= {
            "school": tests.SCHOOL,
            "full_name": tests.FULL_NAME,
            "again": tests.PASSWORD,
        }
    for name, text in fields.items():
        browser.find_element(By.NAME, name).send_keys(text)
    camera.press(SUBMIT, then="#part-state")
    browser.get(url)  # Without the banner of the first sign-in.
    for name in names:
        if name == "activity":
            _look(camera, url)
            camera.shoot(name)
        else:
            camera.shoot(name, url + PAGES[name])


def _tour(camera: _Camera, tests: ModuleType, server: Any) -> None:
    browser = camera.browser
    for name, host in BLOCKED.items():
        camera.shoot(name, f"http://{host}:{server.block_page_port}/")
    camera.shoot("sign-in", f"{server.url}/sign-in")
    camera.sign_in(server.url, tests.USERNAME, "wrong", then=".govuk-error-summary")
    camera.shoot("sign-in-wrong")
    camera.sign_in(server.url, tests.USERNAME, tests.PASSWORD)
    for name, path in PAGES.items():
        camera.shoot(name, server.url + path)
    _activity(camera, server.url)
    _change(camera, server.url)
    browser.get(server.url)
    camera.press("form[action='/pause'] button", then="button[form=end-pause]")
    camera.shoot("today-paused")
    camera.shoot("block-page-paused", f"http://www.games.example:{server.block_page_port}/")
    browser.get(server.url)
    for username, pages in OTHERS.items():
        camera.press("form[action='/sign-out'] button", then="input[name=password]")
        camera.sign_in(server.url, username, tests.PASSWORD)
        for name, path in pages.items():
            camera.shoot(name, server.url + path)
        if username == "h.example":
            camera.press("table a", then="textarea[name=note]")
            camera.shoot("change-to-answer")


def _activity(camera: _Camera, url: str) -> None:
    camera.shoot("activity-purpose", f"{url}/activity")
    _look(camera, url)
    camera.shoot("activity")
    camera.shoot("data-use", f"{url}/usage/week")


def _look(camera: _Camera, url: str) -> None:
    camera.browser.get(f"{url}/activity")
    camera.browser.find_element(By.NAME, "reason").send_keys("Weekly check")
    camera.press(SUBMIT, then=".sg-filter")


def _change(camera: _Camera, url: str) -> None:
    browser = camera.browser
    browser.get(f"{url}/proposals")
    camera.press("table a", then="form[action$='/withdraw']")
    camera.shoot("change-own")
    browser.get(f"{url}/acceptable-use/ks1/video")
    camera.press(SUBMIT, then=".govuk-error-summary")
    camera.shoot("cell-fault")
    camera.press("label[for=cell]", then="main")
    camera.press(SUBMIT, then="input[name=days]")
    camera.shoot("review")
    first = browser.current_window_handle
    camera.press("form[action='/proposals/what-if'] button", then="main")
    WebDriverWait(browser, 10).until(lambda b: len(b.window_handles) == 2)
    browser.switch_to.window(browser.window_handles[-1])
    camera.fit()
    browser.find_element(By.CSS_SELECTOR, "main > .govuk-body-l")
    camera.shoot("what-if")
    browser.close()
    browser.switch_to.window(first)
    browser.find_element(By.NAME, "reason").send_keys("Science week")
    camera.press("form[action='/proposals'] button", then=".govuk-notification-banner")
    camera.shoot("cell-waits")
    browser.get(f"{url}/policy-text/table")
    # Typed, a tabulator would leave the field.
    field = browser.find_element(By.NAME, "text")
    browser.execute_script("arguments[0].value = arguments[1]", field, TABLE)
    camera.press("label[for=groups-2]", then="main")
    camera.press(SUBMIT, then="table")
    camera.shoot("policy-table-read")
    browser.get(f"{url}/policy-text/import")
    browser.find_element(By.NAME, "text").send_keys('[rows.games]\ntitle = ""\nnumber = "x"\n')
    camera.press(SUBMIT, then=".govuk-error-summary")
    camera.shoot("policy-import-fault")


class _Camera:
    """Chromium, of one width."""

    def __init__(self, folder: Path, size: str, width: int) -> None:
        self._folder = folder
        self._size = size
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        options.accept_insecure_certs = True
        options.add_argument("--headless=new")
        options.add_argument("--no-sandbox")
        options.add_argument("--hide-scrollbars")
        # Pupils' browsers are led to the block page by the sinkhole; this one by its own rule.
        options.add_argument("--host-resolver-rules=MAP *.example 127.0.0.1")
        service = webdriver.ChromeService("/usr/bin/chromedriver")
        self.browser = webdriver.Chrome(options, service)
        self.browser.implicitly_wait(10)
        self._width = width
        self.fit()

    def __enter__(self) -> _Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self.browser.quit()

    def sign_in(
        self, url: str, username: str, password: str, *, then: str = ".govuk-service-navigation"
    ) -> None:
        """Send the form for signing in, and wait for ``then``."""
        self.browser.get(f"{url}/sign-in")
        self.browser.find_element(By.NAME, "username").send_keys(username)
        self.browser.find_element(By.NAME, "password").send_keys(password)
        self.press(SUBMIT, then=then)

    def fit(self) -> None:
        """Give the page in front its width: each tab has one of its own."""
        metrics = {
            "width": self._width,
            "height": 900,
            "deviceScaleFactor": 1,
            "mobile": self._width < 600,
        }
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def press(self, what: str, *, then: str) -> None:
        """Click on ``what`` and wait for ``then``: no picture can be taken between two pages."""
        self.browser.find_element(By.CSS_SELECTOR, what).click()
        self.browser.find_element(By.CSS_SELECTOR, then)

    def shoot(self, name: str, url: str | None = None) -> None:
        """Take a picture of the whole page at ``url``, or of where the browser is."""
        if url:
            self.browser.get(url)
        shot = {"format": "png", "captureBeyondViewport": True}
        picture = self.browser.execute_cdp_cmd("Page.captureScreenshot", shot)
        path = self._folder / f"{name}-{self._size}.png"
        path.write_bytes(base64.b64decode(picture["data"]))


if __name__ == "__main__":
    main()
