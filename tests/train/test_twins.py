"""One task in two simulators: policies cross between twins, and between no others."""

from __future__ import annotations

import finetune_small
import pytest

from bellmark.errors import UserError
from bellmark.train.checkpoint import check_family
from bellmark.train.judge import Judge

PARTS = ("policy", "task")


def test_policies_cross_between_twins_only() -> None:
    content = {"family": "finetune", "config": finetune_small.config("task=pick_cube").tree()}
    check_family(content, "x", "finetune", finetune_small.config("task=maniskill"), PARTS)
    with pytest.raises(UserError, match="task: pick_cube there, cartpole here"):
        check_family(content, "x", "finetune", finetune_small.config("task=cartpole"), PARTS)
    with pytest.raises(UserError, match=r"policy\.hidden: 16 there, 24 here"):
        check_family(content, "x", "finetune", finetune_small.config("task=maniskill", "policy.hidden=24"), PARTS)


def test_a_shipped_policy_is_judged_on_another_task() -> None:
    assert Judge("pickcube_weak", "pick_cube/dense").judge(2, seed=1, sampled=False).deterministic.returns.max() > 1
    with pytest.raises(UserError, match="cartpole here"):
        Judge("pickcube_weak", "cartpole")
