"""Write docs/health_evidence.md and its numbers from the records under runs/faults (`make faults` does both)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from judging import Verdict, judge
from suite import ROOT, Job, jobs
from table import FAULTS

from bellmark.health import SETUP_IDS
from bellmark.records import Run

PAGE = ROOT / "docs" / "health_evidence.md"
NUMBERS = ROOT / "benchmarks" / "results" / "health_faults.json"
MOST_SEEDS = 20
HALVES = ("tuning", "reported")
Row = tuple[Job, Verdict]


def half(seed: int) -> str:
    """Odd seeds moved thresholds, even ones are counted."""
    return HALVES[(seed + 1) % 2]


def finished(seeds: Sequence[int]) -> Iterator[tuple[Job, Run]]:
    """The suite's runs that are over."""
    for job in jobs(list(seeds)):
        if (job.place / "run.json").is_file():
            run = Run(job.place)
            if run.status.state in ("done", "failed", "stopped"):
                yield job, run


def rows() -> list[Row]:
    """Every finished run of the suite with what the doctor made of it."""
    every = list(finished(range(1, MOST_SEEDS + 1)))
    well = [(job, judge(run, ())) for job, run in every if not job.fault]
    usual: dict[str, set[str]] = {}
    for job, verdict in well:
        usual.setdefault(family(job), set()).update(verdict.said)
    sick = [(job, judge(run, job.fault.causes, usual.get(family(job), set()))) for job, run in every if job.fault]
    return [*sick, *well]


def family(job: Job) -> str:
    """Of a job's agent."""
    return job.resolved.family


def from_configuration(job: Job) -> bool:
    """Whether the configuration alone names the fault."""
    return job.fault is not None and bool(set(job.fault.causes) & set(SETUP_IDS))


def summary(every: Sequence[Row]) -> dict[str, float]:
    """Counts of one half."""
    sick = [verdict for job, verdict in every if job.fault]
    well = [verdict for job, verdict in every if not job.fault]
    leads = [verdict.lead for verdict in sick if verdict.lead is not None]
    return {
        "planted": len(sick),
        "hits": sum(verdict.hit for verdict in sick),
        "first": sum(verdict.rank == 1 for verdict in sick),
        "from_curves": sum(not from_configuration(job) for job, verdict in every if job.fault),
        "hits_from_curves": sum(v.hit and not from_configuration(job) for job, v in every if job.fault),
        "healthy": len(well),
        "false_alarms": sum(bool(verdict.critical_at) for verdict in well),
        "falls": sum(verdict.fell_at is not None for verdict in sick),
        "falls_named": len(leads),
        "median_lead": float(np.median(leads)) if leads else float("nan"),
    }


def page(every: Sequence[Row]) -> str:
    """The evidence as Markdown."""
    halves = {name: [row for row in every if half(row[0].seed) == name] for name in HALVES}
    return "\n".join([HEAD, *_counts(halves), "", *_faults(every), "", *_healthy(every), "", TAIL, ""])


