"""More seeds for a sweep: written into its file, where verdict and report read them, with all else left as it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from bellmark.errors import UserError
from bellmark.records.layout import write_atomic
from bellmark.sweeps.schema import Sweep


def with_seeds(file: Path, sweep: Sweep, more: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """The text of a sweep file with further seeds, and all seeds it then has; comments and layout stay.

    Raises:
        UserError: the sweep has all of these seeds already.
    """
    new = tuple(seed for seed in more if seed not in sweep.seeds)
    if not new:
        raise UserError(f"sweep {sweep.name} has the seeds {_listed(more)} already; it has {_listed(sweep.seeds)}")
    every = (*sweep.seeds, *new)
    text = file.read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # load_sweep has read it
    value = next((value for key, value in root.value if key.value == "seeds"), None)
    if value is None:
        return f"{text.rstrip()}\nseeds: [{_listed(every)}]\n", every
    block = isinstance(value, yaml.SequenceNode) and not value.flow_style  # `seeds:` and then a line for each
    start = value.start_mark.index
    end = (value.value[-1] if block else value).end_mark.index  # a block list's own end lies behind comments after it
    before = f"{text[:start].rstrip()} " if block else text[:start]
    return f"{before}[{_listed(every)}]{text[end:]}", every


def written(file: Path, text: str) -> None:
    """Replace the sweep file whole.

    Raises:
        UserError: it cannot be written.
    """
    try:
        write_atomic(file, text.encode())
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror}") from None


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
