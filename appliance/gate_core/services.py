"""The services a school switches in one click: names and protocols together, one bit each.

A service's place is its bit in snapshots and audit records: entries are added at the end, never moved; at most 64.

Names are those that belong to the service alone. A content network that carries many sites (Akamai, CloudFront,
Fastly, Azure, ``googleapis.com`` as a whole) is never among them: the service stops without its own names.
BBC iPlayer is no entry: its programmes come from the names that BBC Bitesize comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from gate_core import categories


@dataclass(frozen=True, slots=True)
class Service:
    """One service as people know it."""

    id: str
    title: str
    names: frozenset[str]
    """Name rules in the form of ``names.parse_rule``."""
    protocols: tuple[str, ...]
    """Ids of the protocols that are its own, whatever the name."""
    categories: tuple[str, ...]
    """Ids of the categories that lists sort it into; none where no category fits."""


def _service(
    id_: str, title: str, categories: tuple[str, ...], names: str, protocols: tuple[str, ...] = ()
) -> Service:
    return Service(id_, title, frozenset(names.split()), protocols, categories)


_SOCIAL: Final = ("social-media",)
_MESSAGING: Final = ("messaging",)
_GAMES: Final = ("games",)
_AI: Final = ("ai-chat",)
_VIDEO: Final = ("video",)
_SHOPPING: Final = ("shopping",)
_FILES: Final = ("file-sharing",)
_STRANGERS: Final = ("anonymous-chat",)

SERVICES: Final[tuple[Service, ...]] = (
    # byteoversea.com also carries ByteDance's other apps, such as CapCut.
    _service(
        "tiktok",
        "TikTok",
        ("social-media", "video"),
        "tiktok.com tiktokv.com tiktokv.eu tiktokw.eu tiktokcdn.com tiktokcdn-eu.com tiktokcdn-us.com ttlivecdn.com"
        " muscdn.com musical.ly byteoversea.com",
    ),
    _service(
        "snapchat",
        "Snapchat",
        ("social-media", "messaging"),
        "snapchat.com snap.com sc-cdn.net sc-static.net sc-gw.com sc-jpl.com snapkit.com snapads.com bitmoji.com",
    ),
    _service("whatsapp", "WhatsApp", _MESSAGING, "whatsapp.com whatsapp.net wa.me"),
    _service(
        "discord",
        "Discord",
        ("social-media", "messaging"),
        "discord.com discord.gg discord.media discord.gift discordapp.com discordapp.net discordcdn.com discordsays.com",
    ),
    _service("roblox", "Roblox", _GAMES, "roblox.com rbxcdn.com rbx.com rbxinfra.com"),
    _service(
        "fortnite", "Fortnite and Epic Games", _GAMES, "epicgames.com epicgames.dev fortnite.com"
    ),
    # Minecraft Education (education.minecraft.net) goes with it; signing in needs names of Xbox.
    _service(
        "minecraft",
        "Minecraft",
        _GAMES,
        "minecraft.net minecraftservices.com minecraft-services.net mojang.com",
    ),
    _service("chatgpt", "ChatGPT", _AI, "chatgpt.com openai.com oaistatic.com oaiusercontent.com"),
    # Inside Google's other pages Gemini has no name of its own; gemini.com is a stranger to it.
    _service("gemini", "Google Gemini", _AI, "gemini.google.com gemini.google bard.google.com"),
    _service(
        "copilot",
        "Microsoft Copilot",
        _AI,
        "copilot.microsoft.com copilot.cloud.microsoft copilot.com sydney.bing.com",
    ),
    _service("character-ai", "Character.AI", _AI, "character.ai c.ai"),
    # Some of its pictures come from fbcdn.net, which is with Facebook: blocked here, Facebook would lose its own.
    _service("instagram", "Instagram", _SOCIAL, "instagram.com cdninstagram.com instagr.am ig.me"),
    # fbcdn.net also carries Messenger and Instagram, facebook.net the buttons that other sites show.
    _service(
        "facebook",
        "Facebook",
        _SOCIAL,
        "facebook.com facebook.net fb.com fb.me fb.watch fbcdn.net fbsbx.com",
    ),
    _service("x", "X (Twitter)", _SOCIAL, "x.com twitter.com twimg.com t.co"),
    # Signs in by instagram.com, which stays open here.
    _service("threads", "Threads", _SOCIAL, "threads.net threads.com"),
    _service("reddit", "Reddit", _SOCIAL, "reddit.com redd.it redditstatic.com redditmedia.com"),
    _service("pinterest", "Pinterest", _SOCIAL, "pinterest.com pinterest.co.uk pinimg.com pin.it"),
    _service("bereal", "BeReal", _SOCIAL, "bereal.com bere.al bereal.network"),
    _service("twitch", "Twitch", ("video", "games"), "twitch.tv ttvnw.net jtvnw.net twitchcdn.net"),
    # YouTube Kids plays from the same names. Of Google's shared names only the two that are YouTube's own are here.
    _service(
        "youtube",
        "YouTube",
        _VIDEO,
        "youtube.com youtu.be youtube-nocookie.com youtubekids.com ytimg.com googlevideo.com"
        " youtube.googleapis.com youtubei.googleapis.com",
    ),
    _service(
        "netflix",
        "Netflix",
        _VIDEO,
        "netflix.com netflix.net nflxvideo.net nflximg.net nflxext.com nflxso.net",
    ),
    _service(
        "disney-plus", "Disney+", _VIDEO, "disneyplus.com disney-plus.net dssott.com bamgrid.com"
    ),
    _service(
        "spotify",
        "Spotify",
        (),  # no category is for music
        "spotify.com scdn.co spotifycdn.com spotifycdn.net spoti.fi",
    ),
    _service(
        "telegram",
        "Telegram",
        _MESSAGING,
        "telegram.org telegram.me t.me telegra.ph cdn-telegram.org telesco.pe",
    ),
    _service("signal", "Signal", _MESSAGING, "signal.org signal.art signal.me whispersystems.org"),
    # edge-chat.facebook.com is below facebook.com as well: blocked Facebook takes part of Messenger with it.
    _service("messenger", "Messenger", _MESSAGING, "messenger.com m.me edge-chat.facebook.com"),
    # Teams calls through names of Skype, which has no other use any more.
    _service(
        "teams",
        "Microsoft Teams",
        _MESSAGING,
        "teams.microsoft.com teams.live.com teams.cloud.microsoft skype.com lync.com",
    ),
    _service("zoom", "Zoom", _MESSAGING, "zoom.us zoom.com"),
    _service(
        "steam",
        "Steam",
        _GAMES,
        "steampowered.com steamcommunity.com steamstatic.com steamcontent.com steamusercontent.com steamserver.net"
        " steamgames.com steam-chat.com s.team",
    ),
    _service(
        "playstation",
        "PlayStation",
        _GAMES,
        "playstation.com playstation.net sonyentertainmentnetwork.com gaikai.com",
    ),
    # xboxlive.com also signs Minecraft in.
    _service(
        "xbox", "Xbox", _GAMES, "xbox.com xboxlive.com xboxab.com xboxservices.com gamepass.com"
    ),
    _service(
        "nintendo",
        "Nintendo",
        _GAMES,
        "nintendo.com nintendo.net nintendo.co.uk nintendo.eu nintendo-europe.com nintendowifi.net",
    ),
    _service("kik", "Kik", _MESSAGING, "kik.com"),
    _service(
        "stranger-chat",
        "Video chat with strangers (OmeTV, Monkey)",
        _STRANGERS,
        "ome.tv monkey.app monkey.cool omegle.com chatroulette.com chathub.cam emeraldchat.com camsurf.com azarlive.com",
    ),
    _service(
        "anonymous-questions",
        "Anonymous questions (NGL, Sendit)",
        _STRANGERS,
        "ngl.link getsendit.com tellonym.me ask.fm",
    ),
    # amazon.com also holds the pages of Amazon's cloud, whose customers' sites have other names (amazonaws.com).
    _service(
        "amazon",
        "Amazon",
        _SHOPPING,
        "amazon.co.uk amazon.com amzn.to amzn.eu media-amazon.com ssl-images-amazon.com images-amazon.com",
    ),
    _service("ebay", "eBay", _SHOPPING, "ebay.co.uk ebay.com ebayimg.com ebaystatic.com"),
    _service("shein", "Shein", _SHOPPING, "shein.com shein.co.uk"),
    _service("temu", "Temu", _SHOPPING, "temu.com kwcdn.com"),
    _service(
        "dropbox",
        "Dropbox",
        _FILES,
        "dropbox.com dropboxapi.com dropboxusercontent.com dropboxstatic.com db.tt",
    ),
    _service("wetransfer", "WeTransfer", _FILES, "wetransfer.com wetransfer.net we.tl"),
    # The whole web under other names. The translator for words, translate.google.com, stays.
    _service("translate-proxy", "Google Translate for whole sites", ("proxy",), "translate.goog"),
    _service("teamviewer", "TeamViewer", ("remote-desktop",), "teamviewer.com", ("teamviewer",)),
    _service("anydesk", "AnyDesk", ("remote-desktop",), "anydesk.com", ("anydesk",)),
    _service(
        "private-relay",
        "iCloud Private Relay",
        ("vpn",),
        "mask.icloud.com mask-h2.icloud.com mask-api.icloud.com mask-canary.icloud.com mask.apple-dns.net",
    ),
    _service(
        "vpn-apps",
        "VPN apps",
        ("vpn",),
        "nordvpn.com nordcdn.com expressvpn.com surfshark.com protonvpn.com privateinternetaccess.com"
        " cyberghostvpn.com windscribe.com tunnelbear.com hotspotshield.com mullvad.net ipvanish.com vyprvpn.com"
        " purevpn.com hide.me urban-vpn.com turbovpn.com psiphon.ca getlantern.org ultrasurf.us"
        " cloudflareclient.com tailscale.com zerotier.com",
        (
            "wireguard",
            "openvpn",
            "ipsec",
            "l2tp",
            "pptp",
            "sstp",
            "softether",
            "tailscale",
            "zerotier",
            "warp",
        ),
    ),
    _service(
        "bittorrent",
        "BitTorrent",
        ("peer-to-peer",),
        "bittorrent.com utorrent.com qbittorrent.org transmissionbt.com opentrackr.org openbittorrent.com",
        ("bittorrent",),
    ),
    _service("tor", "Tor", ("tor",), "torproject.org torproject.net", ("tor",)),
)
"""All services, in the order of their bits."""

BY_ID: Final = {service.id: service for service in SERVICES}

_BITS: Final = {service.id: 1 << place for place, service in enumerate(SERVICES)}


class ServiceIndex:
    """Names to the services whose rules cover them."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._bits: dict[str, int] = {}
        for place, service in enumerate(services):
            for rule in service.names:
                self._bits[rule] = self._bits.get(rule, 0) | 1 << place

    def mask(self, name: str) -> int:
        """Return the services of a canonical ``name``: the union over the name and all names above it."""
        bits = self._bits
        mask = bits.get("=" + name, 0)
        while name:
            mask |= bits.get(name, 0)
            _, _, name = name.partition(".")
        return mask


INDEX: Final = ServiceIndex(SERVICES)


def mask_of(ids: Iterable[str]) -> int:
    """Return the mask of the services named ``ids``.

    Raises:
        ValueError: An id is no service; the message lists those that are.
    """
    mask = 0
    for id_ in ids:
        if id_ not in _BITS:
            raise ValueError(f"{id_!r} is no service; allowed are {', '.join(sorted(_BITS))}")
        mask |= _BITS[id_]
    return mask


def in_mask(mask: int) -> Iterator[Service]:
    """Yield the services of a ``mask``, in the order of their bits; unknown bits are passed over."""
    return (service for service in SERVICES if mask & _BITS[service.id])


def categories_of(mask: int) -> int:
    """Return the mask of the categories that the services of a ``mask`` are in."""
    return categories.mask_of(id_ for service in in_mask(mask) for id_ in service.categories)


def of_protocol(id_: str) -> int:
    """Return the mask of the services that speak a protocol, whatever name they go by."""
    return sum(_BITS[service.id] for service in SERVICES if id_ in service.protocols)
