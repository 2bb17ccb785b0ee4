"""What a visit weighs: octets that Chromium gets over the network, heads and all."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Final

from selenium import webdriver
from selenium.webdriver.common.by import By

LATER: Final = (
    "/acceptable-use",
    "/devices",
    "/activity",
    "/record",
    "/times",
    "/lists",
    "/people",
)


def first_and_later(port: int, folder: Path, username: str, password: str) -> tuple[int, int]:
    """Return the octets of the first visit, signing in and Today, and of the heaviest page after it."""
    options = webdriver.ChromeOptions()
    words = ("--headless=new", "--no-sandbox", f"--user-data-dir={folder / 'chromium'}")
    for word in words:
        options.add_argument(word)
    options.accept_insecure_certs = True
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver") or ""))
    try:
        site = f"https://127.0.0.1:{port}"
        driver.get(f"{site}/sign-in")
        driver.find_element(By.NAME, "username").send_keys(username)
        driver.find_element(By.NAME, "password").send_keys(password)
        driver.find_element(By.CSS_SELECTOR, "main form button[type=submit]").click()
        time.sleep(2)
        first = _received(driver, site)
        driver.get(f"{site}/activity")
        driver.find_element(By.NAME, "reason").send_keys("Weekly check")
        driver.find_element(By.CSS_SELECTOR, "main form button[type=submit]").click()
        heaviest = 0
        for path in LATER:
            driver.get(site + path)
            time.sleep(0.5)
            heaviest = max(heaviest, _received(driver, site))
        return first, heaviest
    finally:
        driver.quit()


def _received(driver: webdriver.Chrome, site: str) -> int:
    """Return the octets that ``site`` has sent since the last call; the browser loads pages of its own too."""
    ours: set[str] = set()
    octets = 0
    for entry in driver.get_log("performance"):  # type: ignore[no-untyped-call]  # selenium has types elsewhere
        event = json.loads(entry["message"])["message"]
        its = event["params"]
        if event["method"] == "Network.responseReceived" and its["response"]["url"].startswith(
            site
        ):
            ours.add(its["requestId"])
        elif event["method"] == "Network.loadingFinished" and its["requestId"] in ours:
            octets += int(its["encodedDataLength"])
    return octets
