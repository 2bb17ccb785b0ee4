"""Measure the coordinator's pages over a month's record of a busy school, and the name service beside them.

The whole appliance runs on loopback, in a network of its own (as root). The last line says the slowest page and the slowest
search, each at its 95th percentile, and what the first visit weighs.
"""

from __future__ import annotations

import argparse
import math
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import dns.exception
import dns.message
import dns.query

from bench.processes import enter_own_network, free_port, running
from bench.servers import build_floor
from bench_web.browser import Browser, UnexpectedAnswerError
from bench_web.school import (
    ABSENT,
    COMMON,
    PASSWORD,
    RARE,
    USERNAME,
    config_text,
    fill_log,
    mac_of,
    make_school,
)
from bench_web.weight import first_and_later

PAGES: Final = (
    *("/", "/acceptable-use", "/acceptable-use/ks2", "/exceptions", "/direct", "/times", "/lists"),
    *(
        "/policy-text",
        "/proposals",
        "/devices",
        "/network-places",
        "/people",
        "/accounts",
        "/holds",
    ),
    *("/activity", "/usage", "/usage/week", "/why", "/record", "/cannot-see"),
)
FLOOR: Final = "/cannot-see"
"""Nobody is asked for anything: what signing, TLS and the menu cost."""
SEARCHES: Final = {
    "a device": {"device": mac_of(17)},
    "a person": {"person": "p-4"},
    "a group": {"group": "ks2"},
    "what was blocked": {"action": "block"},
    "a category": {"category": "gambling"},
    "a common part of a name": {"text": COMMON},
    "a rare part of a name": {"text": RARE},
    "no name at all": {"text": ABSENT},
    "an address": {"text": "203.0.7.77"},
    "a rare name in a group that never asked": {"group": "infrastructure", "text": RARE},
    "a device and what was blocked": {"device": mac_of(17), "action": "block"},
}
SLOW: Final = f"/activity?{urlencode({'text': ABSENT})}"
"""A search that looks at everything."""
USERS, THINK_S = 50, 2.0
_PER_ADDRESS: Final = 10
"""Users of one address: the box lets one address have so many connections only."""


def main() -> None:
    """Measure and print."""
    options = _options()
    enter_own_network(())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gate")))
        port, dns_port = free_port(), free_port()
        began = time.perf_counter()
        make_school(folder, options.devices)
        fill_log(folder, options.rows, options.devices)
        size = sum(path.stat().st_size for path in (folder / "state/activity").iterdir())
        _say(
            f"{options.rows:,} decisions of {options.devices} devices, {size / 1e6:,.0f} MB,"
            f" written in {time.perf_counter() - began:.0f} s"
        )
        stack.enter_context(_appliance(folder, port, dns_port))
        _measure(port, dns_port, options, folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench_web", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rows", type=int, default=10_000_000, help="decisions in the record")
    parser.add_argument("--devices", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=30, help="how often each page is asked for")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the work of many")
    return parser.parse_args()


@contextmanager
def _appliance(folder: Path, port: int, dns_port: int) -> Iterator[None]:
    """Run the whole appliance until both services answer."""
    upstream = free_port()
    config = folder / "schoolgate.toml"
    config.write_text(
        config_text(folder, port=port, block_port=free_port(), dns_port=dns_port, upstream=upstream)
    )
    log = folder / "log"
    command = [sys.executable, "-m", "gate_appliance", "up", "--config", str(config)]
    with running([str(build_floor(folder)), str(upstream)], folder / "upstream.log"):
        process = subprocess.Popen(command, stdout=log.open("ab"), stderr=subprocess.STDOUT)  # noqa: S603  # our own words
        try:
            _wait_until(lambda: _looked_up(dns_port, "ready.example") < 1, log)
            _wait_until(lambda: Browser(port).get("/sign-in")[0] > 0, log)
            yield
        finally:
            process.terminate()
            process.wait(30)


def _wait_until(ready: Callable[[], bool], log: Path) -> None:
    for _ in range(300):
        try:
            if ready():
                return
        except (UnexpectedAnswerError, dns.exception.Timeout, OSError):
            pass
        time.sleep(0.2)
    raise SystemExit(f"the appliance does not answer:\n{log.read_text()[-2000:]}")


