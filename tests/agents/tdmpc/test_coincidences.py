"""Settings that must come to the same thing do."""

from __future__ import annotations

import pytest
import torch
from tdmpc_small import agent, batch, practice, trace
from traced import shaken

from bellmark.agents.tdmpc.losses import value_loss
from bellmark.agents.tdmpc.policies import climb
from bellmark.ops import two_hot
from bellmark.ops.two_hot import SymlogBins

pytestmark = pytest.mark.usefixtures("tiny")
STATE = ("model.critic=state", "target=imagined")


def same(one, other, *, but=()):
    assert one.keys() == other.keys()
    for name in one.keys() - set(but):
        assert one[name] == pytest.approx(other[name], rel=1e-5, abs=1e-6), name


def test_one_member_local_is_global():
    one = trace(agent(*STATE, "model.critic.heads=1", "target.heads.values=local"))
    same(one, trace(agent(*STATE, "model.critic.heads=1", "target.heads.values=mean")))


def test_rollouts_learn_from_their_mean_two_hot():
    bins = SymlogBins()
    logits = torch.randn(3, 2, 4, 101, generator=torch.Generator().manual_seed(0))
    target_NPB = torch.randn(5, 2, 4, generator=torch.Generator().manual_seed(1))
    weight = torch.tensor([0.6, 0.4])
    each = torch.stack([(two_hot.cross_entropy(bins, logits, y).mean((0, 2)) * weight).sum() for y in target_NPB])
    assert value_loss(bins, logits, target_NPB, weight).item() == pytest.approx(each.mean().item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["joint", "separate"])
def test_auxiliary_of_weight_zero_is_none(kind):
    one = trace(agent(*STATE))
    other = trace(agent(*STATE, f"auxiliary={kind}", "auxiliary.weight=0"))
    added = {"loss/auxiliary", "grad/auxiliary", "parameters"}
    same({k: v for k, v in one.items() if k not in added}, {k: v for k, v in other.items() if k not in added})


def test_one_head_has_no_disagreement():
    made = shaken(agent(*STATE, "model.critic.heads=1"))
    losses = []
    for coef in (0, 5, -5):
        on = practice(made)
        on.generator.manual_seed(0)
        heads = made.config.policy.improvement.heads.model_copy(update={"coef": float(coef)})
        losses.append(climb(on, made.nets.world.policy, heads, samples=1, positions="all", move=False).loss.item())
    assert losses[0] == pytest.approx(losses[1]) == pytest.approx(losses[2])


def test_one_dynamics_head_has_one_rollout_strategy():
    one = trace(agent(*STATE))
    for strategy in ("concat", "split"):
        same(one, trace(agent(*STATE, f"slices.rollout_heads={strategy}")))


def test_a_mixture_of_one_kind_is_that_kind():
    clipped = (*STATE, "model.policy=clipped")
    plain = trace(agent(*clipped, "policy.improvement=gradient"), updates=2)
    mixed = trace(agent(*clipped, "policy.improvement=both", "policy.improvement.share=0"), updates=2)
    for name in ("loss/policy", "loss/consistency"):
        assert plain[name][0] == pytest.approx(mixed[name][0], rel=1e-5)


def test_trust_of_weight_zero_is_none_and_is_still_reported():
    off, on = trace(agent("policy.trust=0")), trace(agent("policy.trust=3"))
    assert off["loss/trust"][1] > 0
    assert off["loss/policy"][0] == pytest.approx(on["loss/policy"][0])
    assert off["parameters"] != on["parameters"]


def test_split_gives_every_slice_its_head():
    made = shaken(agent(*STATE, "model.dynamics.heads=2"))
    from bellmark.agents.tdmpc.losses import roll_out
    from bellmark.agents.tdmpc.slices import SLICES

    rollout = roll_out(made.nets.world, batch(made), later_gradient=False)
    split = SLICES["split"](rollout, batch(made)).z_TBL
    assert torch.equal(split[:, :4], rollout.z_THBL[:, 0, :4]) and torch.equal(split[:, 4:], rollout.z_THBL[:, 1, 4:])
    both = SLICES["concat"](rollout, batch(made))
    assert torch.equal(both.z_TBL[:, 8:], rollout.z_THBL[:, 1]) and torch.equal(
        both.reward_TB[:, 8:], batch(made).reward[1:]
    )
