"""Open browsers of this process that nobody uses just now: opening one takes a second, going to a page a tenth."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from dataclasses import dataclass, field

from everystep.tools.chromium import Page

How = tuple[str, bool, float]
"""How a browser was opened: its path, without a window, and how long it may be silent."""


@dataclass(slots=True)
class Idle:
    """At most ``most`` browsers that wait; ``prepare`` is done once with a new one. They end with the process."""

    prepare: Callable[[Page], None] = lambda _: None
    most: int = 2
    pages: list[tuple[How, Page]] = field(default_factory=list)

    def __post_init__(self) -> None:
        atexit.register(self.close)

    def take(self, how: How) -> Page:
        """Return a browser that was opened so, or a new one."""
        for number, (key, page) in enumerate(self.pages):
            if key == how and page.usable:
                del self.pages[number]
                return page
        path, headless, timeout_s = how
        page = Page(path, headless=headless, timeout_s=timeout_s)
        self.prepare(page)
        return page

    def give(self, how: How, page: Page) -> None:
        """Give a browser back; one too many is closed."""
        if page.usable and len(self.pages) < self.most:
            self.pages.append((how, page))
        else:
            page.close()

    def close(self) -> None:
        """End all that wait."""
        while self.pages:
            self.pages.pop()[1].close()
