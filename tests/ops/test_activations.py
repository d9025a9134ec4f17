"""Fast activations against the stock kernels, far from zero, and their gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from bellmark.ops import activations
from bellmark.ops.activations import CACHED, mish, norm, norm_mish, simnorm

FAR = torch.tensor([-1e4, -200.0, -88.0, -30.0, 0.0, 30.0, 88.0, 200.0, 1e4])


def test_mish_golden():
    # e^0 = 1, tanh(ln 2) = (2 - 1/2) / (2 + 1/2) = 0.6: mish(0) = 0 with slope 0.6.
    # At ln 2: 1 + e^x = 3, tanh(ln 3) = (3 - 1/3) / (3 + 1/3) = 0.8.
    x = torch.tensor([0.0, math.log(2)], requires_grad=True)
    y = mish(x)
    torch.testing.assert_close(y, torch.tensor([0.0, 0.8 * math.log(2)]))
    (slope,) = torch.autograd.grad(y.sum(), x)
    # slope = t + x sigmoid(x) (1 - t^2): 0.6 at 0, 0.8 + ln 2 * 2/3 * 0.36 at ln 2.
    torch.testing.assert_close(slope, torch.tensor([0.6, 0.8 + 0.24 * math.log(2)]))


@pytest.mark.parametrize("grad", [True, False])
def test_mish_equals_the_stock_kernel(grad):
    x = (8 * torch.randn(4096, generator=torch.Generator().manual_seed(0))).requires_grad_(grad)
    precise = F.mish(x.detach().double())
    assert (mish(x).double() - precise).abs().max() < 1e-6
    tiny = torch.tensor([-15.0, -20.0, -40.0]).requires_grad_(grad)
    torch.testing.assert_close(mish(tiny), F.mish(tiny), rtol=1e-5, atol=0.0)  # relative: digits are kept


@settings(max_examples=50, deadline=None)
@given(st.floats(-60, 60))
def test_mish_slope_equals_the_stock_kernel(x):
    ours, stock = (torch.tensor([x], dtype=torch.float64, requires_grad=True) for _ in range(2))
    mish(ours).sum().backward()
    F.mish(stock).sum().backward()
    torch.testing.assert_close(ours.grad, stock.grad, rtol=1e-9, atol=1e-12)


def test_mish_overflows_nowhere():
    x = FAR.clone().requires_grad_()
    torch.testing.assert_close(mish(FAR), F.mish(FAR))
    mish(x).sum().backward()
    assert x.grad.isfinite().all() and x.grad[-1] == 1 and x.grad[0] == 0
    assert mish(torch.tensor(torch.nan)).isnan()


def test_on_accelerators_mish_is_one_launch():
    x, scale = torch.empty(4, 8, device="meta", requires_grad=True), torch.ones(8, device="meta")
    with Launches() as seen:
        mish(x.detach())
        mish(x)
        norm_mish(x.detach(), scale, scale)
    assert [name.partition(".")[2] for name in seen.names] == ["mish", "mish", "native_layer_norm", "mish"]


class Launches(TorchDispatchMode):
    """Counts operations."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names += [] if func is torch.ops.aten.detach.default else [str(func.overloadpacket)]
        return func(*args, **(kwargs or {}))


def test_mish_leaves_its_input_alone():
    x = torch.randn(8)
    kept = x.clone()
    mish(x)
    assert torch.equal(x, kept)


def test_mish_gradcheck():
    assert torch.autograd.gradcheck(mish, (3 * torch.randn(20, dtype=torch.float64)).requires_grad_())


