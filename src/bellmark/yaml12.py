"""YAML read the way people mean it: the YAML 1.2 core schema instead of PyYAML's 1.1.

So `1e-3` is a number, `off`, `no` and `1:30:00` are text, and a key given twice is an error instead of a silent choice.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

SCALARS = {
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9][0-9_]*", "-+0123456789"),
    "float": (r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|nan)", "-+.0123456789"),
    "merge": (r"<<", "<"),
}


class _Loader(yaml.SafeLoader):
    """Safe loading with the scalars above and without duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping; refuses a key that is given twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def construct_int(self, node: yaml.ScalarNode) -> int:
        """A decimal number: a leading zero does not make it octal."""
        return int(node.value.replace("_", ""))


_Loader.yaml_implicit_resolvers = {}
for _tag, (_pattern, _first) in SCALARS.items():
    _letters = ["" if c == "\0" else c for c in _first]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _letters)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_int)


def load(text: str) -> Any:
    """The plain data that one YAML document stands for.

    Raises:
        yaml.YAMLError: not YAML, or a key is given twice; a `MarkedYAMLError` knows the line.
    """
    return yaml.load(text, Loader=_Loader)
