"""OS-MAP's 416 desktop tasks: how much autonomy a task asks for, and which demand of a person it serves (Chen et al. 2025, arXiv 2507.19132).

The levels are L1 execution, L2 planning, L3 adaptability, L4 orchestration (no task is L5). The demands are a tree: domains, groups, leaves. Tasks run in a virtual machine of 21 GB with its applications;
here they are loaded, each with what it ``needs``. Those whose published check looks at plain files only can be done in ``os_map_files``. Not packaged: ``EVERYSTEP_DATA``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from everystep.core.errors import DataError
from everystep.environments.published import find_file, read_text

SOURCE = (
    "https://github.com/OS-Copilot/OS-Map (MIT), folder evaluation_examples, a file a line as {path, data}"
)
FOLDER, FILE = "os_map", "os_map_tasks.jsonl"
LEVELS: Mapping[int, str] = {1: "execution", 2: "planning", 3: "adaptability", 4: "orchestration"}
_ROOT = "evaluation_examples/"
_BROWSER = frozenset(
    (
        *("active_url_from_accessTree", "active_tab_html_parse", "active_tab_info", "active_tab_url_parse"),
        *("active_tab_noe_class", "open_tabs_info", "target_tab_html_parse", "page_info", "url_dashPart"),
        *("gotoRecreationPage_and_get_html_content", "info_from_website"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DesktopTask:
    """One published task. ``id`` is its application and file, ``level`` 1 to 4; ``config`` and ``evaluator`` are as published.

    Where the mapping file and the task disagree about the level (12 tasks), the mapping counts: it is complete.
    """

    id: str
    name: str
    app: str
    level: int
    domain: str
    group: str
    leaf: str
    instruction: str
    config: tuple[Mapping[str, Any], ...]
    evaluator: Mapping[str, Any]

    @property
    def functions(self) -> tuple[str, ...]:
        """The names of the functions that check it."""
        return tuple(str(one) for one in listed(self.evaluator["func"]))

    @property
    def getters(self) -> tuple[str, ...]:
        """What the checks look at: the types of results and expectations."""
        both = [*listed(self.evaluator["result"]), *listed(self.evaluator.get("expected"))]
        return tuple(str(one["type"]) for one in both if isinstance(one, Mapping) and one.get("type"))

    @property
    def needs(self) -> tuple[str, ...]:
        """What has to be there to run it as published, in words."""
        kinds = {str(one["type"]) for one in self.config} | set(self.getters)
        found = ["the virtual machine with " + ("its desktop" if self.app == "os" else self.app)]
        if kinds & {"download", "cloud_file", "pdf_from_url"}:
            found.append("files from the web")
        if kinds & _BROWSER or "chrome_open_tabs" in kinds:
            found.append("live web pages")
        if kinds & {"googledrive", "login", "googledrive_file"}:
            found.append("an account")
        if any(kind.startswith("rocket") for kind in kinds):
            found.append("a chat server")
        return tuple(found)


def listed(value: Any) -> list[Any]:
    """Return a published value that may stand alone or in a list as a list; ``None`` as an empty one."""
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def desktop_tasks() -> tuple[DesktopTask, ...]:
    """Return the tasks in the order of the mapping file. ``ConfigError`` where the file is not there, ``DataError`` where it is another."""
    return _tasks(find_file(FOLDER, FILE, SOURCE))


def matrix(tasks: Iterable[DesktopTask], column: Callable[[DesktopTask], str]) -> dict[str, dict[str, int]]:
    """Return how many tasks there are for each level (``L1`` to ``L4``) and each value of ``column``."""
    count = Counter((f"L{one.level}", column(one)) for one in tasks)
    columns = sorted({name for _, name in count})
    return {
        level: {name: count[level, name] for name in columns}
        for level in sorted({level for level, _ in count})
    }


def table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return a matrix as a Markdown table with its sums."""
    columns = list(next(iter(counts.values())))
    lines = ["| | " + " | ".join(columns) + " | all |", "|---|" + "---|" * (len(columns) + 1)]
    for level, row in counts.items():
        lines.append(
            f"| {level} | " + " | ".join(str(row[name]) for name in columns) + f" | {sum(row.values())} |"
        )
    sums = [sum(row[name] for row in counts.values()) for name in columns]
    return "\n".join([*lines, f"| all | {' | '.join(map(str, sums))} | {sum(sums)} |"])


@cache
def _tasks(path: Path) -> tuple[DesktopTask, ...]:
    files = {}
    for line in read_text(path).splitlines():
        record = json.loads(line)
        files[str(record["path"]).removeprefix(_ROOT)] = record["data"]
    try:
        mapping, tree = files["all_task_mappings.json"], files["demand_hierarchy.json"]
        place = {
            leaf: (domain, group) for domain, groups in tree.items() for group, leaves in groups.items() for leaf in leaves
        }  # fmt: skip
        return tuple(
            _task(app, name, told, files[f"examples/{app}/{name}.json"], place)
            for app, some in mapping.items()
            for name, told in some.items()
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise DataError(f"{path.name}: these are not the tasks of {SOURCE}: {error!r}.") from None


def _task(
    app: str, file: str, told: Sequence[str], data: Mapping[str, Any], place: Mapping[str, tuple[str, str]]
) -> DesktopTask:
    title, leaf = told
    domain, group = place[leaf]
    return DesktopTask(
        id=f"{app}/{file}",
        name=title,
        app=app,
        level=int(title[1]),
        domain=domain,
        group=group,
        leaf=leaf,
        instruction=data["instruction"],
        config=tuple(data["config"]),
        evaluator=data["evaluator"],
    )