def _counts(halves: Mapping[str, Sequence[Row]]) -> list[str]:
    lines = [
        "| seeds | faults planted | cause among the first two | from curves alone | cause first | healthy runs |"
        " with a critical finding | runs that fell | median lead |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, about in (("reported", "even, counted"), ("tuning", "odd, on which thresholds were moved")):
        s = summary(halves[name])
        share = f"{s['hits'] / s['planted']:.0%}" if s["planted"] else "-"
        lead = f"{s['median_lead']:.0f} steps ({s['falls_named']:.0f} runs)" if s["falls_named"] else "-"
        lines.append(
            f"| {about} | {s['planted']:.0f} | {s['hits']:.0f} ({share}) | "
            f"{s['hits_from_curves']:.0f} of {s['from_curves']:.0f} | {s['first']:.0f} | {s['healthy']:.0f} | "
            f"{s['false_alarms']:.0f} | {s['falls']:.0f} | {lead} |"
        )
    return lines


def _faults(every: Sequence[Row]) -> list[str]:
    lines = [
        "## Fault by fault",
        "",
        "*From*: what names it, the configuration alone (known before the first step) or the curves. *Named at*: the",
        "first evaluation after which the cause stood among the first two findings. *Fell at*: evaluations had lost",
        "30% of the way from chance to their peak.",
        "",
        "| fault | from | seed | cause's place at the end | named at | fell at | lead | first findings at the end |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        for job, v in (row for row in every if row[0].name == fault.name):
            cells = (
                f"{fault.name}: {fault.about}",
                "configuration" if from_configuration(job) else "curves",
                f"{job.seed} ({half(job.seed)})",
                f"**{v.rank}**" if v.hit else f"{v.rank}, missed" if v.rank else "missed",
                _step(v.named_at),
                _step(v.fell_at),
                _step(v.lead),
                ", ".join(f"`{name}`" for name in v.found[:3]) or "nothing",
            )
            lines.append(f"| {' | '.join(cells)} |")
    missing = [fault.name for fault in FAULTS if not any(row[0].name == fault.name for row in every)]
    return [*lines, *([f"\nNot run yet: {', '.join(missing)}."] if missing else [])]


def _step(step: int | None) -> str:
    return "-" if step is None else f"{step:,}"


def _healthy(every: Sequence[Row]) -> list[str]:
    lines = [
        "## Healthy runs",
        "",
        "| task | seed | critical findings | other findings at the end | best and last return |",
        "|---|---|---|---|---|",
    ]
    for job, v in (row for row in every if not row[0].fault):
        critical = ", ".join(f"`{rule}` at {step:,}" for rule, step in v.critical_at.items()) or "none"
        others = ", ".join(f"`{rule}`" for rule in v.found if rule not in v.critical_at) or "none"
        seed = f"{job.seed} ({half(job.seed)})"
        lines.append(
            f"| {job.name.removeprefix('healthy/')} | {seed} | {critical} | {others} | {v.peak:.4g}, {v.end:.4g} |"
        )
    return lines


HEAD = """\
# How well the doctor diagnoses

Generated by `make faults`, from real runs of the real agents in which one fault of the users' logs is planted at a time
(`tests/health/faults/`), and from healthy runs of the same tasks. The doctor is asked after every evaluation, on the
record as it stood then. A finding that healthy runs of the family get as well, equally grave, names no cause. Tasks are
small (dreamer: CartPole; tdmpc: cartpole-balance; finetune: CartPole and PickCube), so that a run takes seconds: on
long runs both hits and false alarms may differ. Goal: 90% of the causes among the first two findings, at most 5% of
healthy runs with a critical finding, a positive median lead.
"""
TAIL = """## How these numbers came about

What was changed after runs of seed 1 had been looked at, so that its column flatters:

- Rules: `worse_than_random` is critical after five evaluations only; `value_bias` waits for values that catch up and
  for a bias that matters; `false_ends` and `open_loop_drift` wait for 100 updates; `slowed_down` fires at 0.4 of the
  former pace (was 0.25), `log_std_oscillation` after 30 rows (was 50), `one_sided_advantages` at a mean of 0.25
  deviations (was 0.5); `prior_sees_answer` was written for the action-blind fault, and misses it.
- Faults: `focus_gate` got a faster average of the surprise (0.8), without which the gate never closed;
  `action_blind` fewer free nats; PickCube starts with its spread cut, as the weak checkpoint is a noisy start itself.
- Controls: PPO on CartPole at a learning rate of 1e-3 fell from its peak, which `peak_then_collapse` called critical.
  It was replaced by 4e-4 and that run is not counted; counted, it is a false alarm or a poor control. That of PickCube
  had a critical `value_bias` until that rule was changed.
- `value_of_wrong_state` names no rule any more: `value_bias` fired on it as it does on healthy runs.

Records of seed 1 come from several states of the code. Too few even seeds and healthy runs have been trained for the
goals to be called met or missed.

## What the doctor cannot tell apart

- **The value of the wrong state in the lambda return** moves every value by about one step's worth, and the fixed point
  hardly: no curve differs from a healthy run's. `tests/ops/test_lambda_return.py` is what finds it.
- **Critic targets with a gradient** look like any critic that overshoots: `value_bias` says that values are wrong, not
  why. As planted here the error is gross; a leak that pulls weakly would pass for a lagging critic.
- **An action-blind model** whose divergence lies below the free nats anyway shows nothing: nothing teaches its prior,
  sick or healthy. It is planted with fewer free nats.
- **Early stop on the training metric** cannot be planted: `evaluation.stop.metric` takes metrics of evaluations only.
- **A resume that restarts at 0** is not planted: checkpoints hold the whole state, and tests compare resumed runs with
  uninterrupted ones bit for bit. Rules do not see where attempts began.
- **A crowded host** and work that became dearer (longer episodes, larger batches) look alike in the pace.
- What is named *from the configuration* is certain by construction and says nothing about how well curves are read:
  the count *from curves alone* is the harder test."""


def write() -> None:
    """Judge and write."""
    every = rows()
    PAGE.write_text(page(every))
    halves = {name: summary([row for row in every if half(row[0].seed) == name]) for name in HALVES}
    runs = [{"name": job.name, "seed": job.seed, "half": half(job.seed), **asdict(v), "hit": v.hit} for job, v in every]
    numbers: dict[str, Any] = {"halves": halves, "runs": runs}
    NUMBERS.write_text(json.dumps(_finite(numbers), indent=1) + "\n")
    print(f"{len(every)} runs: {PAGE.relative_to(ROOT)}")


def _finite(tree: Any) -> Any:
    """JSON has no nan."""
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not np.isfinite(tree) else tree


if __name__ == "__main__":
    write()
