"""Synthetic ledgers: sweeps planned from real recipes, runs written by the records' own writer; pages parsed back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml

from bellmark.cli.families import resolve
from bellmark.records import Run, RunMeta, RunWriter, create_run
from bellmark.reports import collect_plan
from bellmark.reports.dossier import Dossier
from bellmark.sweeps.plan import plan
from bellmark.sweeps.schema import load_sweep
from bellmark.sweeps.work import Plan, PlannedRun

EPISODES = 128
EVERY = 10_000
QUESTION: dict[str, Any] = {
    "name": "duel",
    "question": "Does AWR on re-rollouts beat PPO with GAE?",
    "hypothesis": "Measured advantages need no critic.",
    "expect": {"metric": "eval/success", "last": 3, "minimum_effect": 0.02},
    "base": "gae_ppo_finetune",
    "list": [{"name": "awr", "recipe": "awr_rerollout"}],
    "seeds": [1, 2, 3],
    "notes": "Small enough for a laptop.",
}
# Success after 0, 10,000, ... 50,000 steps: every arm starts at 58 of 128 episodes.
CURVES: dict[str, Sequence[int]] = {
    "gae_ppo_finetune": (58, 70, 80, 88, 92, 94),
    "awr": (58, 92, 110, 118, 122, 124),
}


@dataclass
class Ledger:
    """A sweep file, its plan, and the runs written for it so far; `question` may be changed between calls."""

    folder: Path
    question: dict[str, Any]
    commit: str = "d53c0cc1b2a3" + "0" * 28
    written: list[Path] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.folder / "duel.yaml"

    @property
    def runs_root(self) -> Path:
        return self.folder / "runs"

    def plan(self) -> Plan:
        self.file.write_text(yaml.safe_dump(self.question), encoding="utf-8")
        return plan(load_sweep(self.file), resolve, self.runs_root)

    def dossier(self) -> Dossier:
        found = self.plan()
        return collect_plan(found, found.results(), str(self.file))

    def write(
        self,
        planned: PlannedRun,
        hits: Sequence[int],
        *,
        state: str = "done",
        reason: str = "",
        commit: str | None = None,
        diff: str = "",
        versions: Mapping[str, str] | None = None,
        episodes: int = EPISODES,
    ) -> Run:
        """One run; `hits` are successes out of `episodes` at each evaluation."""
        resolved = planned.resolved
        meta = RunMeta(
            name=planned.name,
            family=resolved.family,
            recipe=resolved.recipe,
            overrides=list(planned.overrides),
            config=resolved.tree,
            fingerprint=planned.fingerprint,
            model_fingerprint=resolved.model_fingerprint,
            task=planned.task,
            seed=planned.seed,
            steps=planned.steps,
            sweep="duel",
            arm=planned.arm,
            commit=commit or self.commit,
            dirty=bool(diff),
            versions=dict(versions or {"python": "3.11.2", "mujoco": "3.17.0", "torch": "2.13.0"}),
            created="2026-02-17T20:52:00+00:00",
        )
        create_run(planned.dir, meta, diff)
        branch = 0 if planned.arm == "gae_ppo_finetune" else 400_000
        with RunWriter(planned.dir) as writer:
            for i, hit in enumerate(hits):
                row = {
                    "eval/success": hit / episodes,
                    "eval/success_sampled": 0.9 * hit / episodes,
                    "eval/episodes": float(episodes),
                    "steps/real": float(EVERY * i),
                    "steps/branch": float(branch * i),
                    "time/evaluate": 0.5,
                }
                work = {"time/collect": 1.0, "time/update": 2.0} if i else {}
                writer.log(EVERY * i, {**row, **work})
            writer.finish(state, reason)
        self.written.append(planned.dir)
        return Run(planned.dir)

    def write_all(self, **settings: Any) -> None:
        """Every planned run, seeds two hits apart."""
        for planned in self.plan().runs:
            base = CURVES[planned.arm]
            self.write(planned, [base[0], *(h + 2 * (planned.seed - 2) for h in base[1:])], **settings)

    def write_all_of(self, arm: str, hits: Sequence[int]) -> None:
        """All seeds of one arm, alike."""
        for planned in self.plan().runs:
            if planned.arm == arm:
                self.write(planned, hits)

    def write_one(self, arm: str, seed: int, hits: Sequence[int] | None = None, **settings: Any) -> None:
        """One run, found by arm and seed."""
        run = next(r for r in self.plan().runs if (r.arm, r.seed) == (arm, seed))
        self.write(run, CURVES[arm] if hits is None else hits, **settings)


VOID = {"meta", "input", "br", "link", "img", "hr", "wbr"}
Attributes = dict[str, str]


class Page(HTMLParser):
    """A parsed page: its elements in order, and whether tags close as they opened."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, Attributes]] = []
        self.texts: list[tuple[tuple[int, ...], str]] = []
        self.open: list[tuple[str, int]] = []
        self.above: list[tuple[int, ...]] = []
        self.wrong: list[str] = []
        self.feed(html)
        self.close()
        self.wrong += [f"<{tag}> never closed" for tag, _ in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.above.append(tuple(i for _, i in self.open))
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append((tag, len(self.elements) - 1))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.above.append(tuple(i for _, i in self.open))
        self.elements.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1][0] == tag:
            self.open.pop()
        else:
            self.wrong.append(f"</{tag}> inside {[t for t, _ in self.open[-3:]]}")

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(i for _, i in self.open), data))

    def all(self, tag: str, **attributes: str) -> list[int]:
        """Indices of elements with these attributes; `class_` asks for one of the classes."""

        def fits(have: Attributes) -> bool:
            wanted = attributes.copy()
            word = wanted.pop("class_", "")
            names = {k.replace("_", "-"): v for k, v in wanted.items()}
            return (not word or word in have.get("class", "").split()) and all(
                have.get(k) == v for k, v in names.items()
            )

        return [i for i, (t, have) in enumerate(self.elements) if t == tag and fits(have)]

    def inside(self, index: int, outer: int) -> bool:
        """Whether an element lies inside another."""
        return outer in self.above[index]

    def attributes(self, index: int) -> Attributes:
        return self.elements[index][1]

    def text(self, index: int | None = None) -> str:
        """All text inside an element (default: the page's, without style and script), white space folded."""
        skip = {*self.all("style"), *self.all("script")}
        parts = [
            text for inside, text in self.texts if (index in inside if index is not None else not skip & set(inside))
        ]
        return " ".join(" ".join(parts).split())
