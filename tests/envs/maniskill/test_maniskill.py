"""ManiSkill's PickCube-v1: every step against ManiSkill's own, saved worlds, processes, what is missing."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Any

import finetune_small
import numpy as np
import pytest

from bellmark.envs.api import BatchedEnv, Exactness
from bellmark.envs.maniskill import ManiSkill, stand_in
from bellmark.errors import UserError

try:
    stand_in.load()
except UserError as missing:
    pytest.skip(str(missing), allow_module_level=True)

from bellmark.envs.maniskill import reading
from bellmark.envs.maniskill.painter import fit
from bellmark.envs.maniskill.simulation import PickCubeV1, starts
from bellmark.envs.maniskill.together import MODES, Together

FIRST = np.zeros(1, dtype=np.int64)
# By inverse kinematics: the open fingers on both sides of a cube that lies at CUBE.
AROUND = np.array([[-0.03892, 0.73700, -0.00831, -1.84328, 0.01049, 2.58023, 0.73144, 0.04, 0.04]], np.float32)
CUBE = np.array([[0.02, -0.03, 0.02, 1, 0, 0, 0]], np.float32)
GRASP, LIFT = np.array([0.0] * 7 + [-1]), np.array([0, -0.3, 0, 0, 0, 0, 0, -1])


def lifting(rng: np.random.Generator, steps: int = 40) -> np.ndarray:
    """(T, 8): close the fingers, then lift with some noise."""
    lift = LIFT + np.append(rng.normal(0, 0.1, 7), 0)
    return np.stack([GRASP] * 4 + [lift] * (steps - 4)).astype(np.float32)


class Stock:
    """ManiSkill's own environment, put where ours is."""

    def __init__(self, reward: str) -> None:
        self.env = stand_in.make(MODES[reward])

    def place(self, qpos: np.ndarray, cube: np.ndarray, goal: np.ndarray) -> None:
        self.env.reset(seed=1)
        sapien = stand_in.load()
        for body in (self.env.cube._bodies[0],):
            body.set_linear_velocity(np.zeros(3, np.float32))
            body.set_angular_velocity(np.zeros(3, np.float32))
        self.env.agent.reset(qpos[0])
        self.env.cube.set_pose(sapien.Pose(cube[0, :3], cube[0, 3:]))
        self.env.goal_site.set_pose(sapien.Pose(goal[0]))

    def step(self, action: np.ndarray) -> tuple[Any, ...]:
        obs, reward, terminated, _, info = self.env.step(action[None])
        flags = (terminated.item(), info["success"].item(), info["is_grasped"].item())
        return obs[0].numpy(), float(reward), *flags


@pytest.fixture(scope="module")
def stock() -> dict[str, Stock]:
    return {reward: Stock(reward) for reward in MODES}


def plays(rng: np.random.Generator) -> list[tuple[Any, np.ndarray]]:
    """Start states with (T, 8) actions: smooth random ones, and grasps of which some reach the goal."""
    found: list[tuple[Any, np.ndarray]] = []
    for _ in range(4):
        start = (
            np.append(AROUND[0, :7] + rng.normal(0, 0.05, 7), [0.04, 0.04])[None].astype(np.float32),
            np.append(rng.uniform(-0.1, 0.1, 2), [0.02, 1, 0, 0, 0])[None].astype(np.float32),
            rng.uniform(-0.1, 0.1, (1, 3)).astype(np.float32),
        )
        walk = np.cumsum(rng.normal(0, 0.3, (30, 8)), axis=0)
        found.append((start, np.clip(walk, -1.3, 1.3).astype(np.float32)))
    for height in (0.02, 0.06, 0.12):
        goal = np.append(CUBE[0, :2], height)[None].astype(np.float32)
        found.append(((AROUND, CUBE, goal), lifting(rng)))
    return found


