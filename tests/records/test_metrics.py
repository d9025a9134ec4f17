from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellmark.records.metrics import RESERVED, counts, decode, encode_resume, encode_row

Attempt = tuple[int | None, list[tuple[int, float]]]  # (step resumed from, rows)

letters = st.characters(min_codepoint=32, exclude_characters='"\\', exclude_categories=["Cs"])
names = st.text(letters, min_size=1, max_size=12).filter(lambda n: n not in RESERVED)
values = st.floats(allow_nan=True, allow_infinity=True)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(names, values, max_size=8), st.integers(0, 10**12))
def test_any_row_reads_back_bit_for_bit(metrics: dict[str, float], step: int) -> None:
    table = decode(encode_row(step, 3, metrics))
    assert set(table.columns) == set(metrics)
    for name, value in metrics.items():
        assert table.columns[name].step.tolist() == [step]
        np.testing.assert_array_equal(table.columns[name].value, [value])
    assert table.damaged == [] and not table.torn_tail


def test_a_line_is_json_that_any_program_reads() -> None:
    line = encode_row(200, 2, {"loss/policy": 0.5, "n": 3, "a": math.nan, "b": math.inf, "c": -math.inf})
    assert line.endswith(b"}\n") and line.count(b"\n") == 1
    row = json.loads(line)
    assert row.pop("time") > 1.7e9
    wanted = {"step": 200, "attempt": 2, "loss/policy": 0.5, "n": 3, "a": "NaN", "b": "Infinity", "c": "-Infinity"}
    assert row == wanted


@pytest.mark.parametrize(
    "value", [np.float64(1.0), np.float32(1.0), np.float16(1.0), np.int32(1), np.bool_(True), True, 1]
)
def test_numbers_of_numpy_and_python_are_taken(value: Any) -> None:
    assert decode(encode_row(np.int64(5), 1, {"m": value})).columns["m"] == (np.array([5]), np.array([1.0]))  # type: ignore[arg-type]


def _tensor() -> object:
    return type("Tensor", (), {"__module__": "torch"})()


@pytest.mark.parametrize(
    ("value", "kind"),
    [(_tensor(), "torch.Tensor"), (np.zeros(3), "numpy.ndarray"), ("0.5", "str"), (None, "NoneType"), ([1.0], "list")],
)
def test_what_is_no_number_is_a_clear_type_error(value: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"metric 'loss/policy' must be a float, got {kind}; .*item"):
        encode_row(1, 1, {"eval/return": 1.0, "loss/policy": value})


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="reserved"):
        encode_row(1, 1, {name: 1.0})


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb"])
def test_names_that_json_would_escape_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="holds a quote, a backslash or a control character"):
        encode_row(1, 1, {name: 1.0})
    assert decode(encode_row(1, 1, {"m": 1.0}), [name]).columns == {}


def _write(attempts: list[Attempt]) -> bytes:
    lines = []
    for number, (resumed, rows) in enumerate(attempts, start=1):
        if resumed is not None:
            lines.append(encode_resume(resumed, number))
        lines += [encode_row(step, number, {"m": value}) for step, value in rows]
    return b"".join(lines)


def _reference(attempts: list[Attempt]) -> dict[int, float]:
    """The rule of the module's docstring, one attempt after the other."""
    kept: dict[int, float] = {}
    for resumed, rows in attempts:
        starts = [step for step, _ in rows] + ([] if resumed is None else [resumed + 1])
        kept = {step: value for step, value in kept.items() if step < min(starts, default=10**9)}
        kept |= dict(rows)
    return kept


rows = st.lists(st.tuples(st.integers(0, 30), st.floats(-1, 1)), max_size=6)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.none() | st.integers(0, 30), rows), max_size=5))
def test_later_attempts_supersede_as_the_plain_reference_says(attempts: list[Attempt]) -> None:
    data, wanted = _write(attempts), _reference(attempts)
    for table in (decode(data), decode(data, ["m"])):
        if not wanted:
            assert table.columns == {}
            continue
        curve = table.columns["m"]
        assert curve.step.tolist() == sorted(wanted)
        assert curve.value.tolist() == [wanted[step] for step in sorted(wanted)]


def test_a_resume_drops_the_abandoned_rows_between_checkpoint_and_its_own_first_row() -> None:
    # Attempt 1 logged at 150 by the clock; attempt 2 continues from 100 and first logs at 200.
    data = _write([(None, [(100, 1.0), (150, 2.0), (200, 3.0)]), (100, [(200, 30.0)])])
    curve = decode(data).columns["m"]
    assert curve.step.tolist() == [100, 200] and curve.value.tolist() == [1.0, 30.0]


def test_a_resume_that_dies_before_it_logs_still_counts() -> None:
    assert decode(_write([(None, [(100, 1.0), (200, 2.0)]), (100, [])])).columns["m"].step.tolist() == [100]


def test_one_metric_is_superseded_by_rows_that_do_not_hold_it() -> None:
    data = encode_row(100, 1, {"eval": 1.0}) + encode_row(200, 1, {"eval": 2.0}) + encode_row(150, 2, {"loss": 0.0})
    assert decode(data, ["eval"]).columns["eval"].step.tolist() == [100]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_file_cut_anywhere_loses_its_last_row_only(data: st.DataObject) -> None:
    row = '{{"step":{}, "attempt":1, "time":0.5, "m":0.25, "bad":"NaN"}}\n'
    lines = [row.format(step).encode() for step in range(100, 600, 100)]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    table = decode(whole[:cut])
    complete = sum(1 for i in range(5) if len(b"".join(lines[: i + 1])) - 1 <= cut)  # the newline may be missing
    assert table.rows == complete and table.damaged == []
    ends = {0, *(len(b"".join(lines[: i + 1])) - end for i in range(5) for end in (0, 1))}
    assert table.torn_tail == (cut not in ends)


@pytest.mark.parametrize(
    "junk", [b"{", b"\x00\x00\x00", b"\xff\xfe", b"[1]", b'{"m": 1.0}', b'{"step": "x", "attempt": 1}', b"null"]
)
def test_damaged_lines_are_counted_and_the_others_read(junk: bytes) -> None:
    data = encode_row(1, 1, {"m": 1.0}) + junk + b"\n" + encode_row(2, 1, {"m": 2.0})
    for table in (decode(data), decode(data, ["m"])):
        assert table.damaged == [2] and not table.torn_tail
        assert table.columns["m"].value.tolist() == [1.0, 2.0]


def test_counts_on_no_rows() -> None:
    empty = np.zeros(0, dtype=np.int64)
    assert counts(empty, empty, empty.astype(bool)).tolist() == []
    assert decode(b"").columns == {} and decode(b"", ["m"]).columns == {}


def test_reserved_names_are_no_metrics() -> None:
    data = encode_row(1, 1, {"m": 1.0})
    assert set(decode(data).columns) == {"m"} and decode(data, ["step", "time", "nothing"]).columns == {}