def _measure(port: int, dns_port: int, options: argparse.Namespace, folder: Path) -> None:
    with closing(Browser(port)) as browser:
        browser.sign_in(USERNAME, PASSWORD, "Weekly check")
        pages = {path: [browser.get(path)[0] for _ in range(options.rounds)] for path in PAGES}
        _say("\npage                                       p50 ms  p95 ms")
        for path, took in pages.items():
            _say(f"{path:42} {_ms(statistics.median(took)):6} {_ms(_p95(took)):7}")
        searches = {
            words: [
                browser.get(f"/activity?{urlencode(asked)}")[0] for _ in range(options.rounds // 3)
            ]
            for words, asked in SEARCHES.items()
        }
        _say("\nsearch                                     p50 ms  p95 ms")
        for words, took in searches.items():
            _say(f"{words:42} {_ms(statistics.median(took)):6} {_ms(_p95(took)):7}")
    _many(port, options.seconds)
    _beside_dns(port, dns_port, options.seconds)
    first, later = first_and_later(port, folder, USERNAME, PASSWORD)
    _say(f"\nfirst visit {first / 1000:.0f} KB, later pages {later / 1000:.0f} KB at most")
    floor = statistics.median(pages[FLOOR])
    page, search = (max(map(_p95, its.values())) for its in (pages, searches))
    _say(f"slowest page {page / floor:.1f} times the page that asks for nothing")
    _say(
        f"web: page p95 {_ms(page)} ms, search p95 {_ms(search)} ms, first visit {first / 1000:.0f} KB"
    )


def _many(port: int, seconds: float) -> None:
    """Have ``USERS`` people use the pages at once, each with a moment's thought between two."""
    browsers = []
    for number in range(USERS):
        browser = Browser(port, f"127.0.1.{1 + number // _PER_ADDRESS}")
        browser.sign_in(USERNAME, PASSWORD, "Weekly check")
        browsers.append(browser)
    took: list[float] = []
    faults: list[str] = []
    end = time.monotonic() + seconds

    def use(number: int, browser: Browser) -> None:
        step = 0
        while time.monotonic() < end:
            try:
                took.append(browser.get(PAGES[(number + step) % len(PAGES)])[0])
            except UnexpectedAnswerError as e:
                faults.append(str(e))
            step += 1
            time.sleep(THINK_S * (0.5 + (number * 7 + step) % 10 / 10))

    threads = [
        threading.Thread(target=use, args=(number, browser))
        for number, browser in enumerate(browsers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for browser in browsers:
        browser.close()
    _say(
        f"\n{USERS} people at once: {len(took)} pages in {seconds:.0f} s, p50 {_ms(statistics.median(took))} ms,"
        f" p95 {_ms(_p95(took))} ms, {len(faults)} errors"
    )
    for fault in sorted(set(faults))[:5]:
        _say(f"  {fault}")


def _beside_dns(port: int, dns_port: int, seconds: float) -> None:
    """Look names up without and with slow searches beside, in turns, so that both have the same machine."""
    alone: list[float] = []
    beside: list[float] = []
    searched: list[float] = []
    with ExitStack() as stack:
        browsers = [stack.enter_context(closing(Browser(port))) for _ in range(2)]
        for browser in browsers:
            browser.sign_in(USERNAME, PASSWORD, "Weekly check")
        turns = 6
        for turn in range(turns):
            stop = threading.Event()

            def search(browser: Browser, stop: threading.Event = stop) -> None:
                while not stop.is_set():
                    searched.append(browser.get(SLOW)[0])

            threads = [threading.Thread(target=search, args=(b,)) for b in browsers]
            if turn % 2:
                for thread in threads:
                    thread.start()
            (beside if turn % 2 else alone).extend(_look_up(dns_port, seconds / turns, turn))
            stop.set()
            if turn % 2:
                for thread in threads:
                    thread.join()
    _say(
        f"\nlook-ups alone: p50 {_ms(statistics.median(alone))} ms, p99 {_ms(_p99(alone))} ms;"
        f" beside {len(searched)} slow searches (p50 {_ms(statistics.median(searched))} ms):"
        f" p50 {_ms(statistics.median(beside))} ms, p99 {_ms(_p99(beside))} ms"
    )


def _look_up(dns_port: int, seconds: float, turn: int) -> list[float]:
    """Look up names that nobody has asked for, 100 a second; return how long each took."""
    took: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        took.append(_looked_up(dns_port, f"n{turn}-{len(took)}.example"))
        time.sleep(max(0, began + 0.01 - time.monotonic()))
    return took


def _looked_up(dns_port: int, name: str) -> float:
    query = dns.message.make_query(name, "A", use_edns=False)
    began = time.perf_counter()
    dns.query.udp(query, "127.0.0.1", timeout=2, port=dns_port)
    return time.perf_counter() - began


def _p95(took: Sequence[float]) -> float:
    return sorted(took)[math.ceil(len(took) * 0.95) - 1]


def _p99(took: Sequence[float]) -> float:
    return sorted(took)[math.ceil(len(took) * 0.99) - 1]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}" if seconds < 0.0995 else f"{seconds * 1000:.0f}"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
