"""``everystep``: one command a verb. A command's module is imported when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from everystep import __version__
from everystep.app.extras import remedy
from everystep.core.errors import ConfigError, EverystepError
from everystep.core.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Where a command lives, and one line about it. Its function takes the arguments after its name."""

    target: str
    summary: str


COMMANDS: Registry[Command] = Registry("command")
for _name, _target, _summary in (
    ("run", "running:run", "Run a long task: every step sampled, voted, checked, written down."),
    ("forecast", "forecasting:foretell", "What a task will take and its chance of success, before it runs."),
    ("approve", "approving:approve", "Answer what a run asks before a risky act."),
    ("fork", "running:fork", "Make another run from the middle of one."),
    ("train", "training:train", "Train an agent with a recipe; watch it learn."),
    ("resume", "running:resume", "Go on with a run that was stopped, killed or paused."),
    (
        "reproduce",
        "reproducing:reproduce",
        "Run a recipe's study: its arms on its small world, with intervals.",
    ),
    ("eval", "testing:evaluate", "Test a model on held-out tasks, with an interval."),
    (
        "bench",
        "benching:bench",
        "Run a benchmark on any model: published cases, measures, intervals; `bench list`.",
    ),
    ("compare", "comparing:compare", "Compare recipes fairly: equal budget, paired seeds, swept rates."),
    ("credit", "crediting:credit", "Give stored trajectories their credit again, by any estimator."),
    (
        "judge",
        "judging:judge",
        "Verdicts on stored steps: by rule, execution, a trained model, a model that is asked.",
    ),
    (
        "calibrate",
        "judging:calibrate",
        "What a judge is worth: reliability, where to cut, what a filter would do.",
    ),
    ("show", "showing:show", "What a run did, in the terminal."),
    ("view", "showing:view", "Write the run's page: curves, episodes, why each step got its credit."),
    ("import", "importing:importing", "Read traces of other tools: chats, benchmarks' logs, any JSON lines."),
    ("filter", "filtering:filtering", "Keep the good steps: rules, loss weights, a manifest of what went."),
    ("pairs", "filtering:pairing", "Preference pairs of siblings, of a task's trajectories, of a judge."),
    ("export", "exporting:exporting", "Write a run's trajectories for other tools."),
    ("serve", "serving:serve", "Everystep as an MCP server: run, inspect, approve, resume."),
    (
        "serve-screens",
        "serving:serve_screens",
        "A screen as an MCP server: gestures, or whole tasks in private.",
    ),
    ("recipes", "listing:recipes", "The recipes."),
    ("environments", "listing:environments", "The environments; --check tests one against the contract."),
    ("estimators", "listing:estimators", "The credit methods."),
    ("doctor", "listing:doctor", "What is installed here, what it can run, what is missing."),
):
    COMMANDS.add(_name, Command(target=f"everystep.app.{_target}", summary=_summary))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; return the exit code: 0 done, 1 failed, 2 wrong use, 3 paused, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())  # noqa: T201
        return 0
    if words[0] == "--version":
        print(__version__)  # noqa: T201
        return 0
    try:
        module, function = COMMANDS[words[0]].target.split(":")
        command = getattr(import_module(module), function)
        code = int(command(words[1:]) or 0)
        sys.stdout.flush()
        return code
    except SystemExit as end:  # --help and wrong flags
        return end.code if isinstance(end.code, int) else 2
    except ModuleNotFoundError as error:
        needed = remedy(error.name or "", words[0])
        if needed is None:
            raise
        return _complain(
            ConfigError(f"{words[0]} needs the package {error.name!r}. Install it with: {needed}"), 2
        )
    except ConfigError as error:
        return _complain(error, 2)
    except EverystepError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader has seen enough, as in `everystep show RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _complain(error: EverystepError, code: int) -> int:
    sys.stderr.write(f"everystep: {error}\n")
    return code


def overview() -> str:
    """Return the text of ``everystep --help``."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        (
            "everystep: agents that get long tasks right, one step at a time.",
            "",
            "usage: everystep COMMAND ...        (everystep COMMAND --help tells more)",
            "",
            *lines,
            "",
            "start here:  everystep run          runs a long task on this machine with a model that errs, and votes its errors away",
            "             everystep train        trains a small agent on this machine and opens its page's path",
        )
    )


def entry() -> None:
    """Run the command line of this process and exit."""
    raise SystemExit(main())
