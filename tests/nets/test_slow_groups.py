"""Slow copies and the grouped optimiser against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bellmark.nets.groups import Adam, Descent, Group, sizes
from bellmark.nets.memory import keep_freed_memory
from bellmark.nets.slow import follow, slow_copy


def test_slow_copies_follow_at_their_rate():
    fast = nn.Linear(2, 2)
    slow = slow_copy(fast)
    before = slow.weight.clone()
    fast.weight.data += 1
    follow(slow, fast, 0.25)
    torch.testing.assert_close(slow.weight, before + 0.25)  # w + 0.25 (w + 1 - w)
    follow(slow, fast, 1.0)
    torch.testing.assert_close(slow.weight, fast.weight)
    assert not any(p.requires_grad for p in slow.parameters()) and fast.weight.requires_grad


def quadratic(scale: float = 1.0) -> tuple[Descent, nn.Parameter, nn.Parameter]:
    a, b = nn.Parameter(torch.tensor([3.0, 4.0])), nn.Parameter(torch.tensor([12.0]))
    return Descent([Group("a", [a]), Group("b", [b], scale)], Adam(lr=0.1, clip=1e9)), a, b


def test_first_step_is_the_learning_rate_of_the_group():
    # Adam's first step has length lr against the sign of the gradient, whatever its size.
    descent, a, b = quadratic(scale=0.3)
    descent.step((a.square().sum() + b.square().sum()) / 2)
    torch.testing.assert_close(a.data, torch.tensor([2.9, 3.9]))
    torch.testing.assert_close(b.data, torch.tensor([11.97]))


def test_norms_are_reported_before_clipping():
    # The gradient of half the square is the parameter: norms 5 and 12, together 13.
    descent, a, b = quadratic()
    told = descent.step((a.square().sum() + b.square().sum()) / 2)
    assert {k: float(v) for k, v in told.items()} == pytest.approx({"grad/a": 5, "grad/b": 12, "clip_share/all": 0})


def test_clipping():
    # To 6.5: together 13 is halved.
    _, a, b = quadratic()
    descent = Descent([Group("a", [a]), Group("b", [b])], Adam(lr=0.1, clip=6.5), "model")
    told = descent.step((a.square().sum() + b.square().sum()) / 2)
    assert [float(p.grad.norm()) for p in (a, b)] == pytest.approx([5 / 2, 12 / 2], rel=1e-5)
    assert told["clip_share/model"] == 1


def test_sizes_of_parameters_and_of_their_last_step():
    # What the moments tell must be what was done: parameters before and after the third step; c has no gradient.
    descent, a, b = quadratic(scale=0.3)
    c = nn.Parameter(torch.ones(4))
    assert {k: float(v) for k, v in descent.measure().items()} == {"param_norm/a": 5, "param_norm/b": 12}
    for _ in range(3):
        before = [p.detach().clone() for p in (a, b)]
        descent.step((a.square().sum() + b.square().sum()) / 2)
    told = {k: float(v) for k, v in descent.measure().items()}
    for name, now, former in zip("ab", (a.detach(), b.detach()), before, strict=True):
        assert told[f"param_norm/{name}"] == pytest.approx(float(now.norm()))
        assert told[f"update_ratio/{name}"] == pytest.approx(float((now - former).norm() / now.norm()), rel=1e-4)
    assert {k: float(v) for k, v in sizes(descent.optimizer, "c", [c]).items()} == {"param_norm/c": 2}


def test_equals_stock_adam_with_stock_clipping():
    torch.manual_seed(0)
    ours, stock = nn.Linear(5, 5), nn.Linear(5, 5)
    stock.load_state_dict(ours.state_dict())
    descent = Descent([Group("all", list(ours.parameters()))], Adam(lr=1e-2, eps=1e-5, clip=0.5))
    adam = torch.optim.Adam(stock.parameters(), lr=1e-2, eps=1e-5)
    for _ in range(10):
        x = torch.randn(8, 5)
        descent.step(ours(x).square().mean())
        adam.zero_grad()
        stock(x).square().mean().backward()
        nn.utils.clip_grad_norm_(stock.parameters(), 0.5)
        adam.step()
    torch.testing.assert_close(ours.weight, stock.weight, rtol=1e-4, atol=1e-5)


def test_weight_decay_is_decoupled():
    # No gradient but decay: w (1 - lr * decay) = 3 * 0.95.
    p = nn.Parameter(torch.tensor([3.0]))
    Descent([Group("p", [p])], Adam(lr=0.1, weight_decay=0.5)).step(0 * p.sum())
    torch.testing.assert_close(p.data, torch.tensor([2.85]))


def test_what_a_loss_does_not_reach_stays():
    descent, a, b = quadratic()
    norms = descent.step(a.sum())
    assert b.data.tolist() == [12.0] and float(norms["grad/b"]) == 0 and b.grad is None


def test_learning_rates_can_change_and_are_saved():
    descent, a, b = quadratic()
    descent.rescale("a", 0.5)
    descent.step(a.sum() + b.sum())
    torch.testing.assert_close(a.data, torch.tensor([2.95, 3.95]))
    other, *_ = quadratic()
    other.load_state_dict(descent.state_dict())
    assert other.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    with pytest.raises(KeyError):
        descent.rescale("c", 1.0)


def test_memory_setting_can_be_repeated():
    assert keep_freed_memory() == keep_freed_memory()
