"""How well scores rank rows."""

from __future__ import annotations

import pytest
import torch

from bellmark.ops.ranks import auc


def test_pairs_that_are_in_order_ties_half() -> None:
    # Positive 3 and 1 against negative 0 and 1: 3 > 0, 3 > 1, 1 > 0 and one tie: (3 + 1/2) / 4.
    score, positive = torch.tensor([3.0, 0.0, 1.0, 1.0]), torch.tensor([True, False, True, False])
    assert float(auc(score, positive)) == pytest.approx(0.875)
    assert float(auc(-score, positive)) == pytest.approx(0.125)
