from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bellmark.config import knobs
from bellmark.errors import UserError
from bellmark.sweeps.schema import Resources, Sweep, load_sweep, parse_seeds

Make = Callable[..., Sweep]


def test_defaults(sweep_of: Make) -> None:
    sweep = sweep_of("my_sweep")
    assert sweep.name == "my_sweep"
    assert sweep.seeds == (1, 2, 3)
    assert (sweep.expect.summary, sweep.expect.last, sweep.expect.direction) == ("last_mean", 3, "increase")
    assert sweep.baseline is None


def test_every_key_says_what_it_is() -> None:
    for knob in knobs(Sweep):
        assert knob.about, knob.path


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"sedes": [1]}, ["sedes", "did you mean seeds"]),
        ({"expect": {"metric": "a", "minimal_effect": 1}}, ["expect.minimal_effect", "expect.minimum_effect"]),
        ({"expect": {"metrik": "a"}}, ["expect.metric is missing", "'metrik'"]),
        ({"expect": {"metric": "a", "summary": "mean"}}, ["expect.summary", "'mean'", "last_mean"]),
        ({"expect": {"metric": "a", "looks": [5, 3]}}, ["expect.looks", "[5, 3]"]),
        ({"expect": {"metric": "a", "scales": {"dog": 0}}}, ["expect.scales.dog"]),
        ({"list": [{"nam": "x", "set": {"gamma": 1}}]}, ["'nam'", "did you mean name?"]),
        ({"list": [{"name": "x"}]}, ["recipe or overrides"]),
        ({"list": ["awr"]}, ["list must hold cells"]),
        ({"grid": {"gamma": []}}, ["grid.gamma has no values"]),
        ({"grid": {"gamma": 0.9}}, ["grid", "gamma", "0.9"]),
        ({"zip": {"gamma": [0.9], "tau": [1, 2]}}, ["zip", "'tau': 2"]),
        ({"grid": {"gamma": [0.9]}, "zip": {"gamma": [0.8]}}, ["'gamma'", "under grid and under zip"]),
        ({"grid": {"gamma": [0.9]}, "set": {"gamma": 0.8}}, ["'gamma'", "under set and swept"]),
        ({"grid": {"gamma": [0.9]}, "exclude": [{"gama": 0.9}]}, ["'gama'", "did you mean gamma?"]),
        ({"grid": {"gamma": [0.9]}, "exclude": [{"update.beta": 1}]}, ["'update.beta', which is not swept"]),
        ({"grid": {"seed": [1, 2]}}, ["grid.seed", "'seeds'"]),
        ({"grid": {"task.task": ["walker-walk"]}}, ["grid.task.task", "'tasks'"]),
        ({"tasks": ["reach", "push", "reach"]}, ["tasks: reach stands there twice"]),
        ({"set": {"task": "reach"}}, ["set.task", "'tasks'"]),
        ({"seeds": [1, 1]}, ["seed twice"]),
        ({"seeds": []}, ["names no seed"]),
        ({"seeds": "one"}, ["seeds='one'", "1,2,3"]),
        ({"steps": 0}, ["steps=0"]),
        ({"name": "a/b"}, ["name='a/b'"]),
        ({"resources": {"memory": "4 apples"}}, ["resources.memory='4 apples'", "4GB"]),
        ({"resources": {"walltime": "soon"}}, ["resources.walltime='soon'", "2h"]),
        ({"resources": {"gpus": 1.5}}, ["resources.gpus=1.5"]),
    ],
)
def test_bad_input_is_one_line_that_names_file_and_key(sweep_of: Make, keys: dict, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        sweep_of(**keys)
    message = str(caught.value)
    assert "s.yaml" in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_missing_file_names_the_nearest(sweep_of: Make, tmp_path: Path) -> None:
    sweep_of("quickstart")
    with pytest.raises(UserError, match=r"quickstar\.yaml.*did you mean .*quickstart\.yaml"):
        load_sweep(tmp_path / "quickstar.yaml")


@pytest.mark.parametrize("text", ["a: [", "- a", "question: 1\nquestion: 2", "\0"])
def test_what_is_not_a_sweep_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"s\.yaml"):
        load_sweep(file)


@pytest.mark.parametrize(
    ("value", "seeds"), [(3, (1, 2, 3)), ("1-3", (1, 2, 3)), ("1,4, 7-8", (1, 4, 7, 8)), ([0, 5], (0, 5)), ("7", (7,))]
)
def test_seeds(value: object, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(value) == seeds


@pytest.mark.parametrize("value", [True, -1, 0, "3-1", "a", "1--2", [1.5], [True], [-1], None, {}])
def test_what_is_no_seed(value: object) -> None:
    with pytest.raises(ValueError, match="seed"):
        parse_seeds(value)


def test_resources_are_read() -> None:
    assert Resources(memory="4GB").memory_bytes == 4 * 10**9
    assert Resources(memory="1.5 GiB").memory_bytes == 3 * 2**29
    assert Resources(memory="500m").memory_bytes == 500 * 10**6
    assert Resources(walltime="1h30m").walltime_seconds == 5400
    assert (Resources().memory_bytes, Resources().walltime_seconds) == (0, 0)


def test_files_it_names_lie_beside_it(sweep_of: Make, tmp_path: Path) -> None:
    sweep = sweep_of(base="./mine.yaml", baseline="base.yaml", list=[{"recipe": "other.yaml"}, {"recipe": "toy_awr"}])
    assert sweep.base == f"{tmp_path}/./mine.yaml"
    assert sweep.baseline == f"{tmp_path}/base.yaml"
    assert [cell.recipe for cell in sweep.list] == [f"{tmp_path}/other.yaml", "toy_awr"]
