"""A ledger with nothing run yet, and one with everything done."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_ledger import QUESTION, Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Two arms, three seeds, no run yet."""
    return Ledger(tmp_path, {**QUESTION})


@pytest.fixture
def full(ledger: Ledger) -> Ledger:
    """All six runs done."""
    ledger.write_all()
    return ledger
