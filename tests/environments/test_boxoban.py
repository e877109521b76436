from __future__ import annotations

import itertools
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest

from everystep.core.errors import ConfigError, WorldError
from everystep.core.records import Action
from everystep.environments.check import check_environment, format_report
from everystep.environments.places.boxoban import Boxoban, load_levels
from everystep.environments.places.sokoban import (
    FAR,
    bound,
    cells,
    draw,
    move,
    read_board,
    read_levels,
    solve,
)

FOLDER = Path(os.environ.get("EVERYSTEP_DATA", "/nowhere")) / "boxoban"
CORRIDOR = "#######\n#@ $ .#\n#######"
TWO = "#######\n#@$.$.#\n#     #\n#######"


def world_of(tmp_path: Path, *levels: str) -> Boxoban:
    path = tmp_path / "levels.txt"
    path.write_text("".join(f"; {n}\n{level}\n\n" for n, level in enumerate(levels)))
    return Boxoban(levels=str(path))


def start(world: Boxoban, number: int = 0) -> Any:
    for split in ("train", "test"):
        for index in range(world.size(split)):
            task = world.task(split, index)
            if task.seed == number:
                env = world.make()
                env.reset(task)
                return env
    raise AssertionError(number)


def test_contract() -> None:
    report = check_environment(Boxoban(nodes=2000), tasks=1)
    assert report.ok, format_report(report)


def test_the_sample_has_sixty_levels_in_two_splits() -> None:
    world = Boxoban()
    assert world.size("train") + world.size("test") == 60
    assert world.size("test") >= 6
    numbers = [world.task(s, i).seed for s in ("train", "test") for i in range(world.size(s))]
    assert sorted(numbers) == list(range(60))


def test_rewards_are_those_of_gym_sokoban(tmp_path: Path) -> None:
    env = start(world_of(tmp_path, CORRIDOR))
    rewards = [env.step(Action(text="right")) for _ in range(3)]
    assert [round(result.reward, 6) for result in rewards] == [-0.1, -0.1, 10.9]
    assert [result.success for result in rewards] == [None, None, True]
    assert [result.scores["progress"] for result in rewards] == [0.0, 1.0, 1.0]
    assert rewards[-1].scores["on_target"] == 1.0


def test_a_box_that_leaves_its_target_costs_one(tmp_path: Path) -> None:
    env = start(world_of(tmp_path, "########\n#@*  $.#\n########"))
    result = env.step(Action(text="right"))
    assert (round(result.reward, 6), result.scores["on_target"]) == (-1.1, 0.0)


def test_blocked_ways_are_not_valid_and_change_nothing(tmp_path: Path) -> None:
    env = start(world_of(tmp_path, TWO))
    for text in ("up", "left"):
        result = env.step(Action(text=text))
        assert (result.valid, result.reason, round(result.reward, 6)) == (False, "the way is blocked", -0.1)
        assert result.observation.admissible == ("down", "right")
    env.step(Action(text="right"))
    assert env.step(Action(text="right")).valid is False  # box against box


def test_drawing_shows_every_mark(tmp_path: Path) -> None:
    board, player, boxes = read_board("#######\n#+$*. #\n#  $  #\n#######")
    assert draw(board, player, boxes) == "+ $ * . -\n- - $ - -"


@pytest.mark.parametrize("text", ["#####\n#@$ #\n#####", "#####\n# $.#\n#####", "#####\n#@x.$#\n#####"])
def test_broken_levels_are_refused(text: str) -> None:
    with pytest.raises(WorldError, match="not a Sokoban level"):
        read_board(text)


def test_the_bound_never_exceeds_the_pushes_of_a_solution() -> None:
    for text in load_levels("sample")[:8]:
        board, player, boxes = read_board(text)
        plan = solve(board, player, boxes, 20_000)
        assert plan is not None
        positions = [(player, boxes)]
        for direction in plan:
            after = move(board, *positions[-1], direction)
            assert after is not None
            positions.append(after)
        assert positions[-1][1] == board.goal
        changes = [a[1] != b[1] for a, b in itertools.pairwise(positions)]
        assert all(bound(board, boxes) <= sum(changes[k:]) for k, (_, boxes) in enumerate(positions))


def test_dead_positions_have_no_solution(tmp_path: Path) -> None:
    board, player, boxes = read_board("######\n#@ $ #\n# .  #\n######")
    assert solve(board, player, boxes, 1000) is None
    assert bound(board, boxes) >= FAR
    env = start(world_of(tmp_path, "######\n#@ $ #\n# .  #\n######"))
    with pytest.raises(WorldError, match="no solution of this position"):
        env.oracle()


def test_random_walks_keep_boxes_and_walls() -> None:
    world, rng = Boxoban(), Random(0)
    env = world.make()
    for index in range(10):
        seen = env.reset(world.task("train", index))
        count = sum(mark in "$*" for mark in seen.text)
        for _ in range(100):
            assert seen.admissible
            seen = env.step(Action(text=rng.choice(seen.admissible))).observation
            assert sum(mark in "$*" for mark in seen.text) == count
            assert sum(mark in "@+" for mark in seen.text) == 1


def test_cells_of_a_mask() -> None:
    assert list(cells(0b1010_0001)) == [0, 5, 7]


def test_missing_levels_say_where_they_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EVERYSTEP_DATA", raising=False)
    with pytest.raises(ConfigError, match=r"is not set. Get it from https://github.com/google-deepmind"):
        Boxoban(levels="published").size("train")
    with pytest.raises(ConfigError, match="it is not in"):
        Boxoban(levels=str(tmp_path)).size("train")
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(ConfigError, match="no levels found"):
        Boxoban(levels=str(tmp_path)).size("train")


@pytest.mark.skipif(not FOLDER.is_dir(), reason="EVERYSTEP_DATA/boxoban is not there")
def test_all_published_levels_parse() -> None:
    levels = load_levels("published")
    assert len(levels) >= 1000
    for level in levels:
        board, _, boxes = read_board(level)
        assert len(board.targets) == boxes.bit_count() == 4
    assert load_levels("sample") == levels[:60] or len(levels) > 1000


@pytest.mark.slow
def test_the_solver_solves_the_whole_sample_within_the_step_limit() -> None:
    for text in load_levels("sample"):
        board, player, boxes = read_board(text)
        plan = solve(board, player, boxes, 20_000)
        assert plan is not None
        assert len(plan) <= 120


def test_levels_are_read_with_or_without_blank_lines() -> None:
    assert read_levels(f"; 0\n{CORRIDOR}\n; 1\n{TWO}\n\n\n; 2\n") == [CORRIDOR, TWO]
