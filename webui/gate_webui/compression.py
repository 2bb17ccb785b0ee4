"""Answers made smaller (RFC 1952), where that tells nobody what is in them.

A page that another site had the browser ask for is left as it is: its length would tell whether what that site put into
the question is in the page too.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Final

from flask import Response, request

_LEAST_OCTETS: Final = 1_000
_LEVEL: Final = 5
"""Beyond it a page takes twice as long and is a fiftieth smaller."""
_OWN: Final = frozenset(("same-origin", "none"))
"""Who had the browser ask (``Sec-Fetch-Site``): one of our pages, or the person."""


def compress_with(static: Path) -> Callable[[Response], Response]:
    """Return what makes a response smaller; the files in ``static`` have been made so already."""
    files = {path.name: gzip.compress(path.read_bytes(), 9, mtime=0) for path in static.iterdir()}

    def compress(response: Response) -> Response:
        if response.status_code != 200 or "Content-Encoding" in response.headers:
            return response
        if request.endpoint == "static":
            octets = files.get((request.view_args or {}).get("filename", ""), b"")
        elif response.mimetype == "text/html" and not response.is_streamed:
            octets = b""
            if request.headers.get("Sec-Fetch-Site") in _OWN:
                octets = _packed(response.get_data())
        else:
            return response
        response.vary.add("Accept-Encoding")
        if octets and request.accept_encodings["gzip"]:
            response.close()
            response.direct_passthrough = False
            response.set_data(octets)
            response.headers["Content-Encoding"] = "gzip"
        return response

    return compress


def _packed(page: bytes) -> bytes:
    return gzip.compress(page, _LEVEL, mtime=0) if len(page) >= _LEAST_OCTETS else b""
