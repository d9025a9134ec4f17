"""DeepMind Control's tasks: equal to the installed dm_control, faster, and exactly restorable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from bellmark.config import Choice, knob
from bellmark.envs.dmc.catalogue import DIRECT_IDS, STOCK_IDS, check_installed, direct_task, resolve, task_ids

if TYPE_CHECKING:
    from bellmark.envs.api import BatchedEnv

__all__ = ["Dmc", "make_dmc", "task_ids"]


class Dmc(Choice):
    """A task of DeepMind Control: 1000 simulator steps, reward in [0, 1] at each, no termination (but for `lqr-*`)."""

    kind: Literal["dmc"] = "dmc"
    task: str = knob("walker-walk", "domain and task, such as dog-run or dmc/dog-run", scope="model")
    action_repeat: int = knob(
        2,
        "simulator steps under one action, their rewards summed; an episode has 1000 / action_repeat agent steps",
        unit="simulator steps",
        source="TD-MPC2, Hansen et al. 2024, appendix (action repeat 2 for all of DMControl)",
        scope="model",
        ge=1,
        le=1000,
    )

    observation: Literal["state", "pixels"] = knob(
        "state", "the state's numbers, or pictures of 64x64 from the task's camera (needs OpenGL)", scope="model"
    )

    @field_validator("task")
    @classmethod
    def _one_form(cls, task: str) -> str:
        return resolve(task)

    def make(self, num_envs: int, threads: int | None = None) -> BatchedEnv:
        """A batch of worlds stepped on `threads` threads; the result does not depend on their number."""
        env = make_dmc(self.task, num_envs, action_repeat=self.action_repeat, threads=threads)
        if self.observation == "state":
            return env
        from bellmark.envs.api import BatchedEnv
        from bellmark.envs.dmc.pictures import PictureSimulation

        return BatchedEnv(PictureSimulation(env.simulation))


def make_dmc(task: str, num_envs: int, *, action_repeat: int = 2, threads: int | None = None) -> BatchedEnv:
    """A batch of worlds of one DeepMind Control task, stepped on `threads` threads (default: all cores available).

    Tasks in `catalogue.DIRECT` run on the engine, the others through dm_control on one thread.

    Raises:
        UserError: no such task (names the nearest), or dm_control is not installed (names the command).
    """
    from bellmark.envs.api import BatchedEnv

    name = resolve(task)
    check_installed()
    config = {"kind": "dmc", "task": name, "action_repeat": action_repeat}
    if name in DIRECT_IDS:
        from bellmark.envs.engine import MujocoSimulation

        model = direct_task(name)
        simulation = MujocoSimulation(model, num_envs, action_repeat=action_repeat, threads=threads, config=config)
        return BatchedEnv(simulation)
    from bellmark.envs.dmc.stock import StockSimulation

    domain, original = STOCK_IDS[name]
    return BatchedEnv(StockSimulation(domain, original, num_envs, action_repeat=action_repeat, config=config))
