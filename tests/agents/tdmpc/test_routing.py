"""Which parts each loss term teaches, and which it must leave alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tdmpc_small import agent, batch, practice
from traced import shaken

from bellmark.agents.tdmpc.agent import TdmpcAgent
from bellmark.agents.tdmpc.losses import model_losses, roll_out
from bellmark.agents.tdmpc.networks import frozen
from bellmark.agents.tdmpc.policies import trust_loss
from bellmark.agents.tdmpc.slices import SLICES

pytestmark = pytest.mark.usefixtures("tiny")
IMAGINED = ("model.critic=state", "target=imagined")
FULL = ("model.episodic=true", "model.dynamics.heads=2", "auxiliary=joint")
PARTS = ("encoder", "dynamics", "reward", "critic", "termination", "policy")


def taught(made: TdmpcAgent, term: torch.Tensor) -> set[str]:
    """The parts whose every parameter got a gradient that is not zero; fails where only some of a part did."""
    nets = made.nets
    parts = {name: getattr(nets.world, name) for name in PARTS}
    parts |= {"auxiliary": nets.auxiliary, "slow_critic": nets.slow_critic, "slow_policy": nets.slow_policy,
              "slow_auxiliary": nets.slow_auxiliary}  # fmt: skip
    if nets.explorer is not nets.world.policy:
        parts["explorer"] = nets.explorer
    nets.zero_grad(set_to_none=True)
    term.backward()
    reached = set()
    for name, part in parts.items():
        touched = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in part.parameters()]
        assert all(touched) or not any(touched), name
        if touched and touched[0]:
            reached.add(name)
    return reached


@pytest.mark.parametrize(
    ("term", "parts"),
    [
        ("consistency", {"encoder", "dynamics"}),
        ("encoder", {"encoder"}),
        ("reward", {"encoder", "dynamics", "reward"}),
        ("termination", {"encoder", "dynamics", "termination"}),
    ],
)
def test_terms_of_the_world_model(term, parts):
    made = shaken(agent(*FULL))
    rollout = roll_out(made.nets.world, batch(made), later_gradient=True)
    assert taught(made, model_losses(made.nets.world, rollout, batch(made), made.step_weights(3))[term]) == parts


def test_consistency_does_not_pull_encodings_towards_predictions():
    made = shaken(agent(*FULL))
    rollout = roll_out(made.nets.world, batch(made), later_gradient=True)
    assert (
        not rollout.encoded_TBL[1:].grad_fn
        or not torch.autograd.grad(
            rollout.encoded_TBL[1:].sum(),
            list(made.nets.world.encoder.parameters()),
            allow_unused=True,
            retain_graph=True,
        )[0]
        .abs()
        .sum()
    )


@pytest.mark.parametrize(
    ("overrides", "term", "parts"),
    [
        ((), "value", {"encoder", "dynamics", "critic"}),
        (IMAGINED, "value", {"encoder", "dynamics", "critic"}),
        ((*IMAGINED, "target.predict_at=encoded"), "value", {"encoder", "critic"}),
        ((*IMAGINED, "target.start_at=rollout"), "value", {"encoder", "dynamics", "critic"}),
        (("auxiliary.learn_from=replay",), "auxiliary", {"encoder", "auxiliary"}),
        (("auxiliary.learn_from=rollout",), "auxiliary", {"encoder", "dynamics", "auxiliary"}),
        ((*IMAGINED, "auxiliary.learn_from=imagined"), "auxiliary", {"encoder", "dynamics", "auxiliary"}),
    ],
)
@pytest.mark.parametrize("heads", ["single", "concat", "split"])
def test_terms_of_the_values(overrides, term, parts, heads):
    made = shaken(agent(*FULL, *overrides, f"slices.rollout_heads={heads}"))
    if heads == "single":  # the second dynamics head is not rolled out for values
        made = shaken(agent(*FULL, "model.dynamics.heads=1", *overrides))
    data = SLICES[heads](roll_out(made.nets.world, batch(made), later_gradient=False), batch(made))
    assert taught(made, made._values(data)[0][term]) == parts


@pytest.mark.parametrize(
    ("overrides", "name", "parts"),
    [
        ((), "policy", {"policy"}),
        (IMAGINED, "policy", {"policy"}),
        (("policy.improvement=distillation", "model.policy=clipped"), "policy", {"policy"}),
        (("policy.improvement=both", "model.policy=clipped", *IMAGINED), "policy", {"policy"}),
        ((), "trust", {"policy"}),
        (("policy.explorer=optimist",), "explorer", {"explorer"}),
    ],
)
def test_terms_of_the_policies(overrides, name, parts):
    made = shaken(agent(*FULL, *overrides))
    on = practice(made)
    world = made.nets.world
    with torch.no_grad():  # away from the slow copy, else the trust region has no slope
        world.policy.network.stacks[-1].bias.add_(0.1)
    with frozen(world.dynamics, world.reward, world.critic, world.termination):
        terms = {
            "policy": lambda: made.config.policy.improvement.improve(on, world.policy).loss,
            "trust": lambda: trust_loss(on, world.policy(on.data.z_TBL)),
            "explorer": lambda: made.config.policy.explorer.loss(on, made.nets.explorer),
        }
        assert taught(made, terms[name]()) == parts
    assert all(p.requires_grad for p in world.parameters() if p.dtype.is_floating_point)


@pytest.mark.parametrize("silenced", ["reward", "critic"])
def test_climbing_goes_through_reward_and_dynamics(silenced):
    made = shaken(agent(*IMAGINED))
    world, on = made.nets.world, replace(practice(made), entropy=0.0)  # whose gradient would hide that of the value
    with torch.no_grad():
        getattr(world, silenced).heads.stacks[-1].weight.zero_()  # a constant: what is left goes through the other
    with frozen(world.dynamics, world.reward, world.critic, world.termination):
        improvement = made.config.policy.improvement.improve(on, world.policy)
    assert taught(made, improvement.loss) == {"policy"}
