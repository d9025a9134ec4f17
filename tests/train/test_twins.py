"""One task in two simulators: policies cross between twins, and between no others."""

from __future__ import annotations

import finetune_small
import pytest

from bellmark.errors import UserError
from bellmark.train.checkpoint import check_family

PARTS = ("policy", "task")


def test_policies_cross_between_twins_only() -> None:
    content = {"family": "finetune", "config": finetune_small.config("task=pick_cube").tree()}
    check_family(content, "x", "finetune", finetune_small.config("task=maniskill"), PARTS)
    with pytest.raises(UserError, match="task: pick_cube there, cartpole here"):
        check_family(content, "x", "finetune", finetune_small.config("task=cartpole"), PARTS)
    with pytest.raises(UserError, match=r"policy\.hidden: 16 there, 24 here"):
        check_family(content, "x", "finetune", finetune_small.config("task=maniskill", "policy.hidden=24"), PARTS)
