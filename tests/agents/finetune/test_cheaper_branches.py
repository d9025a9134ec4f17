"""What makes re-rollouts cheaper keeps their mean: cuts, mirrored noise, replicas where they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from finetune_small import agent, config

from bellmark.agents.finetune.allocation import Even, Needed, apportion, nearby
from bellmark.agents.finetune.branches import Antithetic, Common, Independent
from bellmark.agents.finetune.config import PolicyNet
from bellmark.agents.finetune.networks import new_policy
from bellmark.agents.finetune.rerollout import NEVER, Cut, Replicas, reroll
from bellmark.envs.api import BatchedEnv, Exactness, Indices, Streams, Transition
from bellmark.envs.probe import Probe
from bellmark.errors import UserError

STATES, LIMIT, GAMMA = 5, 4, 0.8


class Walk:
    """x moves by the action, pays 1 where it ends up above 1/2, and ends above 2: returns are as random as actions."""

    num_envs: int
    horizon, action_repeat, exactness, succeeds = 8, 1, Exactness.BITWISE, True
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.x = np.zeros(num_envs)

    def begin(self, indices: Indices, rngs: Streams) -> np.ndarray:
        self.x[indices] = rngs.uniform(1)[:, 0]
        return self.x[indices, None].astype(np.float32)

    def advance(self, indices: Indices, actions: np.ndarray) -> Transition:
        self.x[indices] += actions[:, 0]
        x = self.x[indices]
        return Transition(x[:, None].astype(np.float32), (x > 0.5).astype(float), x > 2, x > 2)

    def save(self, indices: Indices) -> dict[str, np.ndarray]:
        return {"x": self.x[indices]}

    def load(self, indices: Indices, saved: Mapping[str, np.ndarray]) -> np.ndarray:
        self.x[indices] = saved["x"]
        return saved["x"][:, None].astype(np.float32)

    def render(self, index: int, height: int, width: int) -> np.ndarray:
        raise NotImplementedError

    def close(self) -> None:
        pass


def walk(times: int, n: int, *, noise: Any = None, cut: Cut = NEVER, seed: int = 0) -> tuple[torch.Tensor, float]:
    """Advantages (times, STATES) of the same walkers, asked again and again, and steps per state and time."""
    env = BatchedEnv(Walk(STATES))
    env.reset(seed=3)
    policy = new_policy(PolicyNet(hidden=4, layers=1), env, -0.5, torch.Generator().manual_seed(0))
    actions = torch.linspace(-0.6, 0.6, STATES)[:, None].repeat(times, 1)
    start = env.snapshot().take(np.tile(np.arange(STATES), times))
    replicas = Replicas(n, n, policy, noise or Independent(), GAMMA, cut)
    limit = np.full(STATES * times, LIMIT)
    generator = torch.Generator().manual_seed(seed)
    found = reroll(BatchedEnv(Walk(20_000)), start, actions, limit, replicas, generator)
    return (found.q_KM.mean(1) - found.v_KM.mean(1)).view(times, STATES), found.steps / (times * STATES)


TRUTH = walk(20_000, 2, seed=99)[0].mean(0)


def assert_unbiased(found: torch.Tensor) -> None:
    """Every state's mean lies within five standard errors of the truth (whose own are smaller)."""
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - TRUTH).abs() < 5 * error + 0.01).all(), (found.mean(0) - TRUTH, error)


def wrong(obs: torch.Tensor) -> torch.Tensor:
    """Values that are off by much, and differently everywhere."""
    return 3.0 + obs[:, 0].square()


def test_mirrored_noise_is_unbiased_normal_and_mirrored():
    noise = Antithetic().draw(4000, 4, 3, 2, torch.Generator().manual_seed(0))
    assert noise.shape == (4000, 7, 2)
    assert torch.equal(noise[:, 0], -noise[:, 1])
    assert torch.equal(noise[:, 2], -noise[:, 3])
    assert torch.equal(noise[:, :3], noise[:, 4:])
    assert noise[:, ::2].std().item() == pytest.approx(1.0, abs=0.02)
    assert_unbiased(walk(4000, 2, noise=Antithetic())[0])


def test_common_and_mirrored_noise_lower_the_variance():
    spread = {n.kind: walk(4000, 2, noise=n)[0].var(0).mean() for n in (Independent(), Common(), Antithetic())}
    assert spread["common"] < 0.8 * spread["independent"]
    assert spread["antithetic"] < spread["common"]


def test_a_corrected_cut_is_unbiased_whatever_the_values_and_a_plain_one_is_not():
    corrected, steps = walk(8000, 4, cut=Cut(2, 1, wrong))
    assert_unbiased(corrected)
    whole = walk(100, 4)[1]
    assert steps < 0.7 * whole
    plain, fewer = walk(2000, 4, cut=Cut(2, 0, wrong))
    assert fewer < steps
    assert (plain.mean(0) - TRUTH).abs().max() > 0.2


