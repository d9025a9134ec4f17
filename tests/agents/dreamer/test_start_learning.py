"""Starts as the learner obeys them: which parameters move, what collects, what is taken, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bellmark.agents.dreamer.agent import BEHAVIOUR, WORLD, DreamerAgent
from bellmark.agents.dreamer.config import Dreamer
from bellmark.cli.families import resolve
from bellmark.cli.train import run_folder
from bellmark.config import build
from bellmark.errors import UserError
from bellmark.records import Run
from bellmark.train import checkpoint
from bellmark.train.families import make_agent
from bellmark.train.run import DONE, execute

TINY = (
    "model.deter=16", "model.units=8", "model.latents=4", "model.classes=4", "model.bins=21", "batch=4", "length=6",
    "train_ratio=4", "steps=160", "collect.envs=2", "collect.log_every=40", "evaluation.every=80",
    "evaluation.episodes=2", "optimizer.warmup=0", "learning.imagination.horizon=3",
)  # fmt: skip


def made(root: Path, *overrides: str) -> Path:
    return run_folder(resolve("dreamer_cartpole_state", [*TINY, *overrides]), root)


def networks(folder: Path) -> dict[str, torch.Tensor]:
    last = Run(folder).last_checkpoint()
    assert last is not None
    found: dict[str, torch.Tensor] = checkpoint.unpack(last.read(), "test")["state"]["learner"]["networks"]
    return found


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], parts: tuple[str, ...]) -> list[str]:
    """Of the tensors of some parts, those that differ."""
    mine = [name for name in before if name.partition(".")[0] in parts]
    assert mine
    return [name for name in mine if not torch.equal(before[name], after[name])]


@pytest.fixture(scope="module")
def bootstrapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made(tmp_path_factory.mktemp("bootstrap"), "start=bootstrap")
    assert execute(folder) == DONE
    return folder


def fresh(*overrides: str) -> DreamerAgent:
    config = build(Dreamer, dict(resolve("dreamer_cartpole_state", [*TINY, *overrides]).tree))
    from bellmark.train.worlds import spec_of

    return DreamerAgent(config, spec_of(config.task.make(1)), "cpu")


def test_a_bootstrap_moves_the_world_model_alone(bootstrapped: Path) -> None:
    before, after = fresh("start=bootstrap").nets.state_dict(), networks(bootstrapped)
    assert len(moved(before, after, WORLD)) > 10
    assert not moved(before, after, BEHAVIOUR)
    assert "actor and critic do not learn" in (bootstrapped / "log.txt").read_text()


def test_a_bootstrap_collects_uniform_actions() -> None:
    agent = fresh("start=bootstrap")
    with torch.no_grad():
        agent.nets.policy.output.bias[0] = 100.0  # a policy that always goes left
    obs, first = torch.zeros(400, 4), torch.ones(400, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    shares = [
        agent.policy.act(obs, first, agent.policy.initial(400), deterministic=d, generator=generator)
        .action.mean(0)[0]
        .item()
        for d in (False, True)
    ]
    assert 0.4 < shares[0] < 0.6 and shares[1] == 1.0


def test_bug_7_a_frozen_world_model_stays_as_it_was(bootstrapped: Path, tmp_path: Path) -> None:
    # The earlier code's dreamer mode stepped the world model's optimiser all along, whatever README said.
    folder = made(tmp_path, "start=stored", f"start.checkpoint={bootstrapped}")
    said: list[str] = []
    assert execute(folder, say=said.append) == DONE
    before, after = networks(bootstrapped), networks(folder)
    assert not moved(before, after, WORLD)
    assert len(moved(before, after, BEHAVIOUR)) > 10
    assert said[0] == f"start: world model of {bootstrapped} (step 160), frozen; actor and critic reset"
    assert said[0] in (folder / "log.txt").read_text()


def test_a_stored_world_model_can_go_on_learning(bootstrapped: Path, tmp_path: Path) -> None:
    folder = made(tmp_path, "start=stored", f"start.checkpoint={bootstrapped}", "start.world=training", "steps=80")
    assert execute(folder) == DONE
    assert len(moved(networks(bootstrapped), networks(folder), WORLD)) > 10


@pytest.mark.parametrize("kept", ["reset", "kept"])
def test_actor_and_critic_are_new_or_the_stored_ones(bootstrapped: Path, tmp_path: Path, kept: str) -> None:
    folder = made(tmp_path, "start=stored", f"start.checkpoint={bootstrapped}", f"start.actor_critic={kept}", "seed=7")
    run = Run(folder)
    config = build(Dreamer, run.meta.config)
    agent: Any = make_agent(config, folder, 1, "cpu")
    before = networks(bootstrapped)
    here = agent.learner.nets.state_dict()
    assert not moved(before, here, WORLD)
    assert bool(moved(before, here, BEHAVIOUR)) == (kept == "reset")


def test_a_checkpoint_of_another_model_is_refused_with_the_difference(bootstrapped: Path, tmp_path: Path) -> None:
    folder = made(tmp_path, "start=stored", f"start.checkpoint={bootstrapped}", "model.units=12")
    with pytest.raises(UserError, match=r"another model family: model.units: 8 there, 12 here"):
        execute(folder)
    folder = made(tmp_path, "start=stored", "start.checkpoint=pickcube_weak")
    with pytest.raises(UserError, match="belongs to family 'finetune', this run is 'dreamer'"):
        execute(folder)
    folder = made(tmp_path, "start=stored")
    with pytest.raises(UserError, match=r"needs start\.checkpoint"):
        execute(folder)


def test_bug_6_the_actor_learns_in_every_fourth_update_only() -> None:
    # 32-step batches, ratio 4: the earlier code's actor moved in every update.
    from bellmark.agents.api import Batch
    from bellmark.agents.dreamer.acting import kept

    agent = fresh("gating=gated", "gating.ratio.every=4", "length=6", "batch=4")
    generator = torch.Generator().manual_seed(1)
    rows, slices = agent.config.length + agent.config.context, agent.config.batch
    first = torch.zeros((rows, slices), dtype=torch.bool)
    steps = []
    for update in range(1, 9):
        action = torch.nn.functional.one_hot(torch.randint(2, (rows, slices), generator=generator), 2).float()
        deter = torch.zeros(rows, slices, agent.nets.rssm.deter)
        stoch = torch.zeros(rows, slices, agent.nets.rssm.latents, agent.nets.rssm.classes)
        obs = torch.randn((rows, slices, 4), generator=generator)
        reward = torch.ones(rows, slices)
        numbers = torch.arange(rows * slices).view(rows, slices)
        batch = Batch(obs, action, reward, torch.zeros_like(first), first, kept(deter, stoch), numbers)
        before = {k: v.clone() for k, v in agent.nets.state_dict().items()}
        agent.update(batch, update)
        after = agent.nets.state_dict()
        assert moved(before, after, ("rssm",))
        if moved(before, after, BEHAVIOUR):
            steps.append(update)
    assert steps == [4, 8]
