"""For every test: what is skipped on the machine that decides (``CI=true``) has failed; nothing waits for no purpose."""

import contextlib
import gc
import os
import secrets
import shutil
import socket
import socketserver
import tempfile
from pathlib import Path

import pytest

# The only thing that a checkout may lack there.
ALLOWED = "../shared is absent"

# How long a server of socketserver waits before it looks whether it is to end; by itself half a second.
SERVER_LOOKS_S = 0.01
serve_forever = socketserver.BaseServer.serve_forever

# Below those that the kernel gives to whoever asks for any (``ip_local_port_range``): what has been found free stays so.
PORTS = range(10_000, 32_000)


def pytest_configure():
    socketserver.BaseServer.serve_forever = lambda server, _=0.5: serve_forever(
        server, SERVER_LOOKS_S
    )


def pytest_collection_finish():
    freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    if nextitem is not None and nextitem.path != item.path:
        freeze()


def freeze():
    """Collect what is garbage; what is left stays, and the collector, which some tests call, need not look at it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    elsewhere = item.get_closest_marker("image") or item.get_closest_marker("pi")
    return report if elsewhere else hold(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return hold((yield))


def hold(report):
    """Turn a skip into a failure, where it counts."""
    expected = hasattr(report, "wasxfail")
    if os.environ.get("CI") == "true" and report.skipped and not expected:
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(ALLOWED):
            report.outcome = "failed"
            report.longrepr = f"skipped, and with CI=true nothing may be: {reason}"
    return report


@pytest.fixture(scope="session")
def free_port():
    """Return a port that is free for UDP and TCP on all addresses given, or on 127.0.0.1."""
    return find_port


def find_port(*addresses: str) -> int:
    for _ in range(50):
        port = secrets.choice(PORTS)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for address in addresses or ("127.0.0.1",):
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    probe = stack.enter_context(socket.socket(family, kind))
                    if family == socket.AF_INET6:
                        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    probe.bind((address, port))
            return port
    raise AssertionError("no port is free")


@pytest.fixture
def short_path():
    """A directory whose name is short: those of unix sockets have 107 octets at most (unix(7))."""
    path = Path(tempfile.mkdtemp(prefix="gate"))
    yield path
    shutil.rmtree(path)
