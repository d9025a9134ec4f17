"""Products of sixteen bits against products of doubles: sizes, turns, scales, gradients, and when they take place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from bellmark.ops import products
from bellmark.ops.products import INSTRUCTIONS, LEAST, Precision, available, mm, precision

# Of a typical element. Factors keep 11 and 8 bits: one is off by 2^-11 or 2^-8 of itself at most, by some 0.4 of that
# typically, and a sum of products by the root of two of it; halves also sum 64 products in halves.
TYPICAL = {"half": 2e-3, "bfloat16": 2.5e-3}
FORMATS = [
    pytest.param(name, marks=pytest.mark.skipif(not available(name), reason=f"needs a processor with {needs}"))
    for name, needs in INSTRUCTIONS.items()
]
each_format = pytest.mark.parametrize("reduced", FORMATS, indirect=True)


@pytest.fixture
def reduced(request: pytest.FixtureRequest) -> Iterator[Precision]:
    """Products of a format throughout a test."""
    with precision(request.param):
        yield request.param


def error(found: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> float:
    """Root mean square deviation from the product in double precision, over that of the product."""
    exact = x.double() @ y.double()
    return float((found - exact).square().mean().sqrt() / exact.square().mean().sqrt())


@each_format
@pytest.mark.parametrize(
    ("n", "k", "m"), [(64, 64, 64), (488, 384, 101), (77, 518, 65), (65, 130, 512), (100, 4100, 70), (66, 500, 600)]
)
def test_rows_depths_and_columns_that_leave_a_rest(reduced: Precision, n: int, k: int, m: int) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(n, k), torch.randn(k, m)
    found = mm(x, y)
    assert 0 < error(found, x, y) < TYPICAL[reduced]
    assert not torch.equal(found, torch.mm(x, y))


@each_format
@pytest.mark.parametrize("scale", [1e-25, 1e-6, 1e6, 1e15])
def test_numbers_beyond_the_range_of_halves(reduced: Precision, scale: float) -> None:
    torch.manual_seed(0)
    x, y = scale * torch.randn(70, 200), torch.randn(200, 80) / scale
    assert error(mm(x, y), x, y) < TYPICAL[reduced]


@each_format
def test_one_large_element_does_not_drown_the_others(reduced: Precision) -> None:
    """A row a thousand times as large takes its own bits only; the others keep four fifths of theirs."""
    torch.manual_seed(0)
    x, y = torch.randn(70, 200), torch.randn(200, 80)
    x[3] *= 1000
    others = torch.arange(70) != 3
    assert error(mm(x, y)[others], x[others], y) < 4 * TYPICAL[reduced]


@each_format
@pytest.mark.usefixtures("reduced")
def test_what_is_not_finite_stays_so_and_zeros_are_zeros() -> None:
    x, y = torch.randn(70, 70), torch.randn(70, 70)
    assert (mm(torch.zeros(70, 70), y) == 0).all()
    for bad in (torch.nan, torch.inf):
        x[5, 7] = bad
        found = mm(x, y)
        assert not found[5].isfinite().any()
        assert found[:5].isfinite().all()


@each_format
@pytest.mark.parametrize(("n", "k", "m"), [(90, 130, 70), (256, 64, 512), (77, 131, 65)])
def test_gradients_are_those_of_single_precision_but_for_rounding(reduced: Precision, n: int, k: int, m: int) -> None:
    torch.manual_seed(0)
    x, y, g = torch.randn(n, k, requires_grad=True), torch.randn(k, m, requires_grad=True), 1e-7 * torch.randn(n, m)
    out = mm(x, y)
    with precision("single"):
        out.backward(g)  # what was multiplied in fewer bits goes back in fewer bits
    assert x.grad is not None
    assert y.grad is not None
    assert 0 < error(x.grad, g, y.detach().T) < TYPICAL[reduced]
    assert 0 < error(y.grad, x.detach().T, g) < TYPICAL[reduced]


@each_format
def test_single_precision_elsewhere(reduced: Precision) -> None:
    x, y = torch.randn(LEAST, LEAST), torch.randn(LEAST, LEAST)
    with precision("single"):
        assert torch.equal(mm(x, y), torch.mm(x, y))
    # thin factors, other types, and factors that do not lie in one piece
    assert torch.equal(mm(x[:, :8].contiguous(), y[:8]), torch.mm(x[:, :8], y[:8]))
    assert torch.equal(mm(x.double(), y.double()), torch.mm(x.double(), y.double()))
    assert torch.equal(mm(x.t(), y), torch.mm(x.t(), y))


def test_single_precision_unless_asked() -> None:
    x, y = torch.randn(LEAST, LEAST), torch.randn(LEAST, LEAST)
    assert torch.equal(mm(x, y), torch.mm(x, y))


def as_float(x: torch.Tensor) -> torch.Tensor:
    """What is left of a number in bfloat16."""
    return x.bfloat16().float()


class TestOnCudaDevices:
    """What is to happen there, as far as a processor can tell."""

    def test_bfloat16_rounds_factors_of_products_and_of_their_gradients(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(products, "_rounded", lambda x, y: torch.bmm(as_float(x), as_float(y)))
        torch.manual_seed(0)
        x, weight = (torch.randn(*shape, requires_grad=True) for shape in ((3, 7, 5), (3, 5, 4)))
        out = products._Rounded.apply(x, weight)
        grad = torch.randn_like(out)
        out.backward(grad)
        torch.testing.assert_close(out, as_float(x) @ as_float(weight))
        torch.testing.assert_close(x.grad, as_float(grad) @ as_float(weight).mT)
        torch.testing.assert_close(weight.grad, as_float(x).mT @ as_float(grad))

    def test_half_is_tf32(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        levels = {}
        for name in ("single", "half", "bfloat16"):
            with precision(name):
                levels[name] = torch.get_float32_matmul_precision()
        assert levels == {"single": "highest", "half": "high", "bfloat16": "highest"}
        assert torch.get_float32_matmul_precision() == "highest"

    def test_they_have_every_precision(self) -> None:
        assert all(available(name, "cuda:0") for name in ("single", "half", "bfloat16"))
        assert not available("half", "meta") and available("single", "meta")


def test_elsewhere_members_are_multiplied_as_ever() -> None:
    bias, x, weight = torch.randn(3, 1, 4), torch.randn(3, 7, 5), torch.randn(3, 5, 4)
    for name in ("single", "bfloat16"):
        with precision(name):
            assert torch.equal(products.baddbmm(bias, x, weight), torch.baddbmm(bias, x, weight))
