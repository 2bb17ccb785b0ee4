"""Somebody at a browser: signed in, over one TLS connection, as far as the time of an answer is concerned."""

from __future__ import annotations

import gzip
import http.client
import re
import ssl
import time
from http.cookies import SimpleCookie
from typing import Final
from urllib.parse import urlencode

_TOKEN: Final = re.compile(r'name="csrf_token" type="hidden" value="([^"]+)"')
_TIMEOUT_S: Final = 30.0


class UnexpectedAnswerError(Exception):
    """A page did not come as it should; the message says which."""


class Browser:
    """Asks for pages, keeps cookies."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._port = port
        self._connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=_TIMEOUT_S, context=context, source_address=(source, 0)
        )
        self._cookies: dict[str, str] = {}

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def get(self, path: str) -> tuple[float, str]:
        """Return the seconds until a page was there whole, and the page.

        Raises:
            UnexpectedAnswerError: It was another page, or none.
        """
        began = time.perf_counter()
        status, text = self._ask("GET", path, "")
        took = time.perf_counter() - began
        if status != http.HTTPStatus.OK:
            raise UnexpectedAnswerError(f"{path} gives {status}")
        return took, text

    def sign_in(self, username: str, password: str, reason: str) -> None:
        """Sign in, and say why to look at activity."""
        self._send("/sign-in", "/sign-in", {"username": username, "password": password})
        self._send("/activity", "/activity/reason", {"reason": reason, "next": "/activity"})

    def _send(self, page: str, target: str, fields: dict[str, str]) -> None:
        found = _TOKEN.search(self.get(page)[1])
        if found is None:
            raise UnexpectedAnswerError(f"{page} has no form")
        status, _ = self._ask("POST", target, urlencode(fields | {"csrf_token": found[1]}))
        if status != http.HTTPStatus.FOUND:
            raise UnexpectedAnswerError(f"{target} gives {status}")

    def _exchange(
        self, method: str, path: str, body: str, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, str]:
        def ask() -> tuple[http.client.HTTPResponse, str]:
            self._connection.request(method, path, body or None, headers)
            response = self._connection.getresponse()
            octets = response.read()
            if response.headers["Content-Encoding"] == "gzip":
                octets = gzip.decompress(octets)
            return response, octets.decode()

        try:
            return ask()
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            # It had been idle for long: a browser opens another, and nobody notices.
            self._connection.close()
            return ask()

    def _ask(self, method: str, path: str, body: str) -> tuple[int, str]:
        address = f"https://127.0.0.1:{self._port}"
        headers = {"Accept-Encoding": "gzip", "Sec-Fetch-Site": "same-origin"}
        headers |= {"Cookie": "; ".join(f"{k}={v}" for k, v in self._cookies.items())}
        if body:
            headers |= {
                "Content-Type": "application/x-www-form-urlencoded",
                "Referer": f"{address}/",
            }
        try:
            response, text = self._exchange(method, path, body, headers)
        except (OSError, http.client.HTTPException) as e:
            self._connection.close()
            raise UnexpectedAnswerError(f"{path}: {type(e).__name__}: {e}") from e
        for value in response.headers.get_all("Set-Cookie") or ():
            self._cookies |= {name: morsel.value for name, morsel in SimpleCookie(value).items()}
        return response.status, text
