"""Fetch a web page as text an agent can read, from public addresses only."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from everystep.core.acts import Effect, Risk
from everystep.core.errors import ToolError
from everystep.tools.function import tool_of
from everystep.tools.pump import talk
from everystep.tools.tool import Tool

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Finds the IP addresses of a host and a port."""

_PAGE = Path(__file__).with_name("page.py")
_TEXT = ("text/", "application/json", "application/xml", "application/xhtml+xml", "application/rss+xml")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_MOVED = frozenset({301, 302, 303, 307, 308})


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the IP addresses that the system's resolver gives for ``host``."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(one[4][0]) for one in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebRules:
    """Where pages may be fetched from, and how much of them.

    ``only`` are the hosts that may be asked, ``None`` for all public ones; ``local`` are ``host:port`` that may be asked although
    their address is private. ``redirects`` are followed, each under the same rules. ``read_s`` is the time to turn a page into text.
    """

    only: tuple[str, ...] | None = None
    local: tuple[str, ...] = ()
    max_bytes: int = 2_000_000
    redirects: int = 5
    timeout_s: float = 30.0
    read_s: float = 15.0
    user_agent: str = "everystep (agent)"
    resolve: Resolve = resolve


def web_tool(rules: WebRules | None = None, *, name: str = "fetch", max_output_chars: int = 20_000) -> Tool:
    """Return a tool that fetches an http or https page as Markdown, other text as it is.

    The host is resolved once, every address is checked, and the connection goes to the address that was checked. No cookies, no
    proxy, no credentials. It only reads, but an address can carry what it should not, so its risk is low, not none.
    """
    kept = rules or WebRules()

    async def fetch(url: str, start: int = 0) -> str:
        """Fetch a web page as text.

        Args:
            url: The address, http or https.
            start: The character to begin at, to read on in a long page.
        """
        text = await fetch_text(url, kept)
        part = text[start:]
        if start and not part:
            return f"(the page has {len(text)} characters)"
        if len(part) <= max_output_chars - 200:
            return part or "(empty)"
        stop = start + max_output_chars - 200
        return f"{text[start:stop]}\n... the page goes on; fetch it with start {stop} (of {len(text)})"

    effect = Effect(name=name, risk=Risk.LOW, idempotent=True)
    return tool_of(
        fetch,
        name=name,
        effect=effect,
        timeout_s=kept.timeout_s + kept.read_s + 5.0,
        max_output_chars=max_output_chars,
    )


async def fetch_text(url: str, rules: WebRules) -> str:
    """Return the readable text of ``url``. Raises ``ToolError`` for what the rules refuse and what does not work."""
    try:
        async with asyncio.timeout(rules.timeout_s):
            address, kind, charset, body = await _fetch(url, rules)
    except TimeoutError:
        raise ToolError(f"{url[:200]!r} did not answer within {rules.timeout_s} s.") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        raise ToolError(f"{url[:200]!r} cannot be fetched: {type(error).__name__}: {error}.") from None
    if kind not in ("text/html", "application/xhtml+xml"):
        try:
            return body.decode(charset or "utf-8", "replace")
        except LookupError:
            return body.decode("utf-8", "replace")
    line = (sys.executable, "-I", str(_PAGE), address, charset or "")
    stopped, text, errors = await talk(
        line, given=body, time_s=rules.read_s, most_bytes=8 * rules.max_bytes + 10_000
    )
    if stopped or (errors and not text):
        why = {"time": f"within {rules.read_s} s", "output": "into a text of sensible size"}.get(
            stopped or "", ""
        )
        raise ToolError(f"the page at {address[:200]!r} could not be turned into text {why}".rstrip() + ".")
    return text.decode("utf-8", "replace")


async def _fetch(url: str, rules: WebRules) -> tuple[str, str, str | None, bytes]:
    """Return the final address, the media type, the charset and the body."""
    address = httpx.URL(url)
    async with httpx.AsyncClient(trust_env=False, timeout=rules.timeout_s, follow_redirects=False) as client:
        for _ in range(rules.redirects + 1):
            place = await _allowed(address, rules)
            request = client.build_request(
                "GET",
                address.copy_with(host=place),
                headers={
                    "Host": address.netloc.decode("ascii"),
                    "User-Agent": rules.user_agent,
                    "Accept": "text/html, text/*;q=0.9, application/json;q=0.9",
                    "Accept-Encoding": "identity",  # what is packed small can be large
                },
                extensions={"sni_hostname": address.host},
            )
            response = await client.send(request, stream=True)
            try:
                client.cookies.clear()
                if response.status_code in _MOVED and "location" in response.headers:
                    address = address.join(response.headers["location"])
                    continue
                return str(address), *await _body(response, rules, str(address))
            finally:
                await response.aclose()
    raise ToolError(f"{url[:200]!r} redirects more than {rules.redirects} times.")


async def _body(response: httpx.Response, rules: WebRules, address: str) -> tuple[str, str | None, bytes]:
    if response.status_code != 200:
        raise ToolError(f"{address[:200]!r} answered with status {response.status_code}.")
    kind = response.headers.get("content-type", "text/html").partition(";")[0].strip().lower()
    if not kind.startswith(_TEXT):
        raise ToolError(f"{address[:200]!r} is of type {kind[:80]!r}; expected a page or other text.")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise ToolError(f"{address[:200]!r} came compressed although that was not asked for.")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > rules.max_bytes:
            raise ToolError(f"{address[:200]!r} is longer than {rules.max_bytes} bytes.")
    return kind, response.charset_encoding, bytes(body)


async def _allowed(address: httpx.URL, rules: WebRules) -> str:
    """Return the IP address to connect to for ``address``, or raise ``ToolError`` where it must not be fetched."""
    host, told = address.host, str(address)[:200]
    if address.scheme not in ("http", "https") or not host:
        raise ToolError(f"{told!r} is not an http or https address.")
    if address.userinfo:
        raise ToolError(f"{told!r} carries a user name; addresses with credentials are not fetched.")
    if rules.only is not None and host not in rules.only:
        raise ToolError(
            f"host {host!r} is not among those that may be asked: {', '.join(rules.only) or 'none'}."
        )
    port = address.port or (443 if address.scheme == "https" else 80)
    places = await rules.resolve(host, port)
    if not places:
        raise ToolError(f"host {host!r} has no address.")
    if f"{host}:{port}" not in rules.local:
        for place in places:
            if not public(place):
                raise ToolError(
                    f"host {host!r} is at {place}, which is not a public address. It is not fetched."
                )
    return places[0]


def public(place: str) -> bool:
    """Say whether an IP address belongs to the public internet, whatever it is wrapped in.

    >>> [public(one) for one in ("93.184.215.14", "127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "fe80::1%eth0")]
    [True, False, False, False, False]
    """
    try:
        ip = ipaddress.ip_address(place)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None or ip.sixtofour is not None or ip.teredo is not None or ip in _NAT64:
            return False
        if ip.ipv4_mapped is not None:
            return public(str(ip.ipv4_mapped))
        if ip.is_site_local:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)
