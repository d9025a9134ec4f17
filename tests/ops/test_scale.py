"""The running scale against a sorted list and NumPy's percentiles."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bellmark.ops.scale import percentile_range, running_scale


def test_golden():
    # 0..100: the 5th percentile is 5, the 95th 95.
    assert float(percentile_range(torch.arange(101.0))) == 90
    # From 1, a tenth of the way to 90: 1 + 0.1 * 89 = 9.9.
    torch.testing.assert_close(running_scale(torch.tensor(1.0), torch.arange(101.0), 0.1, 1.0), torch.tensor(9.9))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40))
def test_equals_numpy(numbers):
    low, high = np.percentile(numbers, [5, 95])
    ours = percentile_range(torch.tensor(numbers, dtype=torch.float64))
    np.testing.assert_allclose(float(ours), high - low, rtol=1e-9, atol=1e-9)


def test_small_ranges_count_as_the_least():
    scale = running_scale(torch.tensor(3.0), torch.full((50,), 7.0), 1.0, 0.5)
    assert float(scale) == 0.5


def test_rate_zero_keeps_and_one_replaces():
    x = torch.randn(64)
    assert float(running_scale(torch.tensor(2.0), x, 0.0, 0.0)) == 2.0
    torch.testing.assert_close(running_scale(torch.tensor(2.0), x, 1.0, 0.0), percentile_range(x))


def test_takes_any_shape_and_no_gradient():
    x = torch.randn(4, 16, requires_grad=True)
    scale = running_scale(torch.tensor(1.0), x, 0.5, 1.0)
    assert scale.shape == () and not scale.requires_grad
