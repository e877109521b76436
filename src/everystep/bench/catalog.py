"""The benchmarks that come with Everystep, by name. A benchmark's module is imported when it is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from everystep.bench.benchmark import Benchmark
from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.registry import Registry

BENCHMARKS: Registry[tuple[str, Mapping[str, Any]]] = Registry("benchmark")
"""The module of each benchmark, which has a function ``benchmark(**options)`` or the one that is named, and options that its name stands for."""
for _name, _module, _options in (
    ("procbench", "procbench", {}),
    ("taskbench", "taskbench", {}),
    ("gsm8k", "answers", {"source": "gsm8k"}),
    ("math500", "answers", {"source": "math500"}),
    ("aime24", "answers", {"source": "aime24"}),
    ("amc23", "answers", {"source": "amc23"}),
    ("bbh", "answers", {"source": "bbh"}),
    ("graph_scripts", "graph_scripts", {}),
    ("os_map", "os_map", {}),
    ("humaneval", "humaneval", {}),
    ("code_repair", "code_repair", {}),
    ("miniwob", "miniwob", {}),
    ("web_sites", "web_sites", {}),
    ("android_control", "android_control", {}),
    ("mobile_eval", "mobile_eval", {}),
    ("sokoban", "agents:sokoban", {}),
    ("webshop", "agents:webshop", {}),
    ("intercode_sql", "agents:intercode_sql", {}),
    ("intercode_bash", "agents:intercode_bash", {}),
    ("bfcl", "agents:bfcl", {}),
    ("tau2", "agents:tau2", {}),
    ("planbench", "planbench", {"part": "generation"}),
    ("planbench_verify", "planbench", {"part": "verification"}),
    ("textworld_express", "text_games:textworld_express", {}),
    ("scienceworld", "text_games:scienceworld", {}),
    ("processbench", "judged", {"name": "processbench"}),
    ("prmbench", "judged", {"name": "prmbench"}),
    ("bigbench_mistake", "judged", {"name": "bigbench_mistake"}),
    ("who_and_when", "judged", {"name": "who_and_when"}),
    ("gui_critic", "judged", {"name": "gui_critic"}),
):
    BENCHMARKS.add(_name, (_module, _options))


def benchmark(name: str, options: Mapping[str, Any] | None = None) -> Benchmark:
    """Make a benchmark; an option that it does not have is refused with a suggestion."""
    target, fixed = BENCHMARKS[name]
    module, _, function = target.partition(":")
    make = getattr(import_module(f"everystep.bench.{module}"), function or "benchmark")
    known = [one for one in inspect.signature(make).parameters if one not in fixed]
    for key in options or {}:
        if key not in known:
            hint = did_you_mean(key, known) if known else "It has none."
            raise ConfigError(f"benchmark {name!r} has no option {key!r}. {hint}")
    return cast("Benchmark", make(**fixed, **(options or {})))
