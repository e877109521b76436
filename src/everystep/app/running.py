"""``everystep run``, ``everystep resume`` and ``everystep fork``."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from everystep import __version__
from everystep.app.flags import checked, parse
from everystep.app.run_lines import cost_text
from everystep.app.run_make import Made, make, runner_of, stored
from everystep.app.run_options import RunOptions
from everystep.app.run_view import JsonView, QuietView, RunView, ToldJournal
from everystep.core.errors import ConfigError, EverystepError, StoreError
from everystep.core.records import End
from everystep.core.trace import Kind
from everystep.run.folder import (
    BENCH,
    CONFIG,
    RUN,
    STUDY,
    TRAIN,
    RunFolder,
    create,
    free_folder,
    open_run,
    write_json,
)
from everystep.run.fork import fork_run
from everystep.run.journal import Journal, repair
from everystep.run.loop import Runner
from everystep.run.parts import Outcome
from everystep.run.resume import take_up

EXIT_FAILED, EXIT_PAUSED = 1, 3
CHANGED = "changed"
"""The name in config.json of the options that ``resume`` and ``fork`` have changed, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where a run goes and what is shown of it."""

    out: Path | None = None
    """Folder of the run; by default the next free one under runs/."""
    json: bool = False
    """Print one JSON object a line, one for each event, and the outcome at the end."""
    quiet: bool = False
    """Print nothing but the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Run one long task, step by step."""

    run: tyro.conf.OmitArgPrefixes[RunOptions]
    output: tyro.conf.OmitArgPrefixes[Output]


_EXAMPLES = """\
  everystep run --environment hanoi --options disks=5 start_from=full
  everystep run --environment household --model noisy:0.3 --vote ahead:4
  everystep run --environment household --plan linear:plan.txt --ask every
  everystep run --environment intercode_sql --model chat:qwen3@http://127.0.0.1:8000/v1 --vote majority:5 --budget calls=200
  everystep run "sum the numbers in data.csv" --tools python files:. --model chat:qwen3@http://127.0.0.1:8000/v1

exit code: 0 done, 1 failed or ended by a limit, 2 wrong use, 3 paused (it waits for somebody), 130 after Ctrl-C

