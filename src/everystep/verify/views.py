"""What of a solution a step reward model gets to read: parts of its steps, chosen by name.

A step's text has parts where lines begin with a name and a colon (``thought: add 5``, ``step: 7 + 5 = 1 2``). A view is a projection: which parts
of the earlier steps, and which of the judged one. Observations are never part of it, since they may give away what the view leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from everystep.core.errors import ConfigError
from everystep.core.protocols import Evidence

_NAME = re.compile(r"^[ \t]*([A-Za-z_]\w{0,31})[ \t]*:", re.MULTILINE)

Tell = Callable[[Evidence], str]
"""What is told of a step and of what came before it, as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """The parts that are told of ``earlier`` steps and of the ``judged`` one, behind the ``task`` or not.

    The four views of arXiv 2412.15904 for steps of a thought T and an expression E are ``FULL``, ``MATHS``, ``NEWEST`` and ``NEXT_THOUGHT``.
    """

    name: str
    earlier: tuple[str, ...] = ()
    judged: tuple[str, ...] = ()
    task: bool = True

    def __post_init__(self) -> None:
        if not self.judged:
            raise ConfigError(f"view {self.name!r} shows nothing of the judged step. Name a part of it.")

    def tell(self, evidence: Evidence) -> str:
        """Return the task, if it is told, and a line for each step that has one of the parts."""
        told = [evidence.task.instruction] if self.task else []
        told += [_told(step.action.text, self.earlier) for step in evidence.before]
        told.append(_told(evidence.step.action.text, self.judged))
        return "\n".join(line for line in told if line)


THOUGHT, EXPRESSION = "thought", "step"
FULL = StepView(name="full context", earlier=(THOUGHT, EXPRESSION), judged=(THOUGHT, EXPRESSION))
MATHS = StepView(name="maths only", earlier=(EXPRESSION,), judged=(EXPRESSION,))
NEWEST = StepView(name="newest expression", judged=(EXPRESSION,))
NEXT_THOUGHT = StepView(name="next thought", earlier=(THOUGHT, EXPRESSION), judged=(THOUGHT,))


def parts_of(text: str) -> dict[str, str]:
    """Return the named parts of a step's text, in order; what stands before the first name is called ``""``.

    >>> parts_of("thought: add 5\\nstep: 7 + 5 = 1 2")
    {'thought': 'add 5', 'step': '7 + 5 = 1 2'}
    """
    found: dict[str, str] = {}
    name, start = "", 0
    for match in [*_NAME.finditer(text), None]:
        part = text[start : match.start() if match else len(text)].strip()
        if part:
            found[name] = f"{found[name]}\n{part}" if name in found else part
        if match:
            name, start = match[1].lower(), match.end()
    return found


def _told(text: str, names: tuple[str, ...]) -> str:
    parts = parts_of(text)
    return " ; ".join(parts[name] for name in names if name in parts)
