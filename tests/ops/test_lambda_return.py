"""Lambda returns by hand, in their limits, and against the definition's sum."""

from __future__ import annotations

import pytest
import torch

from bellmark.ops.lambda_return import lambda_return


def test_by_hand() -> None:
    # r = (-, 1, 2), d = (-, 0.9, 0.5), V = (10, 20, 30), lambda 0.8, worked from the end:
    # R_1 = 2 + 0.5 (0.2 * 30 + 0.8 * 30) = 17
    # R_0 = 1 + 0.9 (0.2 * 20 + 0.8 * 17) = 1 + 0.9 * 17.6 = 16.84
    found = lambda_return(
        torch.tensor([99.0, 1.0, 2.0]), torch.tensor([99.0, 0.9, 0.5]), 0.8, torch.tensor([10.0, 20.0, 30.0])
    )
    assert found.tolist() == pytest.approx([16.84, 17.0])


def test_a_value_is_that_of_the_next_state() -> None:
    """Bug 4 of the users' log: V(s_i) instead of V(s_{i+1})."""
    value = torch.tensor([100.0, 1.0, 1.0])
    assert float(lambda_return(torch.zeros(3), torch.ones(3), 0.5, value)[0]) == 1.0


def test_limits() -> None:
    reward, value = torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([5.0, 6.0, 7.0, 8.0])
    discount = torch.full((4,), 0.9)
    # lambda 0 is one step ahead: r_{t+1} + 0.9 V_{t+1}
    assert lambda_return(reward, discount, 0.0, value).tolist() == pytest.approx([6.4, 8.3, 10.2])
    # lambda 1 is the whole sum: 1 + .9 (2 + .9 (3 + .9 * 8)) = 11.062
    assert float(lambda_return(reward, discount, 1.0, value)[0]) == pytest.approx(1 + 0.9 * (2 + 0.9 * (3 + 0.9 * 8)))


def test_an_end_and_a_cut() -> None:
    reward, value = torch.tensor([0.0, 1.0, 1.0]), torch.tensor([5.0, 6.0, 7.0])
    # state 1 is a real end: nothing follows; state 1 is where the trajectory was cut: its value stands for the rest
    assert float(lambda_return(reward, torch.tensor([1.0, 0.0, 1.0]), 1.0, value)[0]) == 1.0
    cut = torch.tensor([1.0, 0.0, 1.0])
    assert float(lambda_return(reward, torch.ones(3), cut, value)[0]) == 7.0
