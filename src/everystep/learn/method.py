"""What a recipe says to the loop. Importing this loads no torch, so a recipe's help is there at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from everystep.core.protocols import Logger, Loss
from everystep.credit.terms import Estimator
from everystep.learn.config import Training
from everystep.run.folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What a recipe adds to the loop: how credit is given, and the loss it is used in.

    ``tool_output`` trains what tools wrote as if the model had: for comparisons with the right way only.
    """

    estimator: Estimator
    loss: Loss
    tool_output: bool = False


def train(
    config: Training, method: Method, folder: RunFolder, *, loggers: Sequence[Logger] = ()
) -> dict[str, float]:
    """Run the loop of ``learn.training``: train from the start or the last checkpoint, return held-out numbers."""
    from everystep.learn.training import train as loop  # torch is loaded when training begins

    return loop(config, method, folder, loggers=loggers)
