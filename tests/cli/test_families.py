"""Recipes: found by name, laid over one another, resolved with overrides; and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from bellmark.cli import families
from bellmark.cli.families import Recipe, load_recipe, overlay, resolve
from bellmark.config import Choice, Config, fingerprint, knob, model_fingerprint, option, part
from bellmark.errors import UserError


class Ppo(Choice):
    kind: Literal["ppo"] = "ppo"
    clip: float = knob(0.2, "clip", gt=0)
    epochs: int = knob(4, "passes")


class Awr(Choice):
    kind: Literal["awr"] = "awr"
    beta: float = knob(1.0, "temperature")
    epochs: int = knob(10, "passes")


class Net(Config):
    hidden: int = knob(64, "width", scope="model")
    layers: int = knob(2, "depth", scope="model")


class Toy(Config):
    """A family for these tests."""

    seed: int = knob(1, "seed")
    lr: float = knob(1e-3, "learning rate")
    net: Net = part(Net(), "network")
    update: Ppo | Awr = option(Ppo(), "update")


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(families.FAMILIES, "toy", f"{__name__}:Toy")
    monkeypatch.setattr(families, "recipes_dir", lambda: tmp_path)
    write(
        tmp_path / "base.yaml", "family: toy\nabout: the base\nsource: a paper\nconfig: {lr: 3e-4, update: {clip: 0.1}}"
    )


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def tree(name_or_path: Any) -> dict[str, Any]:
    return load_recipe(name_or_path).tree


def test_a_recipe_by_name(tmp_path) -> None:
    assert load_recipe("base") == Recipe(
        name="base",
        family="toy",
        about="the base",
        source="a paper",
        tree={"lr": 3e-4, "update": {"clip": 0.1}},
        path=tmp_path / "base.yaml",
    )
    assert families.recipe_names() == ["base"]
    assert families.list_recipes() == [load_recipe("base")]


def test_a_recipe_from_a_file_anywhere(tmp_path) -> None:
    (tmp_path / "deep").mkdir()
    path = write(tmp_path / "deep" / "mine.yml", "family: toy\nconfig: {seed: 4}")
    assert (load_recipe(path).name, tree(str(path))) == ("mine", {"seed": 4})


def test_an_empty_config_is_the_family_itself(tmp_path) -> None:
    write(tmp_path / "plain.yaml", "family: toy\nconfig:\n")
    assert resolve("plain").config == Toy()


def test_resolved_is_the_whole_tree_with_overrides() -> None:
    resolved = resolve("base", ["update=awr", "net.hidden=8"])
    assert resolved.config == Toy(lr=3e-4, update=Awr(), net=Net(hidden=8))
    assert resolved.tree == resolved.config.tree()
    assert (resolved.family, resolved.recipe, resolved.overrides) == ("toy", "base", ("update=awr", "net.hidden=8"))
    assert resolved.fingerprint == fingerprint(resolved.tree)
    assert resolved.model_fingerprint == model_fingerprint(resolved.config)
    assert (
        resolved.model_fingerprint != resolve("base").model_fingerprint == resolve("base", ["lr=1"]).model_fingerprint
    )


def test_saying_what_is_so_already_is_the_same_run() -> None:
    assert resolve("base", ["update=ppo", "lr=0.0003", "seed=1"]).fingerprint == resolve("base").fingerprint


# -- extends ---------------------------------------------------------------------------------------------------------


def test_a_recipe_extends_another_by_name_or_path(tmp_path) -> None:
    write(tmp_path / "child.yaml", "extends: base\nabout: a child\nconfig: {net: {hidden: 8}}")
    child = load_recipe("child")
    assert (child.family, child.about, child.source) == ("toy", "a child", "a paper")
    assert child.tree == {"lr": 3e-4, "update": {"clip": 0.1}, "net": {"hidden": 8}}
    (tmp_path / "deep").mkdir()
    path = write(tmp_path / "deep" / "grandchild.yaml", "extends: ../child.yaml\nconfig: {net: {layers: 3}}")
    assert tree(path)["net"] == {"hidden": 8, "layers": 3}


@pytest.mark.parametrize(
    ("base", "top", "merged"),
    [
        ({"update": {"clip": 0.1}}, {"update": {"epochs": 9}}, {"kind": "ppo", "clip": 0.1, "epochs": 9}),
        ({"update": {"clip": 0.1}}, {"update": "ppo"}, {"kind": "ppo", "clip": 0.1}),
        ({"update": {"clip": 0.1, "epochs": 9}}, {"update": "awr"}, {"kind": "awr", "epochs": 9}),
        ({"update": {"clip": 0.1}}, {"update": {"kind": "awr", "beta": 2}}, {"kind": "awr", "beta": 2}),
        ({"update": "awr"}, {"update": {"beta": 2}}, {"kind": "awr", "beta": 2}),
        ({}, {"update": "awr"}, {"kind": "awr"}),
    ],
)
def test_overlay_merges_one_option_and_keeps_what_another_has_too(base: Any, top: Any, merged: Any) -> None:
    before = repr(base)
    assert overlay(Toy, base, top) == {"update": merged}
    assert repr(base) == before


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must hold keys: family, about, source, extends, config"),
        ("- a", "must hold keys"),
        ("config: {}", "names no family; families: "),
        ("family: toyy", "unknown family 'toyy'; did you mean toy?"),
        ("family: toy\nconfg: {}", "unknown key 'confg'; did you mean config?"),
        ("family: toy\nconfig: 3", "config must be a group of keys, got 3"),
        ("family: toy\nconfig: {a: [}", "line 2: not valid YAML"),
        ("family: toy\nfamily: toy", "line 2: not valid YAML: key 'family' is given twice"),
        ("extends: bse", "unknown recipe 'bse'; did you mean base?"),
        ("extends: ./gone.yaml", "recipe file './gone.yaml' does not exist"),
        ("extends: ./bad.yaml", "extends itself"),
        ("extends: base\nfamily: finetune", "family=finetune but extends base of family toy"),
        ("family: toy\nconfig: {sede: 1}", "unknown key 'sede'; did you mean seed?"),
        ("extends: base\nconfig: {update: {betta: 1}}", "unknown key 'update.betta'"),
        ("extends: base\nconfig: {update: awrr}", "did you mean update=awr?"),
        ("extends: base\nconfig: {net: 3}", "net must be a group of keys, got 3"),
    ],
)
def test_wrong_recipes_say_what_to_change(text: str, says: str, tmp_path) -> None:
    path = write(tmp_path / "bad.yaml", text)
    with pytest.raises(UserError) as caught:
        resolve(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text(tmp_path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"bad\.yaml cannot be read"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("bas", "did you mean base?"),
        ("zzz", "known: base"),
        ("x.yaml", "'x.yaml' does not exist"),
        ("/", "does not exist"),
    ],
)
def test_wrong_names(name: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(name)
    assert says in str(caught.value)
