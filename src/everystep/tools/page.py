"""Turn a page of HTML on standard input into Markdown on standard output.

It is run as a process of its own (``python -I``), because some pages take any parser for ever: the caller keeps the time, the limit on memory is
set here. The argument is the page's address, for its links.
"""

from __future__ import annotations

import resource
import sys
from urllib.parse import urljoin

from bs4 import BeautifulSoup
from markdownify import MarkdownConverter

MEMORY_BYTES = 1 << 30
_UNSEEN = [
    "script",
    "style",
    "noscript",
    "template",
    "svg",
    "iframe",
    "object",
    "head",
    "nav",
    "form",
    "button",
]


def markdown(html: bytes, address: str, charset: str | None = None) -> str:
    """Return the text of a page with headings, lists, tables and absolute links, but no scripts, styles and images.

    >>> markdown(b"<title>T</title><h2>A</h2><p>b <a href='/c'>d</a><script>x()</script>", "http://e.org/f")
    '# T\\n\\n## A\\n\\nb [d](http://e.org/c)'
    """
    try:
        text: str | bytes = html.decode(charset, "replace") if charset else html
    except LookupError:
        text = html  # then what the page says of itself counts
    soup = BeautifulSoup(text, "lxml")
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    for one in soup(_UNSEEN):
        one.decompose()
    for link in soup.find_all("a", href=True):
        try:
            link["href"] = urljoin(address, str(link["href"]))
        except ValueError:
            del link["href"]
    try:
        plain = MarkdownConverter(heading_style="ATX", strip=["img"]).convert_soup(soup)
    except RecursionError:
        plain = soup.get_text("\n")
    lines = [line.rstrip() for line in plain.splitlines()]
    kept = [line for at, line in enumerate(lines) if line or (at and lines[at - 1])]
    body = "\n".join(kept).strip()
    return f"# {title}\n\n{body}" if title else body


def main() -> None:
    """Convert standard input."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    text = markdown(sys.stdin.buffer.read(), sys.argv[1], sys.argv[2] or None)
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))


if __name__ == "__main__":
    main()
