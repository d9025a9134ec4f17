"""CartPole: Gymnasium's numbers bit for bit, and its picture without its renderer."""

from __future__ import annotations

import pickle

import gymnasium
import numpy as np
import pytest

from bellmark.config import build
from bellmark.envs.api import BatchedEnv
from bellmark.envs.cartpole import CartPole, CartPoleSimulation
from bellmark.envs.cartpole_picture import draw


def state_of(env: BatchedEnv) -> np.ndarray:
    """(N, 4) the float64 states."""
    return env.snapshot().arrays["state"]


def test_spaces_are_gymnasiums() -> None:
    reference = gymnasium.make("CartPole-v1")
    env = CartPole().make(2)
    assert env.single_observation_space == reference.observation_space
    assert env.single_action_space == reference.action_space
    assert reference.spec is not None and env.horizon == reference.spec.max_episode_steps


def test_every_step_equals_gymnasiums_to_the_bit() -> None:
    env = CartPole().make(5)
    env.reset(seed=0)
    references = [gymnasium.make("CartPole-v1").unwrapped for _ in range(5)]
    for reference, state in zip(references, state_of(env), strict=True):
        reference.reset()
        reference.state = state
    rng, ends = np.random.default_rng(1), 0
    for _ in range(400):
        action = (rng.random(5) < 0.5).astype(np.int64)
        _, reward, terminated, truncated, info = env.step(action)
        after = state_of(env)
        for i, reference in enumerate(references):
            want_obs, want_reward, want_terminated, _, _ = reference.step(int(action[i]))
            np.testing.assert_array_equal(info["final_obs"][i], want_obs)
            assert info["final_obs"].dtype == want_obs.dtype == np.float32
            assert (reward[i], terminated[i]) == (want_reward, want_terminated)
            if terminated[i]:
                ends += 1
                reference.reset()
                reference.state = after[i]
            else:
                np.testing.assert_array_equal(after[i], reference.state)
    assert ends > 50 and not truncated.any()


def test_a_balanced_pole_is_truncated_at_500() -> None:
    env = CartPole().make(1)
    obs, _ = env.reset(seed=2)
    for step in range(1, 501):
        x, speed, angle, turn = obs[0]
        obs, _, terminated, truncated, _ = env.step(np.array([int(angle + 0.3 * turn + 0.05 * x + 0.1 * speed > 0)]))
        assert not terminated[0] and truncated[0] == (step == 500)


def test_start_states_fill_their_range_evenly_and_independently() -> None:
    env = CartPole().make(4000)
    env.reset(seed=0)
    start = state_of(env)
    assert np.abs(start).max() <= 0.05
    # U(-0.05, 0.05): standard deviation 0.1/sqrt(12); a mean of 4000 lies within 4 standard errors of 0
    assert np.abs(start.mean(0)).max() < 4 * (0.1 / np.sqrt(12)) / np.sqrt(4000)
    np.testing.assert_allclose(start.std(0), 0.1 / np.sqrt(12), rtol=0.03)
    # correlations of 4000 independent pairs have standard error 1/sqrt(4000), also from one slot to the next
    beside = np.concatenate([start[1:], start[:-1]], axis=1)
    correlation = np.corrcoef(beside, rowvar=False) - np.eye(8)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(4000)


def test_the_sign_of_a_number_is_a_choice() -> None:
    choice, number = CartPole().make(4), CartPole(action="continuous").make(4)
    choice.reset(seed=3)
    number.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(30):
        a = rng.uniform(-1, 1, (4, 1))
        for got, want in zip(number.step(a)[:4], choice.step((a[:, 0] > 0).astype(int))[:4], strict=True):
            np.testing.assert_array_equal(got, want)


def test_wrong_actions_are_named() -> None:
    env = CartPole().make(3)
    env.reset(seed=0)
    for wrong in (2, -1):
        with pytest.raises(ValueError, match=f"got {wrong} in world 1"):
            env.step(np.array([0, wrong, 1]))
    env = CartPole(action="continuous").make(3)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"worlds \[2\]"):
        env.step(np.array([[0.0], [1.0], [np.inf]]))


@pytest.mark.parametrize("observation", ["state", "pixels"])
def test_a_restored_world_continues_bit_for_bit_elsewhere(observation: str) -> None:
    config = build(CartPole, {"observation": observation})
    env, other = config.make(4), config.make(4)
    env.reset(seed=5)
    other.reset(seed=6)
    actions = np.random.default_rng(0).integers(0, 2, (60, 4))
    for a in actions[:7]:
        env.step(a)
    snapshot = pickle.loads(pickle.dumps(env.snapshot()))
    order = np.array([3, 1, 0, 2])
    other.restore(snapshot.take(order))
    for a in actions[7:]:
        rows = zip(env.step(a)[:4], other.step(a[order])[:4], strict=True)
        assert all(np.array_equal(mine[order], theirs) for mine, theirs in rows)


def shrink(size: int, to: int) -> np.ndarray:
    """(to, size) the matrix that averages `size` pixels over `to` equal areas."""
    edges = np.arange(to + 1) * size / to
    pixel = np.arange(size)
    low, high = np.maximum(edges[:-1, None], pixel), np.minimum(edges[1:, None], pixel + 1)
    return np.clip(high - low, 0, None) * to / size


def test_the_picture_is_gymnasiums_shrunk_by_area(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pygame", reason="Gymnasium's renderer, for comparison only, needs: pip install pygame-ce")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    reference = gymnasium.make("CartPole-v1", render_mode="rgb_array").unwrapped
    reference.reset(seed=0)
    rng = np.random.default_rng(0)
    x, angle = rng.uniform(-2.4, 2.4, 8), rng.uniform(-0.21, 0.21, 8)
    frames = []
    for state in np.stack([x, np.zeros(8), angle, np.zeros(8)], axis=1):
        reference.state = state
        frames.append(reference.render())
    full = np.array(frames, dtype=np.float64)
    want = np.einsum("ij,njkc,lk->nilc", shrink(400, 64), full, shrink(600, 64), optimize=True)
    difference = np.abs(draw(x, angle, 64, 64) - want)
    assert difference.mean() < 0.05, "of 255; the bound asked for is 1"
    scene = difference[:, 24:52]
    assert scene[want[:, 24:52] < 250].mean() < 2, "where something is drawn, too"


def test_pixels_are_the_observation() -> None:
    env = CartPole(observation="pixels").make(3)
    obs, _ = env.reset(seed=0)
    assert obs.shape == (3, 64, 64, 3) and obs.dtype == np.uint8 and env.observation_space.contains(obs)
    for _ in range(5):
        moved, *_ = env.step(np.array([0, 1, 1]))
    assert not np.array_equal(moved, obs)
    np.testing.assert_array_equal(env.frame(1, 64, 64), moved[1])
    assert env.frame(0).shape == (240, 320, 3)


def test_a_lone_world_is_drawn_as_in_a_batch() -> None:
    x, angle = np.linspace(-2, 2, 7), np.linspace(-0.2, 0.2, 7)
    batch = draw(x, angle, 64, 64)
    for i in range(7):
        np.testing.assert_array_equal(draw(x[[i]], angle[[i]], 64, 64)[0], batch[i])


def test_the_cart_may_leave_the_picture() -> None:
    simulation = CartPoleSimulation(1)
    simulation.load(np.array([0]), {"state": np.array([[2.6, 0.0, 0.3, 0.0]])})
    assert simulation.render(0, 64, 64).shape == (64, 64, 3)
