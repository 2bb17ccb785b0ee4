"""The long work on lists, in a process of its own: neither the steward's lock nor its interpreter waits for it.

``python -m gate_appliance.lists.work`` reads one job as JSON from its standard input and writes a line of JSON for each
step, and one at the end. Its memory goes back to the system with it. What is short is done where it is asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from gate_appliance.lists.formats import ListError

SHORT_OCTETS: Final = 1 << 20
"""Lists of so many octets together take less time than a process does to start."""

TOTAL_S: Final = 3600.0
"""No work on lists takes longer: five million names are read and compiled in half a minute of a fast core."""

NICE: Final = 10
"""Answers to pupils come before the work on lists."""

_TELL_EVERY_S: Final = 0.25

Progress = Callable[[str, int, int], None]
"""Is told the phase, how much of it is done, and of how much; 0 where that is not known."""

Job = Callable[..., dict[str, Any]]
"""A function of a module of this package; takes arguments in plain JSON types and ``progress``, returns plain JSON types."""


def silent(_phase: str, _done: int, _of: int) -> None:
    """Tell nobody."""


def run(
    job: Job, arguments: Mapping[str, Any], octets: int, progress: Progress = silent
) -> dict[str, Any]:
    """Do ``job``, in a process of its own where it is long.

    Args:
        job: A function of this package.
        arguments: In plain JSON types.
        octets: How much it reads.
        progress: Is told how far it is.

    Raises:
        ListError, OSError: As the job does; also where its process ends before it has done.
        TimeoutError: It took longer than ``TOTAL_S``, and was ended.
    """
    if octets <= SHORT_OCTETS:
        return job(**arguments, progress=progress)
    return Worker().run(job, arguments, progress, TOTAL_S)


class _GoneError(OSError):
    """The process ended without saying what came of its job."""


class Worker:
    """A process for one job, which another thread may end."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()

    def end(self) -> None:
        """End the job; whoever waits for it gets an ``InterruptedError``."""
        self._ended.set()
        if self._process:
            self._process.kill()

    def run(
        self,
        job: Job,
        arguments: Mapping[str, Any],
        progress: Progress = silent,
        total_s: float | None = None,
    ) -> dict[str, Any]:
        """Do ``job``; see ``run``.

        Raises:
            TimeoutError: It took longer than ``total_s``, and was ended.
        """
        order = {"module": job.__module__, "job": job.__name__, "arguments": dict(arguments)}
        with subprocess.Popen(  # noqa: S603  # our own program, by its full path
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        ) as process:
            self._process = process
            deadline = threading.Timer(total_s, process.kill) if total_s else None
            try:
                if deadline:
                    deadline.start()
                if self._ended.is_set():
                    raise InterruptedError("the work on lists was ended")
                return self._hear(process, order, progress)
            except _GoneError as e:
                if self._ended.is_set():
                    raise InterruptedError("the work on lists was ended") from e
                if deadline and deadline.finished.is_set():
                    raise TimeoutError(f"not there after {total_s:.0f} seconds") from e
                raise
            finally:
                if deadline:
                    deadline.cancel()
                process.kill()

    def _hear(
        self, process: subprocess.Popen[bytes], order: dict[str, Any], progress: Progress
    ) -> dict[str, Any]:
        assert process.stdin is not None  # noqa: S101  # a pipe was asked for
        assert process.stdout is not None  # noqa: S101
        # Where it has ended already, what it wrote, if anything, says why.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(order).encode())
            process.stdin.close()
        for line in process.stdout:
            if not line.endswith(b"\n"):
                break
            match json.loads(line):
                case {"progress": [str(phase), int(done), int(of)]}:
                    progress(phase, done, of)
                case {"done": dict(result)}:
                    return result
                case {"refused": str(text)}:
                    raise ListError(text)
                case {"fault": [number, str(text)]}:
                    raise OSError(number, text) if number else OSError(text)
        raise _GoneError(f"the work on lists ended with {process.wait()} before it was done")


def main() -> None:
    """Do the one job that comes in."""
    os.nice(NICE)
    order = json.load(sys.stdin)
    job: Job = getattr(importlib.import_module(order["module"]), order["job"])
    told_at = 0.0
    told = ""

    def progress(phase: str, done: int, of: int) -> None:
        nonlocal told_at, told
        if phase != told or time.monotonic() - told_at >= _TELL_EVERY_S:
            told_at, told = time.monotonic(), phase
            _say({"progress": [phase, done, of]})

    try:
        _say({"done": job(**order["arguments"], progress=progress)})
    except ListError as e:
        _say({"refused": str(e)})
    except OSError as e:
        _say({"fault": [e.errno, e.strerror or str(e)]})
    except MemoryError:
        _say({"fault": [None, "not enough memory"]})


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    # A pipe that nobody reads any more ends this process: the steward is gone.
    sys.stdout.flush()


if __name__ == "__main__":
    main()
