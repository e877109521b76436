"""Localisation measures, edits off by lines, and the recipe's parts on a small share of the bugs."""

from pathlib import Path
from random import Random

import pytest

from everystep.core.errors import ConfigError
from everystep.environments.code.bugs import bank
from everystep.environments.code.packages import PACKAGES, code_folder
from everystep.environments.code.search import WAYS, index_code
from everystep.environments.code.swe_bench_lite import issues
from everystep.environments.published import source_folder
from everystep.evaluate.edit_noise import BY_NAME, edits
from everystep.evaluate.localisation import CHANCE, by_chance, found
from everystep.evaluate.repair_search import GATES, search
from everystep.recipes.supercoder import Config, bugs_of, means, package_searched, run
from everystep.run.folder import RunFolder
from everystep.tools.code_map import map_source, map_sources

fetched = pytest.mark.skipif(
    not all((code_folder() / one.file).is_file() for one in PACKAGES.values()),
    reason="the packages are not fetched",
)
BEFORE = b"import os\n\n\ndef one(x):\n    if x > 1:\n        return 2\n    return 1\n\n\n@cache\ndef two():\n    return 2\n"
AFTER = BEFORE.replace(b"x > 1", b"x >= 1")


def test_an_edit_by_name_is_as_meant_and_lines_only_when_they_are_right() -> None:
    for seed in range(6):
        made = edits(BEFORE, AFTER, "one", most=3, rng=Random(seed))
        assert made[BY_NAME].source == AFTER
        for way in ("unit by lines", "changed lines"):
            assert made[f"{way}, off by 0"].source == AFTER
            assert not any(made[f"{way}, off by {size}"].clean for size in (1, 2, 3))


def test_chance_is_what_drawing_gives_and_rankings_are_scored_against_what_is_right() -> None:
    rng, count, right = Random(0), 12, 3
    drawn = [any(one < right for one in rng.sample(range(count), 5)) for _ in range(20_000)]
    assert by_chance(count, right)[5] == pytest.approx(sum(drawn) / len(drawn), abs=0.01)
    index = index_code(map_sources([("a.py", b"def find_me(): pass\n"), ("b.py", b"def other(): pass\n")]))
    rows = found(index, "find_me fails", {"a.py"}, {"a.py::find_me"})
    assert set(rows) == {CHANCE, *WAYS}
    assert rows["lexical"] == {"file top-1": 1, "file top-5": 1, "unit top-1": 1, "unit top-5": 1}
    assert rows[CHANCE]["file top-1"] == 0.5
    assert means([rows, rows]) == rows


def test_the_parts_of_the_seeds_do_not_overlap_and_unknown_parts_are_refused(tmp_path: Path) -> None:
    config = Config()
    some = [one.id for seed in range(5) for one in bugs_of(config, seed)]
    assert sorted(some) == sorted(one.id for one in bank())
    with pytest.raises(ConfigError, match="no part 'edits'"):
        run(Config(parts="edits"), RunFolder(path=tmp_path))


@fetched
@pytest.mark.slow
def test_a_search_finds_a_repair_and_the_gate_never_submits_one_that_breaks_a_test() -> None:
    bug = next(
        one
        for one in bank()
        if (one.package == "inflection" and one.operator == "compare") or one.operator == "condition"
    )
    rows = search(bug, package_searched(Config(), bug.package), k=6, units=3, seed="0")
    assert set(rows) == set(GATES)
    for name, row in rows.items():
        assert row["fixed"] <= row["submitted"]
        if GATES[name].gate:
            assert row["breaks tests"] == 0


@pytest.mark.skipif(source_folder("swe_bench_lite") is None, reason="EVERYSTEP_DATA is not set")
def test_the_300_issues_are_read() -> None:
    assert len(issues()) == 300
    assert all(len(one.patch) == 1 and one.test_patch for one in issues())


def test_what_a_patch_changes_is_named_by_unit_or_as_top_level() -> None:
    file = map_source(BEFORE, "a.py")
    assert [file.at(line).name if file.at(line) else "" for line in (1, 5, 10, 12)] == [
        "",
        "one",
        "two",
        "two",
    ]
