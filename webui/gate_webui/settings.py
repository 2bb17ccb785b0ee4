"""What the pages are handed by the wiring."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from gate_core.config import WebConfig
from gate_core.desk import Desk, PanelButtons
from gate_core.ports import Clock
from gate_webui.codes import Codes


@dataclass(frozen=True, slots=True)
class Services:
    """Whom the pages ask."""

    desk: Desk
    panel: PanelButtons
    clock: Clock
    codes: Codes = field(default_factory=Codes)
    """Those that block pages have shown."""
    block_desk: Desk | None = None
    """The desk once more, for the block page: giving up after about 2 s, because pupils wait for it. None: ``desk``."""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Where the pages are served, and for how long somebody stays signed in."""

    folder: Path
    """Holds what must outlive a restart: the key that signs cookies, and the certificate with its key. It exists."""
    addresses: tuple[str, ...] = ()
    """The appliance's own addresses, for the certificate."""
    listen: tuple[str, ...] = ("0.0.0.0", "::")  # noqa: S104  # staff reach it from any device
    """Addresses to listen on."""
    port: int = 8443
    """HTTPS port of the coordinator's pages."""
    block_page_port: int = 80
    """HTTP port of the block page."""
    names: tuple[str, ...] = ("schoolgate.local", "schoolgate")
    """Names of the appliance, besides its addresses and ``localhost``; requests for other names are refused."""
    idle_s: float = 3600.0
    """A session ends after so long without a page being asked for; what a page polls does not count."""
    session_s: float = 12 * 3600.0
    """A session ends so long after it began, whatever happens."""

    @classmethod
    def of(
        cls,
        config: WebConfig,
        folder: Path,
        addresses: Iterable[IPv4Address | IPv6Address | None] = (),
    ) -> WebSettings:
        """Return the settings that ``config`` asks for; addresses that are None are passed over."""
        return cls(
            folder,
            tuple(str(address) for address in addresses if address),
            listen=config.listen,
            port=config.port,
            block_page_port=config.block_page_port,
        )
