"""Give steps their credit without training anything: records in, numbers and their reasons out.

python examples/credit_of_your_own_traces.py
"""

from everystep.core.records import Action, End, Observation, Step, Task, Trajectory
from everystep.credit.assess import assess
from everystep.credit.estimators import estimator
from everystep.credit.explain import explain, row_of

TASK = Task(id="find-the-key", instruction="Find the key.", environment="my-own")


def trajectory(name: str, walk: list[tuple[str, str]], outcome: float) -> Trajectory:
    """Make a trajectory of (state, action) pairs; the last step is paid the outcome."""
    steps = []
    for index, (state, action) in enumerate(walk):
        steps.append(
            Step(
                id=f"{name}/{index}",
                parent=steps[-1].id if steps else None,
                index=index,
                observation=Observation(text=state, anchor=state),
                action=Action(text=action),
                reward=outcome if index == len(walk) - 1 else 0.0,
            )
        )
    return Trajectory(
        id=name,
        task=TASK,
        group="attempts",
        steps=tuple(steps),
        end=End.DONE if outcome else End.FAILED,
        outcome=outcome,
        success=bool(outcome),
    )


def main() -> None:
    attempts = [
        trajectory("a", [("hall", "open drawer"), ("drawer", "take key")], 1.0),
        trajectory("b", [("hall", "open drawer"), ("drawer", "close drawer"), ("hall", "leave")], 0.0),
        trajectory("c", [("hall", "leave")], 0.0),
    ]
    for name in ("grpo", "gigpo"):
        table, credit = assess(attempts, estimator(name))
        print(f"\n{name}")
        for step, value in zip(table.step_ids or (), credit.value_S, strict=True):
            print(f"  {step}  {value:+.3f}")
    print(f"\n{explain(table, credit, row_of(table, 'b/1'))}")


if __name__ == "__main__":
    main()
