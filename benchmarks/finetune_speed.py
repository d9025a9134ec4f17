"""What an update, an iteration and an IQL step cost in the finetune family, beside Stable-Baselines3 and a plain PPO.

    pip install 'bellmark[bench]'
    python benchmarks/finetune_speed.py                 # four minutes of one core; writes benchmarks/results/

Update: 25,600 rows of 42 numbers, 32 minibatches, 4 epochs, 3 x 256 tanh for actor and critic, 8 actions, one thread,
fp32; synthetic numbers; each in a process of its own, as they differ in how they hold memory. End to end: 512 worlds
of the sparse PickCube for 50 steps, then that update; Stable-Baselines3 both as it is used, with one environment
object per world, and on our batch of worlds. All take turns; seconds are those of the process, and the best turn
counts. `plain_ppo.py` stands for single-file learners. The floor is the time of the same matrix products alone.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import click
import gymnasium
import numpy as np
import plain_ppo
import provenance
import torch
from gymnasium.spaces import Box
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from torch import nn

from bellmark.agents.finetune.advantages import Estimate
from bellmark.agents.finetune.agent import FinetuneAgent
from bellmark.agents.finetune.config import Finetune
from bellmark.agents.finetune.iql import gradient_step
from bellmark.agents.finetune.networks import ActionValues
from bellmark.agents.finetune.rollout import Rollout
from bellmark.agents.finetune.transitions import Transitions
from bellmark.agents.finetune.values import follow
from bellmark.cli.families import resolve
from bellmark.envs.api import BatchedEnv

OBS, ACTIONS, WORLDS, STEPS, MINIBATCH, EPOCHS = 42, 8, 512, 50, 800, 4
ROWS = WORLDS * STEPS
UPDATE_GOAL, WHOLE_GOAL, IQL_GOAL = 2.0, 3.0, 8.0


class World(gymnasium.Env[Any, Any]):
    """One world, as libraries that know nothing of batches take it; without its time limit's final observation."""

    def __init__(self, env: BatchedEnv) -> None:
        self.env = env
        self.observation_space, self.action_space = env.single_observation_space, env.single_action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        return self.env.reset(seed=seed)[0][0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One control step."""
        at = np.zeros(1, dtype=np.int64)
        moved = self.env.advance(at, action[None])
        late = bool(self.env.elapsed[0] >= self.env.horizon)
        return moved.obs[0], float(moved.reward[0]), bool(moved.terminated[0]), late, {}


class Worlds(VecEnv):
    """Our batch of worlds under Stable-Baselines3's interface."""

    def __init__(self, env: BatchedEnv) -> None:
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.env = env

    def reset(self) -> Any:
        """Begin everywhere."""
        return self.env.reset(seed=0)[0]

    def step_async(self, actions: Any) -> None:
        """Hold the actions."""
        self.actions = actions

    def step_wait(self) -> Any:
        """One control step everywhere."""
        obs, reward, terminated, truncated, info = self.env.step(self.actions)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in done]
        for i in np.flatnonzero(done):
            infos[i] = {"terminal_observation": info["final_obs"][i], "TimeLimit.truncated": bool(truncated[i])}
        return obs, reward.astype(np.float32), done, infos

    def close(self) -> None:
        """Nothing."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The same of every world."""
        return [getattr(self.env, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Nothing is set."""

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """No world has methods."""
        return []

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """None is."""
        return [False] * self.num_envs


class Still(World):
    """A world where nothing happens: only its spaces are used."""

    def __init__(self) -> None:
        self.observation_space = Box(-np.inf, np.inf, (OBS,), np.float32)
        self.action_space = Box(-1.0, 1.0, (ACTIONS,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Zeros."""
        return np.zeros(OBS, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Zeros."""
        return np.zeros(OBS, np.float32), 0.0, False, False, {}


def baseline(worlds: VecEnv) -> PPO:
    """Stable-Baselines3's PPO with our sizes and settings."""
    nets = {"net_arch": {"pi": [256] * 3, "vf": [256] * 3}, "activation_fn": nn.Tanh, "log_std_init": -0.5}
    return PPO(
        "MlpPolicy", worlds, n_steps=STEPS, batch_size=MINIBATCH, n_epochs=EPOCHS, gamma=0.8, gae_lambda=0.9,
        ent_coef=0.0, vf_coef=0.5, max_grad_norm=0.5, policy_kwargs=nets, device="cpu", seed=0,
    )  # fmt: skip


def sb3_update() -> Callable[[], object]:
    """Its `train` on a buffer of random numbers."""
    model = baseline(DummyVecEnv([Still for _ in range(WORLDS)]))
    model.learn(ROWS)  # one rollout fills the buffer
    buffer = model.rollout_buffer
    for name in ("observations", "actions", "advantages", "returns", "log_probs", "values"):
        column = getattr(buffer, name)
        column[:] = np.random.default_rng(0).standard_normal(column.shape)
    buffer.log_probs[:] = -8.0
    return model.train


def our_agent() -> FinetuneAgent:
    """The `ppo` recipe on the sparse task; no limit on the KL, so that every epoch is taken, as in the others."""
    config = resolve("ppo", ["task.reward=sparse", "update.target_kl=1e9", f"steps={ROWS}"]).config
    assert isinstance(config, Finetune)
    return FinetuneAgent(config, lambda name: {})


def our_update(agent: FinetuneAgent) -> Callable[[], object]:
    """The agent's update on random numbers of the rollout's shapes."""
    shape = (STEPS, WORLDS)
    flags = torch.zeros(shape, dtype=torch.bool)
    obs, action, log_prob = torch.randn(*shape, OBS), torch.randn(*shape, ACTIONS), torch.full(shape, -8.0)
    data = Rollout(obs, action, log_prob, torch.zeros(shape), obs, flags, flags, torch.zeros(shape), [], [], [], STEPS)
    estimate = Estimate(torch.arange(ROWS), torch.randn(ROWS), torch.randn(ROWS), 0, {})
    return lambda: agent.update(data, estimate)


def plain_update() -> Callable[[], object]:
    """The plain learner's."""
    plain = plain_ppo.PlainPpo(OBS, ACTIONS)
    data = (torch.randn(ROWS, OBS), torch.randn(ROWS, ACTIONS), torch.full((ROWS,), -8.0))
    advantage, target = torch.randn(ROWS), torch.randn(ROWS)
    return lambda: plain.update(*data, advantage, target)


def products() -> None:
    """The matrix products of an update, each into the same place."""
    sizes = [(42, 256), (256, 256), (256, 256)]
    x = {n: torch.randn(MINIBATCH, n) for n in (42, 256, 8, 1)}
    into = {n: torch.empty(MINIBATCH, n) for n in (42, 256, 8, 1)}
    for _ in range(EPOCHS * ROWS // MINIBATCH):
        for last in (ACTIONS, 1):
            for inputs, outputs in (*sizes, (256, last)):
                weight = torch.empty(inputs, outputs)
                torch.mm(x[inputs], weight, out=into[outputs])
                torch.mm(x[inputs].t(), x[outputs], out=weight)
                if inputs != OBS:
                    torch.mm(x[outputs], weight.t(), out=into[inputs])


def sb3_whole(worlds: VecEnv) -> Callable[[], object]:
    """One iteration: collect and train."""
    model = baseline(worlds)
    return lambda: model.learn(ROWS, reset_num_timesteps=False)


def iql_step(twins: int) -> Callable[[], object]:
    """A gradient step of IQL's Q and V at batch 256, and the slow copies' move."""
    critic = ActionValues((OBS, ACTIONS), 256, 3, twins, torch.Generator().manual_seed(0))
    trained = [p for p in critic.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=3e-4, weight_decay=1e-4, fused=True)
    flat = torch.rand(256)
    rows = Transitions(torch.randn(256, OBS), torch.randn(256, ACTIONS), flat, flat, torch.randn(256, OBS), flat)

    def step() -> None:
        gradient_step(critic, rows, 0.7, optimizer)
        follow(critic.slow_q, critic.q, 0.005)

    return step


def single_worlds() -> VecEnv:
    """An environment object per world."""
    task = our_agent().config.task
    return DummyVecEnv([lambda: World(task.make(1)) for _ in range(WORLDS)])


# What is timed: how it is made, how often it is done in a turn, and whether it steps worlds.
CONTENDERS: dict[str, tuple[Callable[[], Callable[[], object]], int, bool]] = {
    "update: Stable-Baselines3": (sb3_update, 1, False),
    "update: plain": (plain_update, 1, False),
    "update: Bellmark": (lambda: our_update(our_agent()), 1, False),
    "update: matrix products alone": (lambda: products, 1, False),
    "IQL step: one Q": (lambda: iql_step(1), 50, False),
    "IQL step: two Q": (lambda: iql_step(2), 50, False),
    "iteration: Stable-Baselines3, an object per world": (lambda: sb3_whole(single_worlds()), 1, True),
    "iteration: Stable-Baselines3, our batch": (
        lambda: sb3_whole(Worlds(our_agent().config.task.make(WORLDS))), 1, True,
    ),
    "iteration: Bellmark": (lambda: our_agent().iterate, 1, True),
}  # fmt: skip


def serve(name: str, wire: Connection) -> None:
    """In a process of its own: make it, then do it as often as asked, and say the seconds of the process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make, per_turn, _ = CONTENDERS[name]
    turn = make()
    wire.send(0.0)
    while wire.recv():
        began = time.process_time()
        for _ in range(per_turn):
            turn()
        wire.send((time.process_time() - began) / per_turn)


def measure(names: list[str], turns: int) -> dict[str, list[float]]:
    """Seconds of every turn of each, one after the other in every round."""
    context = multiprocessing.get_context("spawn")
    wires: dict[str, Connection] = {}
    for name in names:
        here, there = context.Pipe()
        context.Process(target=serve, args=(name, there), daemon=True).start()
        wires[name] = here
        here.recv()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(turns):
        for name, wire in wires.items():
            wire.send(True)
            seconds[name].append(wire.recv())
    for wire in wires.values():
        wire.send(False)
    return seconds


@click.command()
@click.option("--turns", default=5, show_default=True, help="Turns of each update and step; they alternate.")
@click.option("--whole", default=2, show_default=True, help="Turns of collect and update; 0 leaves them out.")
@click.option("--save/--no-save", default=True, show_default=True, help="Write the result file.")
def main(turns: int, whole: int, save: bool) -> None:
    """Measure the finetune family's speed."""
    seconds = measure([name for name, (_, _, steps) in CONTENDERS.items() if not steps], turns)
    if whole:
        seconds |= measure([name for name, (_, _, steps) in CONTENDERS.items() if steps], whole)
    best = {name: min(taken) for name, taken in seconds.items()}
    for name, taken in best.items():
        print(f"{name:<52}{1e3 * taken:>10.1f} ms of the process")
    faster = {}
    for goal, kind in ((UPDATE_GOAL, "update"), (WHOLE_GOAL, "iteration")):
        for name in best:
            if name.startswith(kind) and "Bellmark" not in name:
                ratios = [a / b for a, b in zip(seconds[name], seconds[f"{kind}: Bellmark"], strict=True)]
                faster[name] = round(float(np.median(ratios)), 2)
                print(f"Bellmark beside {name}: {faster[name]:.2f}x faster (goal {goal} beside Stable-Baselines3)")
    print(f"IQL step: {1e3 * best['IQL step: one Q']:.1f} ms (goal {IQL_GOAL})")
    if save:
        rows = {name: round(1e3 * taken, 2) for name, taken in best.items()}
        result = {"threads": 1, "turns": turns, "best_cpu_ms": rows, "times_faster_median_of_rounds": faster}
        print(f"wrote {provenance.save('finetune_speed', result)}")


if __name__ == "__main__":
    main()
