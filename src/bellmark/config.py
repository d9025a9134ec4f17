"""Frozen configuration trees: options chosen by name, dotted overrides, differences and fingerprints.

A configuration is a tree of frozen pydantic models. A leaf is a *knob* (a number, a name, a list); a field whose type
is a union of `Choice` classes is an *option*, chosen by the `kind` of one of them. `update=awr update.beta=0.5` first
chooses, then sets. Records keep plain JSON trees, so `diff` and `fingerprint` also work where the classes cannot be
imported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from bellmark import yaml12
from bellmark.errors import UserError, nearest

Scope = Literal["model", "training"]
C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """A frozen node of a configuration tree; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def tree(self) -> dict[str, Any]:
        """The plain JSON tree: what a record stores and what `build` reads back unchanged."""
        return self.model_dump(mode="json")

    @classmethod
    def translate(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Dotted settings under the names of this tree; a family whose users know other names says which."""
        return dict(settings)

    @classmethod
    def words(cls) -> Collection[str]:
        """The other names that `translate` knows."""
        return ()


class Choice(Config):
    """One option of a union; a subclass declares `kind: Literal["name"] = "name"`."""

    kind: str


def knob(
    default: Any,
    about: str,
    *,
    unit: str = "",
    source: str = "",
    scope: Scope = "training",
    **bounds: Any,
) -> Any:
    """Declare a leaf: its default, what it does, its unit, its source (paper, table) and its scope.

    `scope="model"` marks an architecture or environment choice: changing it makes a new model family, whose
    checkpoints do not cross. `scope="training"` marks what is free to sweep.
    """
    extra: dict[str, Any] = {"unit": unit, "source": source, "scope": scope}
    return Field(default, description=about, json_schema_extra=extra, **bounds)


def part(default: Config, about: str) -> Any:
    """Declare a branch: a nested group of knobs."""
    return Field(default, description=about)


def option(default: Choice, about: str, *, scope: Scope = "training") -> Any:
    """Declare an option: a union of at least two `Choice` classes, and which of them is chosen by default."""
    return Field(default, description=about, discriminator="kind", json_schema_extra={"scope": scope})


@dataclass(frozen=True)
class Knob:
    """One leaf or option of a configuration class, as documentation and validation see it."""

    path: str
    type: str
    default: Any
    about: str
    unit: str
    source: str
    scope: Scope
    choice: str  # "" outside options, else "update=awr": the choice this knob belongs to
    options: tuple[str, ...] = ()  # the names that can be chosen, where this entry is an option itself


def branches(field: FieldInfo) -> list[type[Config]]:
    """The configuration classes a field may hold: empty for a leaf, one for a group, several for an option."""
    annotation: Any = field.annotation
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    types = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return [t for t in types if isinstance(t, type) and issubclass(t, Config)]


def kind_of(cls: type[Config]) -> str | None:
    """The name under which a `Choice` class is chosen; None for a plain group."""
    return cls.model_fields["kind"].default if issubclass(cls, Choice) else None


def knobs(cls: type[Config], prefix: str = "", choice: str = "") -> Iterator[Knob]:
    """Every leaf and every option of a configuration class, through all choices, in declaration order."""
    for name, field in cls.model_fields.items():
        if name == "kind":
            continue
        path = f"{prefix}{name}"
        below = branches(field)
        if not below or len(below) > 1:
            yield _knob(path, field, choice, below)
        for sub in below:
            yield from knobs(sub, f"{path}.", f"{path}={kind_of(sub)}" if len(below) > 1 else choice)


def _knob(path: str, field: FieldInfo, choice: str, below: list[type[Config]]) -> Knob:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return Knob(
        path=path,
        type="option" if below else _type_name(field.annotation),
        default=field.default.kind if below else field.default,
        about=field.description or "",
        unit=str(extra.get("unit", "")),
        source=str(extra.get("source", "")),
        scope="model" if extra.get("scope") == "model" else "training",
        choice=choice,
        options=tuple(str(kind_of(t)) for t in below),
    )


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " | ".join(str(a) for a in get_args(annotation))
    if isinstance(annotation, type):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("None", "null")


def build(cls: type[C], tree: Mapping[str, Any] | None = None, overrides: Sequence[str] = ()) -> C:
    """A validated configuration from a (partial) tree and dotted overrides, applied in order.

    Raises:
        UserError: an unknown key (with the nearest right one), a bad value, or a malformed override.
    """
    merged: dict[str, Any] = json.loads(json.dumps(dict(tree or {})))
    for override in overrides:
        path, sep, text = override.partition("=")
        if not sep or not path.strip():
            raise UserError(f"override {override!r} is not of the form key=value")
        set_path(cls, merged, path.strip(), parse_value(text.strip()))
    _check_keys(cls, merged, "")
    try:
        return cls.model_validate(merged)
    except ValidationError as error:
        raise UserError(_explain(cls, error)) from None


def parse_value(text: str) -> Any:
    """The value of an override as YAML reads it, with `1e-3` and `2e6` as the numbers people mean."""
    try:
        return float(text) if "." in text or "e" in text.lower() else int(text)
    except ValueError:
        pass
    try:
        return yaml12.load(text)
    except yaml.YAMLError:
        raise UserError(f"value {text!r} cannot be read as YAML") from None


def set_path(cls: type[Config], tree: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path in a partial tree in place.

    A name given to an option chooses it. Of what had been set for the former one, the knobs that both have stay.

    Raises:
        UserError: the path names nothing, or belongs to an option that is not chosen.
    """
    here: type[Config] = cls
    node = tree
    path = path.removesuffix(".kind")
    keys = path.split(".")
    for depth, key in enumerate(keys):
        field = here.model_fields.get(key)
        if field is None:
            raise _unknown_key(cls, ".".join(keys[: depth + 1]), path, here)
        below = branches(field)
        if depth == len(keys) - 1:
            if below and isinstance(value, str):
                value = _choose(path, value, field, node.get(key))
            node[key] = value
            return
        if not below:
            raise UserError(f"{'.'.join(keys[: depth + 1])} is a value, not a group: cannot set {path!r}")
        node = _descend(node, key, field, ".".join(keys[: depth + 1]))
        here = _chosen(field, below, node)


def _choose(path: str, name: str, field: FieldInfo, former: Any) -> dict[str, Any]:
    """The subtree of the option called `name`, with what the former one's says of it."""
    below = branches(field)
    chosen = {kind_of(t) for t in below}
    if None in chosen:
        raise _not_a_group(path, name, below)
    if name not in chosen:
        raise _unknown_choice(path, name, chosen)
    if not isinstance(former, Mapping):
        return {"kind": name}
    after = next(t for t in below if kind_of(t) == name)
    return {**carried(_chosen(field, below, former), after, former), "kind": name}


def carried(before: type[Config], after: type[Config], tree: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs in one option's partial tree that another option has too, by name and type; of itself all."""
    if before is after:
        return dict(tree)
    there = {key: field.annotation for key, field in after.model_fields.items() if key != "kind"}
    return {k: v for k, v in tree.items() if k in there and before.model_fields[k].annotation == there[k]}


def _descend(node: dict[str, Any], key: str, field: FieldInfo, path: str) -> dict[str, Any]:
    """The mutable subtree at `key`, normalised: a bare name becomes `{kind: name}`, none at all the default's kind."""
    value = node.get(key)
    if isinstance(value, str):
        node[key] = {"kind": value}
    elif value is None:
        default = field.default
        node[key] = {"kind": default.kind} if isinstance(default, Choice) else {}
    elif not isinstance(value, dict):
        raise _not_a_group(path, value, branches(field))
    subtree: dict[str, Any] = node[key]
    return subtree


def _chosen(field: FieldInfo, below: list[type[Config]], node: Any) -> type[Config]:
    """Which class of a union a subtree stands for."""
    kind = node.get("kind") if isinstance(node, Mapping) else None
    if kind is None and isinstance(field.default, Choice):
        kind = field.default.kind
    return next((t for t in below if kind_of(t) == kind), below[0])


def _check_keys(cls: type[Config], tree: dict[str, Any], prefix: str) -> None:
    for key in list(tree):
        field = cls.model_fields.get(key)
        path = f"{prefix}{key}"
        if field is None:
            raise _unknown_key(cls, path, path, cls)
        below = branches(field)
        if not below:
            continue
        chosen = {kind_of(t) for t in below}
        if isinstance(tree[key], str) and None not in chosen:
            tree[key] = {"kind": tree[key]}
        if not isinstance(tree[key], dict):
            raise _not_a_group(path, tree[key], below)
        kind = tree[key].get("kind")
        if None not in chosen:
            if kind is not None and kind not in chosen:
                raise _unknown_choice(path, kind, chosen)
            if kind is None and isinstance(field.default, Choice):
                tree[key]["kind"] = field.default.kind
        _check_keys(_chosen(field, below, tree[key]), tree[key], f"{path}.")


def _not_a_group(path: str, value: object, below: Sequence[type[Config]]) -> UserError:
    hint = f"; its keys: {', '.join(below[0].model_fields)}" if len(below) == 1 else ""
    return UserError(f"{path} must be a group of keys, got {value!r}{hint}")


def _unknown_choice(path: str, value: object, chosen: set[str | None]) -> UserError:
    names = sorted(str(c) for c in chosen)
    close = nearest(str(value), names, most=1)
    hint = f"did you mean {path}={close[0]}? " if close else ""
    return UserError(f"{path}={value!r} is not an option; {hint}options: {', '.join(names)}")


def _unknown_key(root: type[Config], at: str, path: str, here: type[Config]) -> UserError:
    wrong = at.rsplit(".", 1)[-1]
    elsewhere = [k for k in knobs(root) if k.path == path and k.choice]
    if elsewhere:
        return UserError(f"key {path!r} belongs to {elsewhere[0].choice}, which is not chosen here; choose it first")
    every = {k.path for k in knobs(root)}
    prefix, rest = at[: len(at) - len(wrong)], path[len(at) :]
    near = nearest(wrong, [*(n for n in here.model_fields if n != "kind"), *(() if prefix else root.words())], most=2)
    close = [f"{prefix}{n}{rest}" if f"{prefix}{n}{rest}" in every else f"{prefix}{n}" for n in near]
    if not close:
        close = [p for p in sorted(every) if p.rsplit(".", 1)[-1] == wrong][:2] or nearest(path, every, most=2)
    hint = f"did you mean {' or '.join(close)}?" if close else f"keys here: {', '.join(here.model_fields)}"
    return UserError(f"unknown key {path!r}; {hint}")


def _explain(cls: type[Config], error: ValidationError) -> str:
    """One line per pydantic error: dotted key, offending value, what was expected."""
    lines = []
    for item in error.errors():
        here: type[Config] | None = cls
        path: list[str] = []
        for loc in item["loc"]:
            field = here.model_fields.get(str(loc)) if here else None
            if field is not None:
                path.append(str(loc))
                below = branches(field)
                here = below[0] if len(below) == 1 else None
                options = {kind_of(t) or t.__name__: t for t in below}
            elif here is None and isinstance(loc, str) and path and loc in options:
                here = options[loc]
            else:
                path.append(str(loc))
        if item["type"] == "value_error":  # a rule of ours about several keys: its message says all
            lines.append(item["msg"].removeprefix("Value error, "))
            continue
        value = item.get("input")
        lines.append(f"{'.'.join(path) or cls.__name__}={value!r}: {item['msg'][:1].lower()}{item['msg'][1:]}")
    return "; ".join(dict.fromkeys(lines))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted leaf -> value; an option's kind stands under the option's own path (`update` -> `"awr"`)."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        elif key == "kind" and prefix:
            flat[prefix[:-1]] = value
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ between two plain trees, as (old, new); a key absent on one side shows None."""
    a, b = flatten(old), flatten(new)
    keys = [*a, *(k for k in b if k not in a)]
    return {k: (a.get(k), b.get(k)) for k in keys if (k in a) != (k in b) or a.get(k) != b.get(k)}


def fingerprint(tree: Mapping[str, Any]) -> str:
    """Twelve hex digits of the SHA-256 of the canonical JSON of a tree: equal exactly when the trees are equal."""
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def model_fingerprint(config: Config) -> str:
    """The fingerprint of the model-family entries alone: checkpoints cross between runs exactly when it is equal."""
    model_paths = {k.path for k in knobs(type(config)) if k.scope == "model"}
    return fingerprint({k: v for k, v in flatten(config.tree()).items() if k in model_paths})
