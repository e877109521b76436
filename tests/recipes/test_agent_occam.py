"""AgentOccam: what is counted of pages and prompts, what is ranked, and a contest in the browser."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from everystep.core.errors import ConfigError, DataError
from everystep.core.records import Task
from everystep.environments.web.sites import WebSites
from everystep.evaluate.shown_history import CONVERSATION, prompt_tokens
from everystep.evaluate.shown_pages import FORMS, by_pass, fate, page_report, tokens
from everystep.learn.element_rank import answers, rank_of
from everystep.models.tiny import tiny_model
from everystep.recipes.agent_occam import Config, contest, run, shown_to
from everystep.run.aims import Aim, aims
from everystep.run.folder import RunFolder
from everystep.tools.axprune import candidates
from everystep.tools.axtree import ROOT, AXNode, numbered
from everystep.tools.chromium import NAMES

with_browser = pytest.mark.skipif(not any(map(shutil.which, NAMES)), reason="there is no Chromium here")
with_pages = pytest.mark.skipif(find_spec("miniwob") is None, reason="the package miniwob is not installed")


def aim(target: int, action: str = "click [3]") -> Aim:
    inside = AXNode(role="button", name="Go", children=(AXNode(role="generic", children=(AXNode(role="StaticText", name="now"),)),))  # fmt: skip
    top = numbered(AXNode(role=ROOT, children=(AXNode(role="generic", name="plain"), inside, AXNode(role="link", name="There"))))  # fmt: skip
    return Aim(task=Task(id="t", instruction="", environment="e"), seen="task: go", tree=top, action=action, target=target)  # fmt: skip


def test_what_became_of_a_target_is_told_apart() -> None:
    assert [fate(aim(number), clickable=True) for number in (0, 2, 3, 4, 5, 99)] == [
        "none", "unnumbered", "kept", "around", "around", "not in the tree",
    ]  # fmt: skip


def test_a_page_is_counted_in_every_form_and_after_every_pass() -> None:
    sizes = tokens(aim(3), len)
    assert sizes["raw"] > sizes["pruned"] == sizes["pruned by role"]
    steps = by_pass([aim(3)], len)
    assert steps[0][1] == sizes["raw"]
    assert steps[-1][1] == sizes["pruned"]
    lines, told = page_report("x", [aim(3), aim(2)], len)
    assert told["x kept pruned"] == 0.5
    assert any("unnumbered" in line for line in lines)


def test_the_ranks_of_all_candidates_are_a_permutation() -> None:
    model = tiny_model(["task: go", *(form(aim(3).tree) for form in FORMS.values()), "0 1 2 3 4 5 6 7 8 9 [ ]"], size="0.02M", seed=3)  # fmt: skip
    some = candidates(aim(3).tree)
    found = [rank_of(model, aim(number), FORMS["pruned"]) for number in some]
    assert len(some) == 2
    assert sorted(one["rank"] for one in found) == [1.0, 2.0]
    assert sum(2.718281828459045 ** one["log share"] for one in found) == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(DataError, match="none of the 2 candidates"):
        rank_of(model, aim(2), FORMS["raw"])


def test_answers_behind_one_prompt_are_scored_as_if_each_were_read_with_it() -> None:
    model = tiny_model(["a b c 1 2 3"], size="0.02M", seed=1)
    prompt, some = (
        model.template.encode("a b c"),
        [model.template.encode(text) for text in ("1 2", "3", "1 2 3 a")],
    )
    alone = []
    for answer in some:
        ids = torch.tensor([[*prompt, *answer]])
        told = model.network(input_ids=ids).logits[0].log_softmax(-1).detach()
        alone.append(sum(float(told[at - 1, ids[0, at]]) for at in range(len(prompt), ids.shape[1])))
    assert answers(model, prompt, some) == pytest.approx(alone, abs=1e-4)


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'picture'"):
        run(Config(parts="pages,picture"), RunFolder(path=tmp_path))


@with_browser
def test_aims_follow_the_known_way_and_pruning_keeps_all_of_them() -> None:
    world = WebSites(observation="raw", goal="shop order")
    env = world.make()
    found = list(aims(env, world.task("test", 0)))
    env.close()
    assert [one.action.split()[0] for one in found][-1] == "stop"
    assert [fate(one, clickable=False) for one in found] == ["kept"] * (len(found) - 1) + ["none"]


@with_browser
def test_a_given_up_goal_is_not_shown_under_the_next_one() -> None:
    worlds = {kind: WebSites(history=kind, goal="wiki mayor") for kind in ("none", "active", "all")}
    found = prompt_tokens(worlds, 0, len, clicks=3)
    assert len({len(sizes) for sizes in found.values()}) == 1
    assert all(a <= b <= c for a, b, c in zip(found["none"], found["active"], found["all"], strict=True))
    assert found["active"][6] < found["all"][6]
    assert found[CONVERSATION][-1] > found["all"][-1]


@with_browser
@with_pages
def test_a_contest_imitates_and_acts_in_the_browser() -> None:
    config = Config(pages="click-test-2", demonstrations=6, updates=3, test_tasks=2, seeds=1)
    assert all(len(one.steps) == 1 for one in shown_to(config, "raw"))
    raw, pruned = (contest(config, form, False, 0) for form in ("raw", "pruned"))
    assert raw["prompt tokens"] > 1.5 * pruned["prompt tokens"]
    assert raw["updates"] == pruned["updates"] == 3
    assert contest(config, "pruned", True, 0)["updates"] > 5
    assert 0.0 <= raw["success"] <= 1.0
