"""Golden values, limits and a slow reference for generalised advantage estimation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bellmark.ops import returns
from bellmark.ops.returns import gae, horizon_within


def slow_gae(reward, value, value_next, bootstrap, done, gamma, lambda_):
    """The definition: A_t = sum_k (gamma lambda)^k delta_{t+k}, the sum ending with the episode."""
    steps = len(reward)
    delta = [reward[t] + gamma * bootstrap[t] * value_next[t] - value[t] for t in range(steps)]
    out = []
    for t in range(steps):
        total, factor = 0.0, 1.0
        for k in range(t, steps):
            total += factor * delta[k]
            factor *= gamma * lambda_
            if done[k]:
                break
        out.append(total)
    return out


def trajectory(seed: int, steps: int = 7):
    g = torch.Generator().manual_seed(seed)
    done = torch.rand(steps, generator=g) < 0.3
    return {
        "reward_t": torch.randn(steps, generator=g, dtype=torch.float64),
        "value_t": torch.randn(steps, generator=g, dtype=torch.float64),
        "value_tp1": torch.randn(steps, generator=g, dtype=torch.float64),
        "bootstrap_t": (torch.rand(steps, generator=g) < 0.6).double(),
        "done_t": done,
    }


def test_golden():
    # gamma 0.5, lambda 0.5; two steps, the second ends the task (no bootstrap), a third starts a new episode.
    # delta_0 = 1 + 0.5*2 - 3 = -1;  delta_1 = 4 + 0 - 2 = 2;  delta_2 = 0 + 0.5*6 - 1 = 2.
    # A_2 = 2; A_1 = 2 (cut); A_0 = -1 + 0.25*2 = -0.5.
    advantage = gae(
        torch.tensor([1.0, 4.0, 0.0]),
        torch.tensor([3.0, 2.0, 1.0]),
        torch.tensor([2.0, 9.0, 6.0]),
        torch.tensor([1.0, 0.0, 1.0]),
        torch.tensor([False, True, False]),
        gamma=0.5,
        lambda_=0.5,
    )
    torch.testing.assert_close(advantage, torch.tensor([-0.5, 2.0, 2.0]))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 0.99), st.floats(0.0, 1.0))
def test_equals_the_definition(seed, gamma, lambda_):
    data = trajectory(seed)
    expected = slow_gae(*(x.tolist() for x in data.values()), gamma, lambda_)
    torch.testing.assert_close(gae(**data, gamma=gamma, lambda_=lambda_), torch.tensor(expected, dtype=torch.float64))


def test_lambda_zero_is_one_step_td():
    data = trajectory(3)
    td = data["reward_t"] + 0.9 * data["bootstrap_t"] * data["value_tp1"] - data["value_t"]
    torch.testing.assert_close(gae(**data, gamma=0.9, lambda_=0.0), td)


def test_lambda_one_is_monte_carlo_minus_value():
    # One episode that ends with the task: rewards 1, 0, 2 and gamma 0.5 give returns 1.5, 1, 2 whatever the critic
    # says of inner states, as long as value_tp1 of a step is value_t of the next.
    value = torch.tensor([5.0, -3.0, 7.0])
    advantage = gae(
        torch.tensor([1.0, 0.0, 2.0]),
        value,
        torch.tensor([-3.0, 7.0, 99.0]),
        torch.tensor([1.0, 1.0, 0.0]),
        torch.tensor([False, False, True]),
        gamma=0.5,
        lambda_=1.0,
    )
    torch.testing.assert_close(advantage + value, torch.tensor([1.5, 1.0, 2.0]))


@pytest.mark.parametrize(
    ("gamma", "tolerance", "steps"), [(0.8, 0.01, 21), (0.8, 0.05, 14), (0.5, 0.5, 2), (0.99, 0.01, 459)]
)
def test_horizon_within(gamma, tolerance, steps):
    # The least k with gamma^k < tolerance: 0.8^21 = 0.0092 and 0.8^20 = 0.0115; 0.5^1 = 0.5 is not below 0.5.
    assert horizon_within(gamma, tolerance) == steps
    assert gamma**steps < tolerance <= gamma ** (steps - 1)


def test_horizon_within_refuses_no_discount():
    with pytest.raises(ValueError, match="must lie in"):
        horizon_within(1.0, 0.01)


def test_discounted_golden():
    # gamma 1/2, rewards 1 2 4 8, an end after the second, 16 after the data:
    # G_3 = 8 + 8 = 16; G_2 = 4 + 8 = 12; G_1 = 2 (end); G_0 = 1 + 1 = 2.
    reward, done = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([False, True, False, False])
    found = returns.discounted(reward, done, torch.tensor(16.0), 0.5)
    assert found.tolist() == [2.0, 2.0, 12.0, 16.0]


def test_n_step_golden():
    # The same with n = 3: row 0 stops at the end in row 1 (1 + 1), row 2 at the end of the data (4 + 4).
    reward, done = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([False, True, False, False])
    total, last = returns.n_step(reward, done, 3, 0.5)
    assert total.tolist() == [2.0, 2.0, 8.0, 8.0]
    assert last.tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_n_step_equals_the_definition(n):
    g = torch.Generator().manual_seed(n)
    reward, done = torch.randn(9, 4, generator=g), torch.rand(9, 4, generator=g) < 0.25
    total, last = returns.n_step(reward, done, n, 0.9)
    for t in range(9):
        for i in range(4):
            expected, k = 0.0, t
            while True:
                expected += 0.9 ** (k - t) * float(reward[k, i])
                if done[k, i] or k - t + 1 == n or k == 8:
                    break
                k += 1
            assert float(total[t, i]) == pytest.approx(expected, abs=1e-5)
            assert int(last[t, i]) == k


def test_expectile_loss_golden_and_its_minimum():
    # tau 0.9: errors 1 and -2 weigh 0.9 and 0.1: (0.9 + 0.4) / 2 = 0.65; tau 1/2 is half the mean square, 1.25.
    error = torch.tensor([1.0, -2.0])
    assert returns.expectile_loss(error, 0.9).item() == pytest.approx(0.65)
    assert returns.expectile_loss(error, 0.5).item() == pytest.approx(1.25)
    # Of 0 and 1 equally often, the 0.9-expectile v solves 0.9 (1 - v) = 0.1 v: v = 0.9.
    grid = torch.linspace(0, 1, 1001)
    losses = torch.stack([returns.expectile_loss(torch.tensor([0.0, 1.0]) - v, 0.9) for v in grid])
    assert grid[losses.argmin()].item() == pytest.approx(0.9, abs=1e-3)
