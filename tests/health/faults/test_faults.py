"""A few planted faults, briefly; `make faults` trains all of them and writes docs/health_evidence.md."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from judging import Verdict, judge
from table import FAULTS, Task

from bellmark.cli.families import resolve
from bellmark.cli.train import run_folder
from bellmark.records import Run
from bellmark.train.run import execute

BY_NAME = {fault.name: fault for fault in FAULTS}
BRIEFLY = {"detached_state": "steps=480", "noisy_start": "steps=1600"}  # trained in this test
WELL = {"detached_state": BY_NAME["detached_state"].overrides}  # what the healthy twin has in common


def trained(
    task: Task, root: Path, planted: AbstractContextManager[None], causes: tuple[str, ...], *own: str
) -> Verdict:
    folder = run_folder(resolve(task.recipe, [*task.overrides, *own]), root)
    with planted:
        execute(folder)
    return judge(Run(folder), causes)


@pytest.mark.parametrize("name", BRIEFLY)
def test_a_planted_fault_is_named_and_its_healthy_twin_is_not(name: str, tmp_path: Path) -> None:
    fault, steps = BY_NAME[name], BRIEFLY[name]
    sick = trained(fault.task, tmp_path / "sick", fault.plant(), fault.causes, *fault.overrides, steps)
    assert sick.hit, sick.found
    well = trained(fault.task, tmp_path / "well", nullcontext(), fault.causes, *WELL.get(name, ()), steps)
    assert well.rank is None
    assert not well.critical_at


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS])
def test_every_fault_can_be_planted_and_is_taken_back(name: str) -> None:
    from bellmark.agents.dreamer import agent, imagination

    fault = BY_NAME[name]
    before = (agent.lesson_of, agent.judge, agent.model_terms, imagination.lambda_return)
    with fault.plant():
        resolve(fault.task.recipe, [*fault.task.overrides, *fault.overrides])
    assert before == (agent.lesson_of, agent.judge, agent.model_terms, imagination.lambda_return)
