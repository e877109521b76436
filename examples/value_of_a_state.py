"""Monte-Carlo values: continue a stored episode from each of its steps and see how often it still succeeds.

python examples/value_of_a_state.py
"""

from everystep.core.protocols import Sampling
from everystep.environments.catalog import world
from everystep.models.scripted import Noisy, Scripted
from everystep.run.branch import fork
from everystep.run.demonstrate import OracleSampler
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, rollout

COPIES = 40


def main() -> None:
    chosen = world("keydoor", side=4, horizon=14)
    hosts, limits, sampling = LocalHosts(chosen), Limits(max_steps=14), Sampling()
    wanderer = Scripted(["north", "north", "north", "west", *["north"] * 10])
    (trunk,) = rollout(
        hosts,
        wanderer,
        jobs_of([chosen.task("train", 3)], group_size=1, prefix="trunk", seed=0),
        sampling=sampling,
        limits=limits,
    )
    print(
        f"{trunk.task.instruction}\n{'step':>4}  {'action':<7} value before it, of an agent that errs in 3 of 10 moves"
    )
    for at, step in enumerate(trunk.steps):
        agent = Noisy(OracleSampler(hosts), error_rate=0.3)
        made = fork(hosts, agent, trunk, at, copies=COPIES, sampling=sampling, limits=limits, seed=1)
        value = sum(one.success is True for one in made) / COPIES
        print(f"{at:>4}  {step.action.text:<7} {value:.2f}  {'#' * round(30 * value)}")


if __name__ == "__main__":
    main()
