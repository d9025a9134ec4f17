"""Recorded as for CUDA graphs, plans and updates stay what they are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from recorder import Recorder
from tdmpc_small import BASES, agent, batch

import bellmark.ops.native as native
from bellmark.agents.tdmpc.agent import TdmpcAgent
from bellmark.nets import blocks, ensemble
from bellmark.nets.ensemble import Ensemble
from bellmark.nets.graphs import EAGER, Recorded
from bellmark.ops.activations import norm

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own operations, members of ensembles together, the stock Mish."""
    monkeypatch.setattr(native, "library", lambda: None)
    monkeypatch.setattr(Ensemble, "_one_by_one", Ensemble._together)
    monkeypatch.setattr(ensemble, "mish", F.mish)
    monkeypatch.setattr(blocks, "norm_mish", lambda x, scale, *rest: F.mish(norm(x, scale, *rest)))


def recorded(made: TdmpcAgent) -> TdmpcAgent:
    """The agent with its updates and plans recorded; on a processor they draw from their callers' generators."""
    made._launch = Recorded(Recorder(made.generator))
    return made


@pytest.mark.parametrize("base", BASES)
def test_updates_are_the_same_replayed(base: str) -> None:
    plain, replayed = agent(base=base), recorded(agent(base=base))
    for n in range(3 * plain.config.cadence.pace * (EAGER + 2)):
        (before, written), (after, again) = (made.update(batch(made, n), 50) for made in (plain, replayed))
        torch.testing.assert_close(after, before, rtol=0, atol=0)
        assert (written is None) == (again is None)
    assert replayed._launch._recordings
    torch.testing.assert_close(replayed.state_dict(), plain.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("base", BASES)
def test_plans_are_the_same_replayed(base: str, deterministic: bool) -> None:
    plain, replayed = agent(base=base), agent(base=base)
    draws = [torch.Generator().manual_seed(5) for _ in range(2)]
    replayed.policy._launch = Recorded(Recorder(draws[1]))
    states = [made.policy.initial(2) for made in (plain, replayed)]
    for n in range(EAGER + 4):
        obs = torch.randn(2, 5, generator=torch.Generator().manual_seed(n))
        first = torch.tensor([n == 0, n % 3 == 0])
        before, after = (
            made.policy.act(obs, first, state, deterministic=deterministic, generator=draw)
            for made, state, draw in zip((plain, replayed), states, draws, strict=True)
        )
        torch.testing.assert_close(after, before, rtol=0, atol=0, equal_nan=True)
        states = [before.state, after.state]
    assert replayed.policy._launch._recordings


def test_a_schedule_that_moves_is_never_recorded() -> None:
    made = recorded(agent("policy.entropy=linear"))
    for n in range(3 * EAGER):
        made.update(batch(made, n), n)
    assert not made._launch._recordings


def test_how_many_kernels_are_launched() -> None:
    """A bound for those who change what runs on GPUs: each takes some microseconds, whatever the sizes."""
    made = agent("planner.iterations=6", "loss.encoder=0")
    made.update(batch(made), 50)  # tables are made and moments begin
    with Recorder(made.generator) as learning:
        made.update(batch(made), 50)
    state, obs = made.policy.initial(1), torch.zeros(1, 5)
    with torch.no_grad():
        z, first = made.nets.world.encode(obs), torch.ones(1, dtype=torch.bool)
        with Recorder(made.generator) as planning:
            made.policy._explored(made.generator, z, first, state)
    assert learning.launches <= 720 and planning.launches <= 1270, (learning.launches, planning.launches)
