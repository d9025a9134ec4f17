"""Short ways to make arms of simulated seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from bellmark.stats import Arm, SeedResult

MakeArm = Callable[..., Arm]


@pytest.fixture(scope="session")
def make_arm() -> MakeArm:
    """make_arm("name", [1.0, None, 2.0]) or make_arm("name", {"task": [[.1, .2], ...]}): None is a failed seed."""

    def make(
        name: str,
        seeds: Sequence[object] | Mapping[str, Sequence[object]],
        *,
        episodes: int | None = None,
        episode_sd: float | None = None,
        states: Mapping[int, str] | None = None,
    ) -> Arm:
        tasks = seeds if isinstance(seeds, Mapping) else {"task": seeds}
        results = {}
        for task, values in tasks.items():
            results[task] = [
                SeedResult(
                    seed=i,
                    state=(states or {}).get(i, "failed" if value is None else "done"),
                    steps=1000 * np.arange(1, np.atleast_1d([] if value is None else value).size + 1),
                    values=np.atleast_1d([] if value is None else value),
                    episodes=episodes,
                    episode_sd=episode_sd,
                )
                for i, value in enumerate(values)
            ]
        return Arm(name=name, results=results)

    return make