def test_mish_of_large_and_strided_tensors():
    x = torch.randn(CACHED // 128, 300, generator=torch.Generator().manual_seed(0)).T.requires_grad_()
    ours, stock = mish(x), F.mish(x)
    torch.testing.assert_close(ours, stock)
    (a,), (b,) = (torch.autograd.grad(y.square().sum(), x) for y in (ours, stock))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("grad", [True, False])
def test_norm_mish_is_both_one_after_the_other(grad):
    g = torch.Generator().manual_seed(0)
    x, scale, shift = (
        torch.randn(64, 512, generator=g),
        torch.rand(512, generator=g) + 0.5,
        torch.randn(512, generator=g),
    )
    precise = F.mish(F.layer_norm(x.double(), (512,), scale.double(), shift.double()))
    ours = norm_mish(x.requires_grad_(grad), scale, shift)
    assert ours.requires_grad == grad and (ours.double() - precise).abs().max() < 2e-6


@pytest.mark.parametrize("width", [7, 16, 40, 512])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("what", [norm, norm_mish])
@pytest.mark.parametrize("native", [True, False])
def test_norms_and_their_gradients_are_those_of_double_precision(monkeypatch, native, what, biased, width):
    if not native:
        monkeypatch.setattr(activations, "fused", lambda x: None)
    g = torch.Generator().manual_seed(0)
    given = [torch.randn(3, 5, width, generator=g), *(1 + torch.randn(3, width, generator=g))]
    into = torch.randn(3, 5, width, generator=g)

    def gradients(run, dtype):
        x, scale, shift, bias = leaves = [t.detach().to(dtype).requires_grad_() for t in given]
        out = run(x * 1, scale, shift, bias if biased else None)
        return [out.detach(), *torch.autograd.grad((into * out).sum(), leaves if biased else leaves[:3])]

    def stock(x, scale, shift, bias):
        y = F.layer_norm(x if bias is None else x + bias, (width,), scale, shift)
        return y if what is norm else F.mish(y)

    for ours, exact in zip(gradients(what, torch.float32), gradients(stock, torch.float64), strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=2e-5)
    with torch.no_grad():
        x, scale, shift, bias = given
        exact = stock(*(t.double() for t in given[:3]), bias.double() if biased else None)
        ours = what(x.clone(), scale, shift, bias if biased else None)
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=2e-6)


def test_the_fused_norm_bears_large_numbers_and_passes_on_what_is_none():
    x = FAR.repeat(2, 1).requires_grad_()
    ones, zeros = torch.full((9,), 300.0), torch.zeros(9)
    out = norm_mish(x * 1, ones, zeros)
    torch.testing.assert_close(out, F.mish(F.layer_norm(x, (9,), ones, zeros)))
    (slope,) = torch.autograd.grad(out.sum(), x)
    assert slope.isfinite().all()
    bad = torch.zeros(2, 9)
    bad[0, 3] = torch.nan
    found = norm_mish(bad, ones, zeros)
    assert found[0].isnan().all() and found[1].isfinite().all()


def test_norm_mish_with_gradient_to_the_norm_alone():
    scale = torch.ones(4, requires_grad=True)
    assert norm_mish(torch.randn(3, 4), scale, torch.zeros(4)).requires_grad
    with torch.no_grad():
        assert not norm_mish(torch.randn(3, 4), scale, torch.zeros(4)).requires_grad


def test_simnorm_golden():
    # Two groups of two, features 0 and 2, 1 and 3. Differences ln 3 and 0: (1/4, 3/4) and (1/2, 1/2).
    x = torch.tensor([0.0, 5.0, math.log(3), 5.0])
    torch.testing.assert_close(simnorm(x, 2), torch.tensor([0.25, 0.5, 0.75, 0.5]))


def test_simnorm_is_the_official_one_with_features_renumbered():
    x = torch.randn(5, 6, 128)
    official = x.view(5, 6, 16, 8).softmax(-1).flatten(-2)
    renumber = torch.arange(128).view(16, 8).T.flatten()  # feature g of member k: from 8 g + k to 16 k + g
    torch.testing.assert_close(simnorm(x[..., renumber]), official[..., renumber])


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_simnorm_groups_lie_on_simplices_however_large_their_numbers(shift):
    x = 100 * torch.randn(32, 64) + shift
    groups = simnorm(x).view(32, 8, 8)
    assert groups.isfinite().all()
    torch.testing.assert_close(groups.sum(1), torch.ones(32, 8))


@pytest.mark.parametrize(("wide", "group"), [(12, 4), (128, 8), (200, 8), (512, 2)])
def test_simnorm_and_its_gradient_are_those_of_double_precision(wide, group):
    g = torch.Generator().manual_seed(0)
    x, into = (4 * torch.randn(3, 2, wide, generator=g) for _ in range(2))
    single, double = (x.to(t).requires_grad_() for t in (torch.float32, torch.float64))
    ours, exact = simnorm(single, group), simnorm(double, group)
    torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-6)
    (a,), (b,) = torch.autograd.grad((into * ours).sum(), single), torch.autograd.grad((into * exact).sum(), double)
    torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


def test_simnorm_gradcheck():
    assert torch.autograd.gradcheck(lambda x: simnorm(x, 4), torch.randn(3, 8, dtype=torch.float64, requires_grad=True))
