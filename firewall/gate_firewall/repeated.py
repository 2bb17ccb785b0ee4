"""What is looked at again and again, beside the packets, which must not wait for it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Repeated(ABC):
    """A thread that looks, rests and looks again, from entering the context to its end."""

    def __init__(self, name: str, every_s: float) -> None:
        """Do nothing yet.

        Args:
            name: Of the thread.
            every_s: How long it rests.
        """
        self._every_s = every_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self._closing.set()
        self._thread.join()

    @abstractmethod
    def look(self) -> None:
        """Look once; what it raises ends the thread."""

    def _run(self) -> None:
        while True:
            self.look()
            if self._closing.wait(self._every_s):
                return
