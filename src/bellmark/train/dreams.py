"""`bellmark evaluate --dreams`: a dreamer's predictions beside what happened, as numbers, figures and a video."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from bellmark.agents.dreamer.dreams import Dreams, errors, open_loop
from bellmark.envs.video import write_video
from bellmark.errors import UserError
from bellmark.train.families import RunConfig, make_learner
from bellmark.train.recording import record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONTEXT = 5  # rows seen before a dream (Hafner et al. 2025, figure 4)
SAMPLES = 8  # dreams of vectors from each start; of pictures one, which is what a video can show
SHOWN = 3  # episodes in figures and videos, from their first start
DIMENSIONS = 6  # of a vector in figures
ZOOM, GAP, FPS = 3, 4, 10  # of the video
SEEN, DREAMED = (60, 160, 60), (200, 60, 60)  # colours of the frame around predictions


def write_dreams(
    config: RunConfig, state: Mapping[str, Any], folder: Path, *, episodes: int, seed: int, steps: int, origin: str
) -> list[Path]:
    """Record episodes, dream along them, write `dreams.json`, figures and, of pictures, a video; returns the files.

    Raises:
        UserError: a run of another family, whose model predicts no observations.
    """
    if config.family != "dreamer":
        raise UserError(f"--dreams needs a dreamer run; {origin} is of family {config.family!r}, which redraws nothing")
    chosen: Any = config
    with closing(config.task.make(episodes)) as env:
        learner: Any = make_learner(config, env, "cpu")
        learner.load_state_dict(state["learner"])
        recorded = record(learner.policy, env, seed, deterministic=True)
    pixels = recorded[0].obs.dtype == torch.uint8
    samples = 1 if pixels else SAMPLES
    generator = torch.Generator().manual_seed(seed)
    dreams = open_loop(
        learner.nets, chosen.learning, recorded, context=CONTEXT, steps=steps, samples=samples, generator=generator
    )
    by_step = errors(dreams)
    facts = {"policy": origin, "step": int(state["step"]), "episodes": episodes, "seed": seed, "context": CONTEXT}
    folder.mkdir(parents=True, exist_ok=True)
    content = {**facts, "samples": samples, "starts": len(dreams.starts), "by_step": by_step}
    (folder / "dreams.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    files = [folder / "dreams.json"]
    if pixels:
        files.append(write_video(grid(dreams), folder / "dreams.mp4", FPS))
    for name, figure in (("dreams", curves(dreams, pixels)), ("errors", error_figure(by_step))):
        for suffix in ("png", "svg"):
            files.append(folder / f"{name}.{suffix}")
            figure.savefig(files[-1], dpi=120)
    return files


def shown(dreams: Dreams) -> list[int]:
    """The first starts of the first few episodes."""
    firsts: dict[int, int] = {}
    for place, start in enumerate(dreams.starts):
        firsts.setdefault(start.episode, place)
    return list(firsts.values())[:SHOWN]


def grid(dreams: Dreams) -> list[NDArray[np.uint8]]:
    """Frames of a video: a column per episode; truth, model and difference below each other, ends in grey."""
    frames = []
    for h in range(len(dreams.valid)):
        columns = [_column(dreams, h, place) for place in shown(dreams)]
        frames.append(np.concatenate(columns, axis=1))
    return frames


def _column(dreams: Dreams, h: int, place: int) -> NDArray[np.uint8]:
    real, model = dreams.real_obs[h, place], dreams.obs[h, place, 0]
    if not dreams.valid[h, place]:
        real = model = np.full_like(real, 128)
    difference = (255 - np.abs(real.astype(np.int16) - model.astype(np.int16))).astype(np.uint8)
    tiles = (_tile(real, (255, 255, 255)), _tile(model, DREAMED if h else SEEN), _tile(difference, (255, 255, 255)))
    return np.concatenate(tiles, axis=0)


def _tile(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A picture enlarged, with a frame of a colour."""
    large = picture.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    high, wide, _ = large.shape
    tile = np.empty((high + 2 * GAP, wide + 2 * GAP, 3), dtype=np.uint8)
    tile[:] = colour
    tile[GAP:-GAP, GAP:-GAP] = large
    return tile


def curves(dreams: Dreams, pixels: bool) -> Figure:
    """Truth and dreams over time: the vector's dimensions where there are some, the reward, the continuation."""
    from matplotlib.figure import Figure

    places = shown(dreams)
    dimensions = 0 if pixels else min(DIMENSIONS, dreams.real_obs.shape[-1])
    rows = [
        *((f"observation {d}", dreams.real_obs[..., d], dreams.obs[..., d]) for d in range(dimensions)),
        ("reward", dreams.real_reward, dreams.reward),
        ("probability of going on", dreams.real_alive.astype(float), dreams.alive),
    ]
    figure = Figure(figsize=(4.2 * len(places), 1.7 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(places), sharex=True, squeeze=False)
    for column, place in enumerate(places):
        start = dreams.starts[place]
        axes[0][column].set_title(f"episode {start.episode}, dreamed from row {start.row}", fontsize=9)
        for row, (label, real, model) in enumerate(rows):
            _panel(axes[row][column], dreams.valid[:, place], real[:, place], model[:, place])
            axes[row][0].set_ylabel(label, fontsize=8)
        axes[-1][column].set_xlabel("steps dreamed")
    axes[0][0].legend(fontsize=7, frameon=False)
    return figure


def _panel(axes: Axes, valid: NDArray[np.bool_], real: NDArray[np.floating], model: NDArray[np.floating]) -> None:
    """One quantity (H + 1,) of one episode, and (H + 1, S) of its dreams, as far as the episode goes."""
    model = np.where(valid[:, None], model, np.nan)
    axes.plot(model, color="#c8553d", alpha=0.25, linewidth=0.8)
    axes.plot(model.mean(axis=1), color="#c8553d", linewidth=1.4, label="dreams and their mean")
    axes.plot(np.where(valid, real, np.nan), color="#1f2933", linewidth=1.4, label="truth")
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def error_figure(by_step: list[dict[str, float]]) -> Figure:
    """Errors by steps dreamed: observation beside a still world, reward, continuation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.8), layout="constrained")
    steps = [row["steps"] for row in by_step]
    panels = (
        ("error of observations / variance", {"obs_error": "dreams", "still_error": "nothing moves"}),
        ("error of rewards", {"reward_error": "dreams"}),
        ("probability of going on", {"continue_predicted": "dreams", "continue_real": "truth"}),
    )
    for axes, (title, lines) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for name, label in lines.items():
            axes.plot(steps, [row[name] for row in by_step], label=label)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("steps dreamed")
        axes.legend(fontsize=7, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
