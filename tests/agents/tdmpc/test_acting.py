"""What acting and reanalysis ask of the planner: where a plan starts, whose plans seed it, which value ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tdmpc_small import agent, batch
from torch import Tensor

from bellmark.agents.tdmpc import planner, reanalyse
from bellmark.agents.tdmpc.agent import TdmpcAgent

pytestmark = pytest.mark.usefixtures("tiny")
Asked = list[dict[str, Any]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Everything that the planner is asked from now on, with what it answered."""
    right: Callable[..., planner.Plan] = planner.plan
    found: Asked = []

    def plan(world: Any, search: Any, z: Tensor, mean: Tensor, generator: Any, **more: Any) -> planner.Plan:
        answer = right(world, search, z, mean, generator, **more)
        found.append({"search": search, "mean": mean, "answer": answer, "seeds": None, **more})
        return answer

    monkeypatch.setattr(planner, "plan", plan)
    monkeypatch.setattr(reanalyse, "plan", plan)
    return found


def acts(made: TdmpcAgent, *, deterministic: bool, first: tuple[bool, ...] = (True, True), state: Any = None) -> Any:
    state = made.policy.initial(2) if state is None else state
    obs = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    return made.policy.act(obs, torch.tensor(first), state, deterministic=deterministic, generator=made.generator)


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_plan_starts_from_the_former_one_while_the_episode_lasts(asked: Asked, deterministic: bool) -> None:
    made = agent()
    state = acts(made, deterministic=deterministic).state
    acts(made, deterministic=deterministic, first=(False, True), state=state)
    begun, went_on = asked
    former = begun["answer"].mean
    assert not begun["mean"].any() and former.any()
    assert torch.equal(went_on["mean"][0], torch.cat((former[0, 1:], torch.zeros(1, 2))))
    assert not went_on["mean"][1].any()


def test_the_explorer_seeds_plans_while_collecting_and_nowhere_else(asked: Asked) -> None:
    made = agent("policy.explorer=optimist")
    acts(made, deterministic=False)
    acts(made, deterministic=True)
    collecting, judging = asked
    z = torch.rand(4, 16)
    noise = torch.zeros(4, 2)
    explorer, policy = made.nets.explorer.act(z, noise), made.nets.world.policy.act(z, noise)
    assert not torch.equal(explorer, policy)
    assert torch.equal(collecting["seeds"](z, noise), explorer)
    assert judging["seeds"] is None and judging["search"].noise == 0


@pytest.mark.parametrize("which", ["online", "slow"])
def test_the_value_that_ends_plans(asked: Asked, which: str) -> None:
    made = agent(f"planner.value_net={which}", "reanalysis.interval=1", base="bmpc")
    critic = {"online": made.nets.world.critic, "slow": made.nets.slow_critic}[which]
    acts(made, deterministic=False)
    acts(made, deterministic=True)
    made.experts.renew(batch(made), 0, made.generator)
    assert len(asked) == 3
    assert all(each["critic"] is critic for each in asked)
    assert all(each["search"].discount == made.gamma < 1 for each in asked)
    assert asked[-1]["seeds"] == made.nets.world.policy.act_for_reanalysis and not asked[-1]["mean"].any()


def test_reanalysis_is_paced_in_steps_not_in_updates() -> None:
    made = agent("cadence.world=4", "cadence.value=2", "cadence.policy=1", "reanalysis.interval=3", base="bmpc")
    due = [made.experts.renew(batch(made), update, made.generator)[1] is not None for update in range(-1, 25)]
    assert [update for update, renewed in enumerate(due, -1) if renewed] == [0, 12, 24]
