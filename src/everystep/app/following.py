"""``everystep show --follow``: the events of a run as they are written, by this or another process."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from everystep.app.approving import is_live
from everystep.app.reading import journal_of
from everystep.app.run_lines import Teller
from everystep.core.trace import Kind
from everystep.run.folder import RunFolder
from everystep.run.journal import Journal

_FROM_END = 20
_POLL_S = 0.3
_SHOWN = frozenset(Kind) - {Kind.RUN, Kind.TASK, Kind.TRAJECTORY, Kind.CHECKPOINT, Kind.CREDIT}


def follow(path: Path, *, sleep: Callable[[float], object] = time.sleep) -> int:
    """Print the last events and then each new one, until the run ends or nobody writes to it any more."""
    file = journal_of(path)
    folder = RunFolder(path=file.parent)
    teller = Teller()
    with Journal.read(file) as journal:
        after, over = max(0, journal.last - _FROM_END), False
        while True:
            alive = is_live(folder)
            fresh = False
            for event in journal.events(after=after):
                after, fresh = event.seq, True
                over = event.kind is Kind.END or (over and event.kind is not Kind.RESUMED)
                told = teller.tell(event.kind, event.body) if event.kind in _SHOWN else None
                if told is not None:
                    sys.stdout.write(told + "\n")
            sys.stdout.flush()
            if over and not alive:
                return 0
            if not alive and not fresh:
                sys.stdout.write(
                    f"nobody writes to this run now: it is paused or was stopped. everystep resume {folder.path}\n"
                )
                return 0
            sleep(_POLL_S)
