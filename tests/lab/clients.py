"""What the laboratory's people use: curl, dig, openssl and Chromium, run on one of its hosts."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from laboratory import HERE, INSIDE, Laboratory
from relay import relay
from selenium import webdriver
from selenium.webdriver.chrome.options import Options

DRIVER_PORT = 9515


@dataclass(frozen=True, slots=True)
class Page:
    """What curl got."""

    status: int
    """HTTP status; 0 where no answer came."""
    body: str
    fault: int
    """curl's exit status: 0 for none, 6 name not resolved, 7 refused, 28 timed out, 35 or 56 cut off."""


def curl(lab: Laboratory, host: str, url: str, *options: str, deadline_s: float = 8) -> Page:
    """Fetch ``url`` with curl."""
    form = ["curl", "-sS", "--max-time", f"{deadline_s:g}", "-w", "\n%{http_code}"]
    done = lab.run(host, [*form, *options, url], timeout_s=deadline_s + 10)
    body, _, status = done.stdout.rpartition("\n")
    return Page(int(status or 0), body, done.returncode)


@dataclass(frozen=True, slots=True)
class Answer:
    """What dig got."""

    status: str
    """RCODE by name; "" where no response came."""
    data: tuple[str, ...]
    """RDATA of the answer section."""
    ttls: tuple[int, ...]
    ede: tuple[str, ...]
    """Each INFO-CODE with its text, as dig prints it."""


def dig(lab: Laboratory, host: str, name: str, kind: str = "A", *options: str) -> Answer:
    """Ask for ``name`` with dig; ``options`` such as ``@198.51.100.53`` or ``+tcp``."""
    text = lab.run(host, ["dig", "+tries=1", "+time=4", *options, name, kind]).stdout
    status = re.search(r"status: (\w+)", text)
    section = text.partition(";; ANSWER SECTION:\n")[2].partition("\n\n")[0]
    records = [line.split(None, 4) for line in section.splitlines()]
    return Answer(
        status[1] if status else "",
        tuple(r[4] for r in records),
        tuple(int(r[1]) for r in records),
        tuple(re.findall(r"^; EDE: (.*)$", text, re.MULTILINE)),
    )


def segmented_tls(
    lab: Laboratory, host: str, address: str, name: str, octets: int, *cut: str
) -> str:
    """Make a TLS request whose every write travels in segments of ``octets``; return status line, ``cut`` or ``timeout``.

    The hello is in several records where there is a ``cut``, one of ``segments.CUTS``.
    """
    argv = [sys.executable, str(HERE / "segments.py"), address, name, str(octets), *cut]
    return lab.run(host, argv).stdout.strip()


def openssl(
    lab: Laboratory, host: str, address: str, name: str, *options: str, port: int = 443
) -> str:
    """Connect with openssl s_client and ask for ``/``; return all that it printed."""
    target = f"[{address}]" if ":" in address else address
    request = f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
    argv = [
        "openssl",
        "s_client",
        "-connect",
        f"{target}:{port}",
        "-servername",
        name,
        "-ign_eof",
        *options,
    ]
    done = lab.run(host, ["timeout", "10", *argv], input=request)
    return done.stdout + done.stderr


@contextmanager
def chromium(
    lab: Laboratory,
    host: str,
    *flags: str,
    any_certificate: bool = False,
    quic_key: str = "",
) -> Iterator[webdriver.Remote]:
    """Run a headless Chromium with an empty profile on ``host``.

    Args:
        lab: The laboratory.
        host: Whose browser it is.
        flags: Further options of its command line.
        any_certificate: Whether self-signed certificates pass, as for the appliance's own pages.
        quic_key: Hash of the key of a server that it trusts by QUIC; "" for no QUIC.
    """
    profile = INSIDE / "tmp" / f"chromium-{host}"
    options = Options()
    trusted = lab.path(INSIDE / "leaf.spki").read_text()
    for flag in (
        "--headless=new",
        "--no-sandbox",  # its own namespaces are not to be had within ours
        "--disable-gpu",
        *([] if quic_key else ["--disable-quic"]),
        *flags,
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
        f"--ignore-certificate-errors-spki-list={trusted},{quic_key}",
    ):
        options.add_argument(flag)
    options.accept_insecure_certs = any_certificate
    driver = lab.popen(host, ["chromedriver", f"--port={DRIVER_PORT}"], log=f"chromedriver-{host}")
    try:
        lab.wait_for(
            lambda: "started successfully" in lab.log(f"chromedriver-{host}"), "ChromeDriver", 20
        )
        port = relay(lab, host, DRIVER_PORT)
        browser = webdriver.Remote(f"http://127.0.0.1:{port}", options=options)
        try:
            browser.set_page_load_timeout(20)
            yield browser
        finally:
            browser.quit()
    finally:
        driver.terminate()
        driver.wait(10)
        lab.run(host, ["rm", "-rf", str(profile)])
        lab.path(INSIDE / "log" / f"chromedriver-{host}").unlink()