"""


def run(words: Sequence[str]) -> int:
    """Run a task."""
    if "-h" in words or "--help" in words:
        sys.stdout.write(_EXAMPLES)
    asked = parse(Run, words, command="run", default=Run(run=RunOptions(), output=Output()))
    options, output = asked.run, asked.output
    where = output.out or free_folder(f"run-{'tools' if options.tools else options.environment}")
    made = make(options, where)
    try:
        folder = create(where, options=stored(options), version=__version__)
        body = {"command": RUN, "version": __version__, "options": stored(options)}
        try:
            journal = ToldJournal.create(folder.journal, body)
        except EverystepError:
            folder.discard()
            raise
        with journal:
            return _go(made, folder, journal, output, fresh=True)
    finally:
        made.close()


def _go(made: Made, folder: RunFolder, journal: ToldJournal, output: Output, *, fresh: bool) -> int:
    """Work until the run ends or pauses; return the exit code."""
    view = _view(made, folder, output)
    runner = runner_of(made, folder, journal, view)
    journal.listener = view.hear
    try:
        outcome = asyncio.run(_drive(runner, view, made, fresh=fresh))
    except KeyboardInterrupt:
        view.close()
        sys.stderr.write(f"\nstopped. Every step is kept: everystep resume {folder.path}\n")
        raise
    except BaseException:
        view.close()
        raise
    view.close()
    _last_words(outcome, runner, folder, output)
    return _code(outcome)


async def _drive(runner: Runner, view: RunView | JsonView, made: Made, *, fresh: bool) -> Outcome:
    if not fresh:
        await take_up(runner)
    view.begin(runner)
    ticking = asyncio.create_task(_tick(view))
    try:
        return await runner.run()
    finally:
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking
        if made.model.close is not None:
            await made.model.close()


async def _tick(view: RunView | JsonView) -> None:
    """Draw while a model or a person takes their time."""
    while True:
        await asyncio.sleep(0.5)
        view.draw()


def _view(made: Made, folder: RunFolder, output: Output) -> RunView | JsonView:
    if output.json:
        return JsonView()
    if output.quiet:
        return QuietView()
    return RunView(heading=[*made.heading, f"run {folder.path}"])


def _code(outcome: Outcome) -> int:
    if outcome.end is None:
        return EXIT_PAUSED
    return 0 if outcome.end is End.DONE else EXIT_FAILED


def _last_words(outcome: Outcome, runner: Runner, folder: RunFolder, output: Output) -> None:
    if output.json:
        JsonView().hear(Kind.METRICS, _outcome_json(outcome, folder))
        return
    end = "paused" if outcome.end is None else outcome.end.value
    how = {True: ", solved", False: ", not solved", None: ""}[outcome.success]
    why = f": {outcome.why}" if outcome.why else ""
    paid = cost_text(outcome.cost)
    lines = [
        f"{end}{how}{why}",
        f"{outcome.steps} steps, {f'{paid}, ' if paid else ''}reward {outcome.reward:g}, {runner.budget.used('seconds'):.2f} s",
        f"run: {folder.path}",
        f"next: {_advice(outcome, folder)}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _advice(outcome: Outcome, folder: RunFolder) -> str:
    path = folder.path
    if outcome.waiting is not None:
        return f"everystep approve {path}, then everystep resume {path}"
    if outcome.end is None or outcome.end is End.ERROR:
        return f"everystep resume {path}"
    if outcome.end is End.BUDGET:
        return f"everystep resume {path} --budget NAME=MORE"
    if outcome.end is End.TRUNCATED:
        return f"everystep resume {path} --max-steps MORE, if the limit was yours; everystep show {path}"
    return f"everystep show {path}; everystep view {path}; everystep fork {path} --at STEP --out NEW"


def _outcome_json(outcome: Outcome, folder: RunFolder) -> dict[str, Any]:
    return {
        "run": str(folder.path),
        "end": None if outcome.end is None else outcome.end.value,
        "success": outcome.success,
        "steps": outcome.steps,
        "reward": outcome.reward,
        "why": outcome.why,
        "waiting": None if outcome.waiting is None else outcome.waiting.id,
        "cost": dict(outcome.cost),
    }


# --- going on -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Go on with a run that was stopped, killed, paused or ended by a limit: a training, or the run of a task."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    budget: str | None = None
    """Run of a task: new limits, such as steps=500,usd=2. They count the whole run; those that are not named stay."""
    max_steps: int | None = None
    """Run of a task: another step limit of the whole run."""
    in_doubt: str | None = None
    """Run of a task: an act was interrupted and nothing can tell whether it happened. ask, skip (it did) or repeat (it did not)."""
    approve: str | None = None
    """Run of a task: ask somebody else: auto, terminal, mailbox, http or never."""
    wait: float | None = None
    """Run of a task: seconds that a question may wait; 0 pauses the run instead."""
    json: bool = False
    """Print JSON, one object a line, instead of the progress."""
    quiet: bool = False
    """Print nothing but the end."""
    threads: int | None = None
    """Training: threads for torch."""


def resume(words: Sequence[str]) -> int:
    """Go on with a run of a task, a training or a study."""
    asked = parse(Resume, words, command="resume")
    folder = open_run(asked.run)
    changes = {name: getattr(asked, name) for name in ("budget", "max_steps", "in_doubt", "approve", "wait")}
    changes = {name: value for name, value in changes.items() if value is not None}
    kind = folder.config()["kind"]
    if changes and kind in (TRAIN, STUDY, BENCH):
        what = {TRAIN: "training", STUDY: "study", BENCH: "benchmark"}[kind]
        raise ConfigError(
            f"--{next(iter(changes)).replace('_', '-')} is for runs of a task, and {str(asked.run)!r} is a {what}."
        )
    if kind == STUDY:
        from everystep.app.reproducing import resume_study

        return resume_study(folder, quiet=asked.quiet)
    if kind == BENCH:
        from everystep.app.benching import resume_bench

        return resume_bench(folder, quiet=asked.quiet, as_json=asked.json)
    if kind == TRAIN:
        from everystep.app.training import Output as TrainingOutput
        from everystep.app.training import resume_training

        return resume_training(
            folder, TrainingOutput(json=asked.json, quiet=asked.quiet, threads=asked.threads)
        )
    if asked.threads is not None:
        raise ConfigError(f"--threads is for trainings, and {str(asked.run)!r} is the run of a task.")
    return go_on(folder, changes, Output(json=asked.json, quiet=asked.quiet))


def go_on(folder: RunFolder, changes: dict[str, Any], output: Output) -> int:
    """Go on with the run of a task; ``changes`` are stored with it."""
    mended(folder)
    before = options_of(folder)
    if "budget" in changes:
        changes = {**changes, "budget": _merged(before.budget, changes["budget"])}
    options = checked(RunOptions, {**stored(before), **changes}, source="the new options")
    _refuse_finished(folder, options)
    made = make(options, folder.path)
    try:
        with ToldJournal.open(folder.journal) as journal:
            if changes:
                config = folder.config()
                write_json(
                    folder.path / CONFIG,
                    {**config, "options": stored(options), CHANGED: [*config.get(CHANGED, []), changes]},
                )
            return _go(made, folder, journal, output, fresh=False)
    finally:
        made.close()


def options_of(folder: RunFolder) -> RunOptions:
    """Return the options that are stored with a run."""
    config = folder.config_of(RUN)
    return checked(RunOptions, config["options"], source=str(folder.path / CONFIG))


def mended(folder: RunFolder) -> None:
    """Repair a damaged journal, and say so."""
    if not folder.journal.exists():
        raise StoreError(f"{str(folder.path)!r} has no journal: nothing of it was run. Start a new run.")
    repaired = repair(folder.journal)
    if repaired.damaged is not None:
        sys.stderr.write(
            f"everystep: the journal was damaged; its {repaired.last} readable events were kept, and the damaged "
            f"file is now {str(repaired.damaged)!r}.\n"
        )


def _merged(before: str, now: str) -> str:
    from everystep.app.run_options import budget_of

    return ",".join(f"{name}={limit:g}" for name, limit in {**budget_of(before), **budget_of(now)}.items())


def _refuse_finished(folder: RunFolder, options: RunOptions) -> None:
    """A run that is done or has failed does not go on; one that a limit ended does when the limit is higher."""
    with Journal.read(folder.journal) as journal:
        end, resumed = journal.newest(Kind.END), journal.newest(Kind.RESUMED)
    if end is None or (resumed is not None and resumed.seq > end.seq):
        return
    what = end.body.get("end")
    again = f"Look at it with `everystep show {folder.path}`, or try another way with `everystep fork`."
    if what in (End.DONE, End.FAILED):
        raise ConfigError(f"{str(folder.path)!r} is finished: {what}. {again}")
    if what == End.TRUNCATED and (options.max_steps is None or options.max_steps <= end.body.get("steps", 0)):
        raise ConfigError(
            f"{str(folder.path)!r} has reached its step limit after {end.body.get('steps')} steps. "
            f"Raise it with --max-steps, if it was yours. {again}"
        )


# --- forking --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Make another run from the middle of one: everything up to a step is copied, then it goes its own way."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    at: str
    """The last step that both have: its number, or its id (`everystep show RUN`)."""
    out: Path
    """Folder of the new run."""
    model: str | None = None
    """Another model for what follows."""
    vote: str | None = None
    """Another vote for what follows."""
    seed: int | None = None
    """Another seed for what follows; with the same one a scripted model answers the same again."""
    budget: str | None = None
    """New limits; they count the copied steps too."""
    max_steps: int | None = None
    """Another step limit."""
    go: Annotated[bool, tyro.conf.arg(name="continue")] = False
    """Go on with the new run at once."""
    json: bool = False
    """Print JSON, one object a line, instead of the progress."""
    quiet: bool = False
    """Print nothing but the end."""


def fork(words: Sequence[str]) -> int:
    """Fork a run."""
    asked = parse(Fork, words, command="fork")
    folder = open_run(asked.run)
    before = options_of(folder)
    names = ("model", "vote", "seed", "budget", "max_steps")
    changes = {name: getattr(asked, name) for name in names if getattr(asked, name) is not None}
    if "budget" in changes:
        changes["budget"] = _merged(before.budget, changes["budget"])
    options = checked(RunOptions, {**stored(before), **changes}, source="the new options")
    make(options, asked.out).close()
    step = step_at(folder.journal, asked.at)
    copy = create(
        asked.out,
        options=stored(options),
        version=__version__,
        forked={"from": str(folder.path.resolve()), "step": step},
        changed=[changes] if changes else [],
    )
    try:
        events = fork_run(folder.journal, copy.journal, step=step)
    except EverystepError:
        copy.discard()
        raise
    if not asked.go:
        told = f"{copy.path}: {events} events, up to step {step}\nnext: everystep resume {copy.path}\n"
        sys.stdout.write(told)
        return 0
    return go_on(copy, {}, Output(json=asked.json, quiet=asked.quiet))


def step_at(journal: Path, at: str) -> str:
    """Return the id of the accepted step with this number, or ``at`` itself where it is an id."""
    if not at.isdigit():
        return at
    from everystep.app.run_reading import find_step

    with Journal.read(journal) as reader:
        event = find_step(reader, int(at))
    if event is None:
        raise StoreError(f"{str(journal.parent)!r} has no step {at}. `everystep show` says how many it has.")
    return str(event.body["id"])