@pytest.mark.parametrize("reward", ["sparse", "dense"])
def test_every_step_is_maniskills_own(reward: str, stock: dict[str, Stock]) -> None:
    own, theirs = PickCubeV1(1, reward=reward), stock[reward]
    grasps, successes = 0, 0
    for start, actions in plays(np.random.default_rng(3)):
        theirs.place(*start)
        own.place(FIRST, *start)
        for action in actions:
            obs, gain, terminated, success, held = theirs.step(action)
            ours = own.advance(FIRST, action[None])
            assert np.array_equal(ours.obs[0], obs)
            assert ours.reward[0] == pytest.approx(gain, abs=1e-6)
            assert (ours.terminated[0], ours.success[0]) == (terminated, success)
            grasps += held
            successes += success
    assert grasps > 50 and successes > 2, "the plays must reach what is to be compared"
    own.close()


def test_start_states_are_spread_as_maniskills(stock: dict[str, Stock]) -> None:
    from bellmark.envs.api import Streams

    keys = np.stack([np.full(2000, 5), np.arange(2000), np.zeros(2000, dtype=int)], axis=1)
    qpos, cube, goal = starts(Streams(keys))
    theirs = np.concatenate([stock["sparse"].env.reset(seed=seed)[0].numpy() for seed in range(150)])
    assert np.allclose(qpos[:, :7].std(0), 0.02, rtol=0.06) and np.allclose(theirs[:, :7].std(0), 0.02, rtol=0.25)
    for mine, column in ((qpos[:, :7], slice(0, 7)), (goal, slice(26, 29)), (cube[:, :3], slice(29, 32))):
        assert np.allclose(mine.mean(0), theirs[:, column].mean(0), atol=0.03)
        assert np.allclose(mine.std(0), theirs[:, column].std(0), rtol=0.25, atol=1e-6)
    assert np.allclose(np.linalg.norm(cube[:, 3:], axis=1), 1)


def test_the_approximate_label_is_deserved() -> None:
    """Untouched worlds go on bit for bit; with a cube in the fingers they part, and not far."""
    with closing(BatchedEnv(PickCubeV1(2))) as env:
        assert env.exactness is Exactness.APPROXIMATE
        simulation = env.simulation
        assert isinstance(simulation, PickCubeV1)
        env.reset(seed=0)
        up = np.tile(np.array([0, -1, 0, 1, 0, 0.3, 0, 1], np.float32), (2, 1))
        for _ in range(5):
            env.step(up)
        snapshot = env.snapshot()
        free = np.stack([env.step(up * 0.5)[0] for _ in range(5)])
        assert np.array_equal(env.restore(snapshot), snapshot_obs(snapshot))
        assert np.abs(np.stack([env.step(up * 0.5)[0] for _ in range(5)]) - free).max() < 1e-3
        worst = 0.0
        simulation.place(FIRST, AROUND, CUBE, CUBE[:, :3] + np.float32(0.2))
        for t, action in enumerate(lifting(np.random.default_rng(0), 30)):
            env.advance(FIRST, action[None])
            if t % 6 == 5:
                saved = env.snapshot(FIRST)
                obs = reading.observe(saved.arrays["reading"])
                first = future(env, FIRST, action)
                assert np.array_equal(env.restore(saved, FIRST + 1), obs)
                elsewhere = future(env, FIRST + 1, action)
                worst = max(worst, float(np.abs(first - elsewhere).max()))
                env.restore(saved, FIRST)
        assert 0 < worst < 0.3, "if this is 0, restoring is exact: the label may be better"


def snapshot_obs(snapshot: Any) -> np.ndarray:
    return reading.observe(snapshot.arrays["reading"])


def future(env: BatchedEnv, at: np.ndarray, action: np.ndarray) -> np.ndarray:
    return np.stack([env.advance(at, action[None]).obs for _ in range(6)])


