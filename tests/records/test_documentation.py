"""The examples of docs/records.md are read by the code that they document."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from bellmark.records import Attempt, RunMeta, RunStatus
from bellmark.records.checkpoints import Facts
from bellmark.records.metrics import decode

PAGE = (Path(__file__).parents[2] / "docs" / "records.md").read_text(encoding="utf-8")


def test_the_examples_of_the_page_are_read_as_it_says() -> None:
    meta, attempt, metrics, status, facts = (
        text.encode() for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    )
    shown = msgspec.json.decode(meta, type=RunMeta)
    assert set(msgspec.json.decode(meta)) == set(RunMeta.__struct_fields__) and shown.cell == {"update": "awr"}
    assert set(msgspec.json.decode(attempt)) == set(Attempt.__struct_fields__)
    assert msgspec.json.decode(attempt, type=Attempt).resumed_from == 2000
    table = decode(metrics)
    assert table.damaged == [] and table.columns["policy/kl"].step.tolist() == [2000, 4000]
    assert set(msgspec.json.decode(status)) == set(RunStatus.__struct_fields__)
    assert msgspec.json.decode(status, type=RunStatus).attempt == 2
    assert set(msgspec.json.decode(facts)) == set(Facts.__struct_fields__)
    assert msgspec.json.decode(facts, type=Facts).metric == 0.81
