"""``make demo``: what it prints works, and however it ends it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from laboratory import HERE
from leftovers import footprint, members, wait_for_end, wait_for_footprint
from sites import ALLOWED, BLOCKED

# A name of its own, so that a demo somebody watches is left alone.
os.environ["SCHOOLGATE_DEMO"] = "demo-of-a-test"
DEMO = [sys.executable, str(HERE / "demo.py")]
NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
START_S = 60


@contextmanager
def demo(prefix: Sequence[str] = ()) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the demo until its last line is printed; yield its process and all that it printed."""
    process = subprocess.Popen(
        [*prefix, *DEMO],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    # A demo that hangs must fail the test, not hold it up.
    alarm = threading.Timer(START_S, process.kill)
    alarm.start()
    try:
        assert process.stdout
        text = ""
        for line in process.stdout:
            text += line
            if "Ctrl-C ends it" in line:
                alarm.cancel()
                break
        assert "Ctrl-C ends it" in text, text
        yield process, text
    finally:
        alarm.cancel()
        process.kill()
        process.communicate()


def run(*words: str, prefix: Sequence[str] = ()) -> str:
    done = subprocess.run(
        [*prefix, *DEMO, *words], capture_output=True, text=True, check=False, timeout=30
    )
    return done.stdout + done.stderr


def keeper_of(prefix: Sequence[str] = ()) -> int:
    code = f"import sys; sys.path.insert(0, {str(HERE)!r}); from laboratory import running; print(running('demo-of-a-test'))"
    return int(subprocess.check_output([*prefix, sys.executable, "-c", code], text=True))


@pytest.mark.parametrize(
    ("prefix", "number"),
    [
        pytest.param([], signal.SIGINT, id="SIGINT"),
        pytest.param([], signal.SIGTERM, id="SIGTERM"),
        pytest.param([], signal.SIGKILL, id="SIGKILL"),
        pytest.param(NOBODY, signal.SIGINT, id="SIGINT without root"),
    ],
)
def test_demo_works_and_leaves_nothing(
    namespaces: None, prefix: list[str], number: signal.Signals
) -> None:
    if prefix and os.getuid() != 0:
        pytest.skip("the other cases ran without root already")
    before = footprint()
    with demo(prefix) as (process, text):
        url, code = re.search(r"(https://127\.0\.0\.1:\d+)/first-run\?code=(\S+)", text).groups()
        page = subprocess.check_output(
            ["curl", "-ksS", "--noproxy", "*", f"{url}/first-run?code={code}"],
            text=True,
            timeout=30,
        )
        assert "coordinator" in page
        assert f"This is {ALLOWED}" in run(
            "exec", "laptop", "--", "curl", "-s", f"http://{ALLOWED}", prefix=prefix
        )
        blocked = run("exec", "laptop", "--", "curl", "-s", f"http://{BLOCKED}", prefix=prefix)
        assert BLOCKED in blocked
        assert f"This is {BLOCKED}" not in blocked
        assert "filtering (inline, policy" in run(
            "exec", "box", "--", "gate", "status", prefix=prefix
        )
        pids = members(keeper_of(prefix))
        process.send_signal(number)
        process.wait(30)
    wait_for_end(pids)
    wait_for_footprint(before)


def test_exec_without_a_demo_says_how_to_start_one() -> None:
    said = run("exec", "laptop", "--", "true")
    assert "no demo" in said
    assert "make demo" in said
