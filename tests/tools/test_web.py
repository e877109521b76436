"""Fetching pages: readable, bounded, and never from where it must not."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from everystep.core.errors import ToolError
from everystep.core.records import Task
from everystep.tools.page import markdown
from everystep.tools.toolbox import ToolBox
from everystep.tools.web import WebRules, fetch_text, public, web_tool

PAGE = b"""<!doctype html><html><head><title>Rain</title><style>x{}</style></head><body><nav>menu</nav>
<h1>Rain in June</h1><p>It rained <b>12 mm</b>, see <a href="/data?x=1">the data</a>.</p>
<script>steal()</script><ul><li>one</li><li>two</li></ul>
<table><tr><th>day</th><th>mm</th></tr><tr><td>1</td><td>12</td></tr></table></body></html>"""


class Site(BaseHTTPRequestHandler):
    seen: ClassVar[list[tuple[str, dict[str, str]]]] = []

    def do_GET(self) -> None:
        Site.seen.append((self.path, dict(self.headers)))
        port = self.server.server_address[1]
        kind, body, more, status = "text/html; charset=utf-8", PAGE, {}, 200
        if self.path == "/json":
            kind, body = "application/json", b'{"a": "\xc3\xa9"}'
        elif self.path == "/latin":
            kind, body = "text/plain; charset=latin-1", b"caf\xe9"
        elif self.path == "/image":
            kind, body = "image/png", b"\x89PNG"
        elif self.path == "/missing":
            status = 404
        elif self.path == "/hop":
            status, more = 302, {"Location": "/", "Set-Cookie": "id=1"}
        elif self.path == "/loop":
            status, more = 302, {"Location": "/loop"}
        elif self.path == "/inward":
            status, more = 302, {"Location": f"http://localhost:{port}/"}
        elif self.path == "/file":
            status, more = 302, {"Location": "file:///etc/passwd"}
        elif self.path == "/packed":
            more = {"Content-Encoding": "gzip"}
        elif self.path == "/deep":
            body = b"<b>" * 400_000
        elif self.path == "/endless":
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                return
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def get(url: str, **rules: object) -> str:
    return asyncio.run(fetch_text(url, WebRules(**rules)))  # type: ignore[arg-type]


def test_a_page_becomes_text(port: int) -> None:
    Site.seen.clear()
    text = get(f"http://127.0.0.1:{port}/hop", local=(f"127.0.0.1:{port}",))
    assert text == (
        f"# Rain\n\n# Rain in June\n\nIt rained **12 mm**, see [the data](http://127.0.0.1:{port}/data?x=1).\n\n"
        "* one\n* two\n\n| day | mm |\n| --- | --- |\n| 1 | 12 |"
    )
    assert [path for path, _ in Site.seen] == ["/hop", "/"]
    for _, headers in Site.seen:
        assert headers["Host"] == f"127.0.0.1:{port}"
        assert not {"Cookie", "Authorization", "Referer"} & set(headers)


def test_other_text_comes_as_it_is(port: int) -> None:
    local = (f"127.0.0.1:{port}",)
    assert get(f"http://127.0.0.1:{port}/json", local=local) == '{"a": "é"}'
    assert get(f"http://127.0.0.1:{port}/latin", local=local) == "café"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/image", "is of type 'image/png'"),
        ("/missing", "status 404"),
        ("/endless", "longer than 300000 bytes"),
        ("/loop", "redirects more than 5 times"),
        ("/inward", "host 'localhost' is at .*, which is not a public address"),
        ("/file", "not an http or https address"),
        ("/packed", "compressed"),
    ],
)
def test_what_is_not_fetched(port: int, path: str, reason: str) -> None:
    with pytest.raises(ToolError, match=reason):
        get(f"http://127.0.0.1:{port}{path}", local=(f"127.0.0.1:{port}",), max_bytes=300_000)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "0.0.0.0",  # noqa: S104
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "10.0.0.1",
    ],
)
def test_no_private_address_is_asked(port: int, host: str) -> None:
    Site.seen.clear()
    with pytest.raises(ToolError, match=r"not a public address|cannot be fetched"):
        get(f"http://{host}:{port}/")
    assert Site.seen == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org",
        "http://",
        "file:///etc/passwd",
        "http://user:pw@example.org/",
        "",
    ],
)
def test_no_other_kind_of_address_is_asked(url: str) -> None:
    with pytest.raises(ToolError):
        get(url, resolve=_never)


def test_a_host_that_is_none_cannot_be_fetched() -> None:
    for url in ("http://[", "http://exa mple/"):
        with pytest.raises(ToolError, match="cannot be fetched"):
            get(url)


async def _never(host: str, port: int) -> Sequence[str]:
    raise AssertionError("it was looked up")


def test_a_name_that_answers_differently_the_second_time_gains_nothing(port: int) -> None:
    asked: list[str] = []

    async def rebinding(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["93.184.215.14", "127.0.0.1"]

    with pytest.raises(ToolError, match=r"at 127.0.0.1, which is not a public address"):
        get(f"http://rebind.example:{port}/", resolve=rebinding)
    assert asked == ["rebind.example"]

    async def here(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    Site.seen.clear()
    get(f"http://site.example:{port}/", resolve=here, local=(f"site.example:{port}",))
    assert asked == ["rebind.example", "site.example"]  # once a fetch: what was checked is what is asked
    assert Site.seen[0][1]["Host"] == f"site.example:{port}"


def test_only_named_hosts(port: int) -> None:
    with pytest.raises(ToolError, match=r"not among those that may be asked: docs.example"):
        get(f"http://127.0.0.1:{port}/", only=("docs.example",), local=(f"127.0.0.1:{port}",))


@pytest.mark.parametrize(
    ("place", "is_public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("ff02::1", False),
        ("fd00::1", False),
        ("2002:7f00:1::", False),
        ("2001:0:53aa:64c:0:0:80ff:fffe", False),
        ("255.255.255.255", False),
        ("192.0.2.1", False),
        ("nonsense", False),
    ],
)
def test_public_addresses(place: str, is_public: bool) -> None:
    assert public(place) is is_public


def test_a_page_that_takes_for_ever_is_given_up(port: int) -> None:
    with pytest.raises(ToolError, match=r"could not be turned into text within 0.3 s"):
        get(f"http://127.0.0.1:{port}/deep", local=(f"127.0.0.1:{port}",), read_s=0.3)


def test_nested_pages_are_text_all_the_same() -> None:
    assert "x" in markdown(b"<div>" * 3000 + b"x" + b"</div>" * 3000, "http://e.org")
    assert markdown(b"<a href='http://['>x</a>", "http://e.org") == "x"
    assert markdown("<p>é".encode("latin-1"), "http://e.org", "latin-1") == "é"
    assert markdown(b"<p>a", "http://e.org", "no-such-charset") == "a"


def test_a_long_page_is_read_in_parts(port: int) -> None:
    box = ToolBox([web_tool(WebRules(local=(f"127.0.0.1:{port}",)), max_output_chars=300)])
    box.reset(Task(id="t", instruction="", environment="tools"))
    url = f"http://127.0.0.1:{port}/"
    ask = {"tool": "fetch", "arguments": {"url": url}}
    first = box.step(box.parse(json.dumps(ask))).observation.text
    assert "| ... the page goes on; fetch it with start 100 (of " in first
    ask = {"tool": "fetch", "arguments": {"url": url, "start": 100}}
    rest = box.step(box.parse(json.dumps(ask)))
    assert "| 1 | 12 |" in rest.observation.text