def test_processes_change_nothing_but_the_time() -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (12, 5, 8))
    seen = []
    for threads in (1, 2):
        with closing(ManiSkill(reward="dense", horizon=8).make(5, threads)) as env:
            obs, _ = env.reset(seed=4)
            seen.append([obs])
            for action in actions:
                obs, reward, terminated, truncated, info = env.step(action)
                seen[-1] += [obs, reward, terminated, truncated, info["final_obs"]]
            order = np.array([4, 0, 3])
            snapshot = env.snapshot(order)
            assert np.array_equal(env.restore(snapshot, np.array([0, 1, 2])), obs[order])
            with pytest.raises(ValueError, match="non-finite action"):
                env.step(actions[0] * np.nan)
    assert all(np.array_equal(a, b) for a, b in zip(*seen, strict=True))


def test_stand_ins_are_gone_after_the_build() -> None:
    sapien = stand_in.load()
    builder = sapien.wrapper.actor_builder.ActorBuilder
    before = (sapien.render.RenderMaterial, builder.add_box_visual)
    PickCubeV1(1).close()
    assert (sapien.render.RenderMaterial, builder.add_box_visual) == before


def test_a_frame_or_what_it_would_need() -> None:
    with closing(ManiSkill().make(1)) as env:
        env.reset(seed=0)
        if not stand_in.can_draw():
            with pytest.raises(UserError, match="mesa-vulkan-drivers"):
                env.frame()
            return
        frame = env.frame(0, 120, 160).astype(int)
    assert frame.shape == (120, 160, 3)
    red, green, blue = frame[..., 0], frame[..., 1], frame[..., 2]
    assert ((red - green > 60) & (red - blue > 60)).any() and ((green - red > 60) & (green - blue > 60)).any()


def test_a_frame_is_cut_to_its_shape() -> None:
    frame = np.arange(16, dtype=np.uint8).reshape(4, 4, 1).repeat(3, axis=2)
    assert fit(frame, 2, 4)[..., 0].tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert fit(frame, 2, 2)[..., 0].tolist() == [[5, 7], [13, 15]]


def test_the_batched_interface_is_driven_right() -> None:
    """The GPU's code with ManiSkill's single world: the same starts, steps and ends as ours, to its rounding."""
    with (
        closing(BatchedEnv(Together(stand_in.make(MODES["dense"]), 20))) as theirs,
        closing(ManiSkill(reward="dense", horizon=20).make(1)) as own,
    ):
        assert np.allclose(theirs.reset(seed=2)[0], own.reset(seed=2)[0], atol=1e-5)
        for action in np.random.default_rng(1).uniform(-1, 1, (30, 1, 8)):
            for a, b in zip(theirs.step(action)[:4], own.step(action)[:4], strict=True):
                assert np.allclose(a, b, atol=1e-3)
        snapshot = theirs.snapshot()
        assert np.array_equal(theirs.restore(snapshot), snapshot.arrays["obs"])
        with pytest.raises(UserError, match=r"simulator=cpu"):
            theirs.frame()


def test_what_is_missing_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device"):
        ManiSkill(simulator="cuda").make(2)
    with pytest.raises(UserError, match=r"advantage\.worlds=512"):
        ManiSkill().make(10_000)
    monkeypatch.setitem(sys.modules, "mani_skill", None)
    with pytest.raises(UserError, match=r"pip install 'bellmark\[maniskill\]'"):
        stand_in.load.__wrapped__()


@pytest.mark.parametrize("advantage", ["gae", "branch"])
def test_the_finetune_family_learns_on_it(advantage: str) -> None:
    room = ("collect.envs=3", "collect.steps=4", "steps=12", "task=maniskill")
    critic = (
        ("critic=none", "advantage.worlds=8", "advantage.n_q=2", "advantage.n_v=2") if advantage == "branch" else ()
    )
    agent = finetune_small.agent(*room, f"advantage={advantage}", *critic)
    metrics = agent.iterate()
    assert metrics["steps/real"] == 12
    assert (metrics["steps/branch"] > 0) == (advantage == "branch")
    agent.env.close()
