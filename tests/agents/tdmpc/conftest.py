"""Networks small enough for thousands of updates in seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tdmpc_small import TINY

from bellmark.agents.tdmpc import model


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Size 1 is a toy, and one thread computes."""
    monkeypatch.setitem(model.SIZES, 1, TINY)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