def test_the_cut_adds_the_discounted_value_golden():
    # Never-ending reward 1, gamma 1/2, value 2 = 1 / (1 - gamma) everywhere: cut or not, the return is 2 when the cut
    # comes first; the limit of 3 steps alone leaves 1 + 1/2 + 1/4. One of two goes on: its sum of both is unbiased.
    env = Probe(name="time-limit").make(1)
    env.reset(seed=0)
    policy = new_policy(PolicyNet(hidden=4, layers=1), env, -1.0, torch.Generator())
    for going_on, expected in ((0, 2.0), (1, 1.75), (2, 1.75)):
        cut = Cut(2, going_on, lambda obs: obs.new_full((len(obs),), 2.0))
        found = reroll(
            Probe(name="time-limit").make(8), env.snapshot(), torch.zeros(1, 1), np.array([3]),
            Replicas(2, 2, policy, Independent(), 0.5, cut), torch.Generator(),
        )  # fmt: skip
        assert found.q_KM.mean().item() == found.v_KM.mean().item() == pytest.approx(expected)
        assert found.steps == 2 * (2 * 2 + going_on)


class Noisy:
    """Stands for the simulator: pairs of known mean and spread, the same for a time of all environments."""

    def __init__(self, worlds: int, generator: torch.Generator) -> None:
        self.worlds, self.generator = worlds, generator

    def __call__(self, rows: torch.Tensor, n_q: int, n_v: int) -> Any:
        from bellmark.agents.finetune.rerollout import Branches

        # Rare large successes: skewed, so that a share decided by one's own samples would show.
        hit = torch.rand((len(rows), n_q), generator=self.generator) < self.chance(rows)[:, None]
        return Branches(hit.float(), torch.zeros(len(rows), n_v), len(rows) * (n_q + n_v))

    def chance(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.0, 0.0, 0.02, 0.1, 0.3, 0.5])[rows // self.worlds // 10]


def test_samples_where_needed_are_unbiased_and_better_than_even_ones():
    worlds, times = 4, 200
    ask, rows = Noisy(worlds, torch.Generator().manual_seed(0)), torch.arange(60 * worlds)
    errors = {}
    for allocation in (Even(), Needed()):
        means = [allocation.spend(ask, rows, 8, 8, worlds) for _ in range(times)]
        assert all(m.steps == 60 * worlds * 16 for m in means)
        found = torch.stack([m.q_K - m.v_K for m in means])
        by_time = found.view(times, 6, 10 * worlds).mean(2)
        expected = ask.chance(torch.arange(0, 60 * worlds, 10 * worlds))
        error = by_time.std(0) / times**0.5
        assert ((by_time.mean(0) - expected).abs() < 4 * error + 1e-9).all()
        errors[allocation.kind] = (found - ask.chance(rows)).square().mean().item()
    assert errors["needed"] < 0.95 * errors["even"]


def test_neighbours_speak_and_not_oneself_golden():
    # Two environments, three times; reach so short that only the next times count, e^-1 each, trust 1: the mean of all
    # counts as one. Environment 0 at time 1 hears times 0 and 2: (e^-1 (4 + 8) + mean) / (2 e^-1 + 1).
    x = torch.tensor([4.0, 0.0, 100.0, 0.0, 8.0, 0.0])
    found = nearby(x, torch.arange(6), 2, 1.0, 1.0)
    near, mean = np.exp(-1.0), x.mean().item()
    assert found[2].item() == pytest.approx((near * 12 + mean) / (2 * near + 1), rel=1e-6)
    assert found[0].item() == pytest.approx((near * 100 + near**2 * 8 + mean) / (near + near**2 + 1), rel=1e-6)


def test_apportion_keeps_the_sum():
    assert apportion(torch.tensor([1.0, 1.0, 2.0]), 8).tolist() == [2, 2, 4]
    assert apportion(torch.zeros(4), 6).sum() == 6
    assert apportion(torch.rand(100, generator=torch.Generator().manual_seed(0)), 37).sum() == 37


def test_the_continuations_critic_learns_its_values():
    # Reward 1 for one step and then an end: whatever policy goes on, V is 1.
    learner = agent(
        "task=probe", "task.name=constant", "critic=continued", "advantage=branch", "advantage.beyond=bootstrap",
        "critic.epochs=150", "critic.lr=1e-2", "critic.starts=24",
    )  # fmt: skip
    metrics = learner.iterate()
    assert metrics["steps/gathered"] == 24 * 25
    assert learner.critic(torch.zeros(1, 1)).item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["critic=continued"], "starts from saved states"),
        (
            ["critic=continued", "advantage=branch", "advantage.beyond=bootstrap", "data=offline", "update=awr"],
            "from the states of one rollout",
        ),
        (["critic=none", "advantage=branch", "advantage.beyond=bootstrap"], "set critic=continued"),
        (["advantage=branch", "advantage.allocation=needed", "advantage.n_q=3"], "n_q and n_v must be equal"),
    ],
)
def test_senseless_combinations_are_refused(overrides, reason):
    with pytest.raises(UserError, match=reason):
        config("task=probe", *overrides)
