"""Bugs in real packages, where they are looked for, and repairs; the packages themselves are fetched, so what needs them is skipped where they are not."""

from pathlib import Path

import pytest

from everystep.core.errors import ConfigError, DataError, ToolError
from everystep.environments.catalog import world
from everystep.environments.code.bugs import bank, buggy, right_text
from everystep.environments.code.packages import PACKAGES, code_folder, package, project, unpacked
from everystep.environments.code.proposals import proposals
from everystep.environments.code.repair import problem_of, score
from everystep.environments.code.search import WAYS, index_code, localise, queries
from everystep.environments.code.swe_bench_run import obtained, runnable
from everystep.environments.published import source_folder
from everystep.tools.code_answer import Change, changed, read_changes, write_changes
from everystep.tools.code_map import map_sources
from everystep.tools.mutations import LOST
from everystep.tools.patches import apply_patch, changed_lines, read_patch
from everystep.tools.suite import Project

fetched = pytest.mark.skipif(
    not all((code_folder() / one.file).is_file() for one in PACKAGES.values()),
    reason="the packages are not fetched",
)


def test_a_missing_package_gives_the_command_and_another_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pip download --no-deps --no-binary :all: -d .* boltons==25.0.0"):
        project("toolz", tmp_path)
    (tmp_path / package("toolz").file).write_bytes(b"other")
    with pytest.raises(DataError, match="SHA-256"):
        project("toolz", tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        unpacked(b"no archive")
    with pytest.raises(ConfigError, match="Did you mean 'toolz'"):
        package("tolz")


def test_the_bank_has_bugs_of_every_package_and_most_operators() -> None:
    bugs = bank()
    assert {one.package for one in bugs} == set(PACKAGES)
    assert len({one.id for one in bugs}) == len(bugs)
    assert len({one.operator for one in bugs}) >= 9
    for one in bugs:
        assert one.failing
        assert one.old != one.new
        assert one.failing[0] in one.statement


@fetched
def test_every_bug_is_a_small_change_of_its_unit_and_its_published_text_undoes_it() -> None:
    for bug in bank():
        there, good = buggy(bug), project(bug.package)
        assert [path for path in good.files if good.files[path] != there.files[path]] == [bug.path]
        back = changed([Change(path=bug.path, unit=bug.unit, text=right_text(bug))], there.files)
        assert back == {bug.path: good.files[bug.path]}


@fetched
def test_the_oracle_mends_a_bug_and_the_bug_itself_does_not() -> None:
    made = world("code_repair", attempts=2)
    index = next(n for n, bug in enumerate(bank()) if bug.package == "inflection")
    env = made.make()
    seen = env.reset(made.task("test", index))
    bug = bank()[index]
    assert f"### {bug.place}" in seen.text
    same = env.step(env.parse(write_changes([Change(path=bug.path, unit=bug.unit, text=_text_of(bug))])))
    assert not same.terminated
    assert same.scores == {"applied": 1.0, "fixed": 0.0, "broken": 0.0}
    assert "fails" in same.observation.text
    mended = env.step(env.parse(env.oracle()))
    assert mended.terminated
    assert mended.success
    assert not score(
        problem_of(bug), [Change(path=bug.path, unit="nothing", text="def nothing(): pass")]
    ).applied


def _text_of(bug) -> str:
    file = map_sources([(bug.path, buggy(bug).files[bug.path])]).files[bug.path]
    return file.text(next(one for one in file.units if one.name == bug.unit))


def test_answers_are_read_back_and_others_are_refused() -> None:
    made = (
        Change(path="a/b.py", unit="A.f", text="def f():\n    '''```x```'''\n"),
        Change(path="a.py", first=2, last=3, text="x = 1\n"),
    )
    assert read_changes(f"I think:\n{write_changes(made)}\nDone.") == made
    for text, told in (("nothing", "no change found"), ("### a.py::f\nno block", "not followed")):
        with pytest.raises(ToolError, match=told):
            read_changes(text)
    with pytest.raises(ToolError, match="no file"):
        changed(made, {})


SMALL = {
    "shop/cart.py": b'"""The cart."""\nclass Cart:\n    def add_item(self, item):\n        """Put an item into the cart."""\n        self.items.append(item)\n',
    "shop/price.py": b'def total_price(items):\n    """Sum the prices with discount."""\n    return sum(items) - 1\n',
    "shop/broken.py": b"def f(:\n",
    "shop/mail.py": b"def send(to, text):\n    return deliver(to, text)\n",
}  # fmt: skip


def test_localisation_finds_what_is_named_described_or_only_in_the_code() -> None:
    index = index_code(map_sources(SMALL.items()))
    by_name = localise(index, "`total_price` is off by one")
    assert {way: by_name[way].units[:1] for way in WAYS if way != "embedding"} == dict.fromkeys(
        (way for way in WAYS if way != "embedding"), ("shop/price.py::total_price",)
    )
    assert localise(index, "An item is put twice")["lexical"].paths[0] == "shop/cart.py"
    assert by_name["embedding"].units == ()  # no vectors were given
    last = localise(index, "shop/mail.py: deliver is called with wrong arguments")[WAYS[-1]]
    assert last.units[0] == "shop/mail.py::send"
    assert queries("First.\nsee do_it in x.py") == (
        "First.",
        "do_it x.py",
        "see do_it in x.py",
        "First.\nsee do_it in x.py",
    )
    assert all(localise(index, text)[way].units == () for text in ("", "zzz") for way in ("lexical", "union"))


def test_proposals_are_sound_different_and_the_same_for_a_seed() -> None:
    there = Project(name="small", files=SMALL)
    units = ["shop/price.py::total_price", "shop/cart.py::Cart.add_item"]
    made = list(proposals(there, units, seed="1"))
    assert made == list(proposals(there, units, seed="1"))
    assert len(set(made)) == len(made)
    assert any("sum(items) + 1" in one.text for one in made)
    assert not any("pass" in one.text for one in made), LOST


def test_patches_are_applied_where_their_lines_are_and_refused_where_not() -> None:
    text = "diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ -2,3 +2,4 @@ def f():\n b\n\n-c\n+d\n+e\n--- /dev/null\n+++ b/new.py\n@@ -0,0 +1 @@\n+new\n"
    patch = read_patch(text)
    files = {"x.py": b"zero\na\nb  \n\nc\n"}
    assert apply_patch(patch, files) == {"x.py": b"zero\na\nb  \n\nd\ne\n", "new.py": b"new\n"}
    assert changed_lines(patch[0], ["zero\n", "a\n", "b\n", "\n", "c\n"]) == [5]
    with pytest.raises(ToolError, match="are not there"):
        apply_patch(patch, {"x.py": b"a\nb\nc\n"})
    with pytest.raises(ToolError, match="not there"):
        apply_patch(patch, {})


def test_issues_that_run_have_tests_that_the_published_patch_mends(tmp_path: Path) -> None:
    made = world("code_repair", cases="published")
    assert made.size("test") == len(runnable()) >= 10
    for one in runnable():
        assert one.runnable
        assert not set(one.mended) & set(one.kept)
    with pytest.raises(ConfigError, match="cases 'all'"):
        world("code_repair", cases="all")


@pytest.mark.skipif(source_folder("swe_bench_lite") is None, reason="EVERYSTEP_DATA is not set")
def test_a_missing_release_is_named_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    one = next(one for one in runnable() if "flask" in one.id)
    with pytest.raises(ConfigError, match=r"pip download --no-deps --no-binary :all: -d .* Flask=="):
        obtained(one, tmp_path)
