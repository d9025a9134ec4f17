"""Configuration trees: what an override means, what an error says, and what two equal runs have in common."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bellmark import yaml12
from bellmark.config import (
    Choice,
    Config,
    build,
    diff,
    fingerprint,
    flatten,
    knob,
    knobs,
    model_fingerprint,
    option,
    parse_value,
    part,
)
from bellmark.errors import UserError


class Flat(Choice):
    """No decay."""

    kind: Literal["flat"] = "flat"


class Linear(Choice):
    """A straight line."""

    kind: Literal["linear"] = "linear"
    final: float = knob(0.0, "value at the end", ge=0)


class Ppo(Choice):
    kind: Literal["ppo"] = "ppo"
    clip: float = knob(0.2, "ratio clip", source="PPO eq. 7", gt=0)
    epochs: int = knob(4, "passes over the batch", ge=1)


class Awr(Choice):
    kind: Literal["awr"] = "awr"
    beta: float = knob(1.0, "temperature", unit="reward", gt=0)
    epochs: int = knob(10, "passes over the batch", ge=1)
    decay: Flat | Linear = option(Flat(), "temperature's course")


class Net(Config):
    hidden: int = knob(256, "width of a layer", scope="model", ge=1)
    sizes: tuple[int, ...] = knob((1, 2), "a list")


class Root(Config):
    seed: int = knob(1, "seed", ge=0)
    steps: int = knob(1000, "steps to train for", unit="steps", ge=1)
    label: str = knob("a", "a word")
    loud: bool = knob(False, "a switch")
    norm: Literal["batch", "off"] = knob("batch", "what is normalised")
    net: Net = part(Net(), "the network")
    update: Ppo | Awr = option(Ppo(), "how advantages move the policy")
    head: Flat | Linear = option(Flat(), "output head", scope="model")


def error(*overrides: str, tree: dict[str, Any] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        build(Root, tree, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


# -- overrides -------------------------------------------------------------------------------------------------------


def test_overrides_choose_then_set() -> None:
    config = build(Root, {}, ["update=awr", "update.beta=0.5", "update.decay=linear", "update.decay.final=0.1"])
    assert config.update == Awr(beta=0.5, decay=Linear(final=0.1))


def test_overrides_apply_in_order_and_the_last_wins() -> None:
    assert build(Root, {}, ["seed=2", "seed=3"]).seed == 3


def test_choosing_another_option_changes_nothing_that_both_have() -> None:
    # otherwise a sweep over `update: [ppo, awr]` would change the number of epochs too, and say so nowhere
    tree = {"update": {"kind": "ppo", "clip": 0.1, "epochs": 99}}
    assert build(Root, tree, ["update=awr"]).update == Awr(epochs=99)
    assert build(Root, tree, ["update=awr", "update.epochs=5"]).update == Awr(epochs=5)
    # what was left at a default follows the option
    assert build(Root, {"update": {"clip": 0.1}}, ["update=awr"]).update == Awr()


@pytest.mark.parametrize("chosen", ["ppo", {"kind": "ppo"}, {}])
def test_choosing_the_option_that_is_chosen_changes_nothing(chosen: Any) -> None:
    # otherwise a sweep over `update: [ppo, awr]` would silently run its ppo arm without the recipe's own settings
    tree = {"update": {"kind": "ppo", "epochs": 99}} if chosen != {} else {"update": {"epochs": 99}}
    assert build(Root, tree, ["update=ppo"]).update == Ppo(epochs=99)


def test_an_option_can_also_be_chosen_by_its_kind() -> None:
    assert build(Root, {"update": {"clip": 0.3}}, ["update.kind=awr"]).update == Awr()


def test_a_bare_name_in_a_tree_chooses_and_its_knobs_can_be_set() -> None:
    assert build(Root, {"update": "awr"}, ["update.beta=2"]).update == Awr(beta=2.0)


def test_an_option_without_a_kind_is_the_default_one() -> None:
    assert build(Root, {"update": {"clip": 0.3}}).update == Ppo(clip=0.3)


def test_a_whole_group_can_be_given_as_a_flow_mapping() -> None:
    assert build(Root, {}, ["update={kind: awr, beta: 3}"]).update == Awr(beta=3.0)


def test_spaces_around_key_and_value_do_not_matter() -> None:
    assert build(Root, {}, [" seed = 5 "]).seed == 5


def test_the_tree_handed_in_is_left_alone() -> None:
    tree = {"update": "awr", "net": {"hidden": 3}}
    before = json.dumps(tree)
    build(Root, tree, ["update.beta=2", "net.hidden=4"])
    assert json.dumps(tree) == before


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("1_000", 1000),
        ("1e-3", 0.001),
        ("2e6", 2_000_000.0),
        (".5", 0.5),
        ("true", True),
        ("off", "off"),
        ("no", "no"),
        ("none", "none"),
        ("null", None),
        ("1:30:00", "1:30:00"),
        ("'3'", "3"),
        ("[1, 2e0]", [1, 2.0]),
        ("a/b.pt", "a/b.pt"),
        ("h1-walk-v0", "h1-walk-v0"),
    ],
)
def test_values_are_read_as_people_mean_them(text: str, value: Any) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_large_numbers_may_be_written_short_for_integers() -> None:
    assert build(Root, {}, ["steps=2e6"]).steps == 2_000_000


def test_a_choice_of_words_may_hold_off() -> None:
    assert build(Root, {}, ["norm=off"]).norm == "off"


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("sede=2", ["unknown key 'sede'", "did you mean seed"]),
        ("net.hiden=2", ["unknown key 'net.hiden'", "did you mean net.hidden?"]),
        ("hidden=2", ["unknown key 'hidden'", "did you mean net.hidden?"]),  # right name, wrong place
        ("update.betta=2", ["unknown key 'update.betta'"]),
        ("update.beta=2", ["belongs to update=awr", "choose it first"]),
        ("update=arw", ["update='arw' is not an option", "did you mean update=awr?", "options: awr, ppo"]),
        ("update=zzzz", ["options: awr, ppo"]),
        ("update.kind=arw", ["update='arw' is not an option", "did you mean update=awr?"]),
        ("seed.x=2", ["seed is a value, not a group"]),
        ("seed", ["'seed' is not of the form key=value"]),
        ("=3", ["is not of the form key=value"]),
        ("seed=[1", ["'[1' cannot be read"]),
        ("seed=-1", ["seed=-1", "greater than or equal to 0"]),
        ("steps=1.5", ["steps=1.5", "integer"]),
        ("steps=many", ["steps='many'", "integer"]),
        ("update.clip=0", ["update.clip=0", "greater than 0"]),
        ("update.clip=.nan", ["update.clip=nan", "finite"]),
        ("norm=layer", ["norm='layer'", "'batch' or 'off'"]),
        ("net=3", ["net must be a group of keys, got 3"]),
        ("net=big", ["net must be a group of keys, got 'big'; its keys: hidden"]),
        ("nett.hidden=3", ["unknown key 'nett.hidden'; did you mean net.hidden?"]),
        ("update=3", ["update must be a group of keys, got 3"]),
        ("net.sizes=3", ["net.sizes=3"]),
    ],
)
def test_an_error_names_key_value_and_the_nearest_right_one(override: str, says: list[str]) -> None:
    message = error(override)
    for text in says:
        assert text in message


def test_a_wrong_key_inside_a_chosen_option_names_its_neighbour() -> None:
    assert "did you mean update.beta?" in error("update=awr", "update.betta=2")
    assert "did you mean update.decay.final?" in error("update=awr", "update.decay=linear", "update.decay.finl=2")


def test_wrong_keys_in_a_tree_are_errors_too() -> None:
    assert "did you mean net.hidden?" in error(tree={"net": {"hiddn": 1}})
    assert "did you mean update=awr?" in error(tree={"update": {"kind": "awrr"}})
    assert "did you mean update=awr?" in error(tree={"update": "awrr"})
    assert "net must be a group of keys, got 'big'" in error(tree={"net": "big"})


@pytest.mark.parametrize("wrong", [3, [1], True])
def test_a_group_that_is_a_value_in_the_tree_is_named_when_an_override_goes_below_it(wrong: Any) -> None:
    assert f"net must be a group of keys, got {wrong!r}" in error("net.hidden=3", tree={"net": wrong})


def test_several_bad_values_are_all_named_in_one_line() -> None:
    message = error("seed=-1", "update.clip=-2")
    assert "seed=-1" in message
    assert "update.clip=-2" in message


def test_a_bad_value_inside_an_option_is_named_by_its_dotted_key() -> None:
    assert error("update=awr", "update.decay=linear", "update.decay.final=-1").startswith("update.decay.final=-1:")


def test_configurations_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Root().seed = 3  # type: ignore[misc]


# -- trees, differences, fingerprints --------------------------------------------------------------------------------

few = settings(max_examples=40)
finite = st.floats(min_value=1e-300, max_value=1e300)
count = st.integers(min_value=1, max_value=2**53)
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=8)
updates = st.builds(Ppo, clip=finite, epochs=count) | st.builds(
    Awr, beta=finite, epochs=count, decay=st.just(Flat()) | st.builds(Linear, final=finite)
)
configs = st.builds(
    Root,
    seed=count,
    steps=count,
    label=words,
    loud=st.booleans(),
    norm=st.sampled_from(["batch", "off"]),
    net=st.builds(Net, hidden=count, sizes=st.lists(count, max_size=3).map(tuple)),
    update=updates,
    head=st.just(Flat()) | st.builds(Linear, final=finite),
)


@few
@given(configs)
def test_a_tree_goes_through_json_and_back_unchanged(config: Root) -> None:
    tree = json.loads(json.dumps(config.tree()))
    assert tree == config.tree()
    assert build(Root, tree) == config


@few
@given(configs)
def test_overrides_can_say_everything_a_tree_can(config: Root) -> None:
    overrides = [f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in flatten(config.tree()).items()]
    assert build(Root, {}, overrides) == config


@few
@given(configs, configs)
def test_equal_fingerprints_empty_differences_and_equal_trees_are_one_thing(a: Root, b: Root) -> None:
    same = a.tree() == b.tree()
    assert (fingerprint(a.tree()) == fingerprint(b.tree())) == same
    assert (diff(a.tree(), b.tree()) == {}) == same


@few
@given(configs, configs)
@example(Root(update=Ppo(epochs=1)), Root(update=Awr(epochs=1)))
def test_a_difference_names_what_must_be_set_to_get_from_one_to_the_other(a: Root, b: Root) -> None:
    differs = diff(a.tree(), b.tree())
    below = tuple(f"{key}." for key in differs)  # another option begins at its own defaults: all its knobs are set
    changes = {k: v for k, v in flatten(b.tree()).items() if k in differs or k.startswith(below)}
    overrides = [f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in changes.items()]
    assert build(Root, a.tree(), overrides) == b


def test_difference_shows_options_under_their_own_path_and_missing_keys_as_none() -> None:
    old, new = Root().tree(), build(Root, {}, ["update=awr", "seed=2"]).tree()
    assert diff(old, new) == {
        "seed": (1, 2),
        "update": ("ppo", "awr"),
        "update.clip": (0.2, None),
        "update.epochs": (4, 10),
        "update.beta": (None, 1.0),
        "update.decay": (None, "flat"),
    }


def test_a_key_that_is_none_differs_from_a_key_that_is_missing() -> None:
    assert diff({"a": None}, {}) == {"a": (None, None)}


def test_fingerprints_do_not_depend_on_key_order_or_process() -> None:
    tree = Root().tree()
    turned = dict(reversed(tree.items()))
    assert list(turned) != list(tree)
    assert fingerprint(turned) == fingerprint(tree)
    code = "import json, sys; from bellmark.config import fingerprint; print(fingerprint(json.load(sys.stdin)))"
    for hash_seed in ("1", "2"):
        out = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(turned),
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert out.stdout.strip() == fingerprint(tree)


def test_a_golden_fingerprint() -> None:
    # sha256 of the canonical text {"a":1,"b":{"kind":"x","y":[0.5,null]}}, first twelve digits, by coreutils' sha256sum
    assert fingerprint({"b": {"y": [0.5, None], "kind": "x"}, "a": 1}) == "fa4d78dfbee8"


def test_fingerprints_refuse_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        fingerprint({"a": float("nan")})


@pytest.mark.parametrize(
    ("override", "crosses"),
    [
        ("seed=9", True),
        ("update=awr", True),
        ("update.clip=0.1", True),
        ("net.hidden=8", False),
        ("head=linear", False),
    ],
)
def test_checkpoints_cross_exactly_when_no_model_entry_differs(override: str, crosses: bool) -> None:
    assert (model_fingerprint(build(Root, {}, [override])) == model_fingerprint(Root())) is crosses


# -- what documentation sees -----------------------------------------------------------------------------------------


def test_knobs_lists_every_leaf_and_option_through_all_choices() -> None:
    found = {(k.path, k.choice): k for k in knobs(Root)}
    assert [path for path, _ in found] == [
        "seed", "steps", "label", "loud", "norm", "net.hidden", "net.sizes",
        "update", "update.clip", "update.epochs", "update.beta", "update.epochs", "update.decay", "update.decay.final",
        "head", "head.final",
    ]  # fmt: skip
    clip = found["update.clip", "update=ppo"]
    assert (clip.default, clip.type, clip.source, clip.scope) == (0.2, "float", "PPO eq. 7", "training")
    assert found["update", ""].options == ("ppo", "awr")
    assert found["update.decay.final", "update.decay=linear"].default == 0.0
    assert found["head", ""].scope == "model"
    assert found["norm", ""].type == "batch | off"
    assert found["steps", ""].unit == "steps"


def test_every_knob_of_a_configuration_is_in_its_tree() -> None:
    paths = {k.path for k in knobs(Root)}
    assert set(flatten(build(Root, {}, ["update=awr", "update.decay=linear"]).tree())) <= paths


# -- YAML ------------------------------------------------------------------------------------------------------------


def test_yaml_refuses_a_key_given_twice_and_tells_the_line() -> None:
    with pytest.raises(yaml12.yaml.MarkedYAMLError, match="'a' is given twice") as caught:
        yaml12.load("a: 1\nb: 2\na: 3\n")
    assert caught.value.problem_mark is not None
    assert caught.value.problem_mark.line == 2


def test_yaml_keeps_anchors_and_merges() -> None:
    assert yaml12.load("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}") == {"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}}


def test_yaml_reads_dates_as_text_and_leading_zeros_as_decimal() -> None:
    assert yaml12.load("[2026-01-01, 007, .inf, ~]") == ["2026-01-01", 7, float("inf"), None]
