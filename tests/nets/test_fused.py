"""The fused passes in C against PyTorch's own operations in single precision: values, gradients, edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import bellmark.ops.native as native
from bellmark.nets.cells import BlockCell, GruCells
from bellmark.nets.fused import PORTION
from bellmark.nets.rms import Layer, mlp
from bellmark.nets.rssm import Rssm
from bellmark.ops.categorical import one_hot
from bellmark.ops.two_hot import SymexpBins
from bellmark.ops.two_targets import cross_entropy_two

pytestmark = pytest.mark.skipif(native.library() is None, reason="no compiler")
LAYERS: dict[str, Any] = {"norm": "rms", "activation": "silu"}
PLAIN: list[dict[str, Any]] = [{"norm": "none", "activation": name} for name in ("silu", "relu")]
KINDS = [("block", LAYERS), ("grus", LAYERS), *(("grus", layers) for layers in PLAIN)]
kinds = pytest.mark.parametrize(("cell", "layers"), KINDS)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], Any]:
    """Runs something without the fused passes."""

    def run(what: Callable[[], Any]) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(native, "library", lambda: None)
            return what()

    return run


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """Biases and scales, too, have something to say."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return module


def rssm(classes: int, cell: str = "block", layers: dict[str, Any] = LAYERS) -> Rssm:
    generator = torch.Generator().manual_seed(0)
    kind = {"block": BlockCell, "grus": GruCells}[cell]
    made = Rssm(kind(32, 6 * classes, 2, 8, 4, generator, **layers), 32, 5, 6, classes, 8, generator, unimix=0.01,
                prior_layers=2, posterior_layers=1, sees_deter=True, **layers)  # fmt: skip
    shaken(made)
    return made


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def hots(classes: int, count: int) -> Tensor:
    return one_hot(torch.randint(classes, (6, count), generator=torch.Generator().manual_seed(3)), classes, 1)


@pytest.mark.parametrize("outputs", [1, 5, 64])
def test_a_layers_values_and_gradients(plain: Any, outputs: int) -> None:
    layer = shaken(Layer(7, outputs, torch.Generator().manual_seed(0), **LAYERS))
    weight = normal(outputs, 9)

    def run() -> list[Tensor]:
        x = normal(7, 9).requires_grad_()
        out = layer(x)
        return [out.detach(), *torch.autograd.grad((weight * out).sum(), [x, *layer.parameters()])]

    for mine, theirs in zip(run(), plain(run), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("count", [1, 3, PORTION + 5])
@pytest.mark.parametrize("kind", [LAYERS, *PLAIN])
def test_layers_without_gradient(plain: Any, count: int, kind: dict[str, Any]) -> None:
    layers = shaken(mlp([7, 8, 4], torch.Generator().manual_seed(0), **kind))
    assert layers.stack() is not None

    @torch.no_grad()
    def run() -> Tensor:
        return layers(normal(7, count))

    torch.testing.assert_close(run(), plain(run), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("classes", [3, 4, 24])
@pytest.mark.parametrize("slices", [1, 5])
@kinds
def test_a_sequence_and_its_gradient(plain: Any, cell: str, layers: dict[str, Any], classes: int, slices: int) -> None:
    made, steps = rssm(classes, cell, layers), 6
    first = torch.zeros(steps, slices, dtype=torch.bool)
    first[0, 0] = first[3, -1] = True
    uniform = torch.rand(steps, 6, slices, generator=torch.Generator().manual_seed(2))
    weights = (normal(steps, 32, slices), normal(steps, 6, classes, slices), normal(steps, 6, classes, slices, seed=4))

    def run() -> list[Tensor | None]:
        made.zero_grad()
        tokens = normal(5, steps, slices, seed=5).requires_grad_()
        action = 3 * normal(2, steps, slices)
        states = made.observe(normal(32, slices), hots(classes, slices), action, tokens, first, uniform)
        sum((w * s).sum() for w, s in zip(weights, states, strict=True)).backward()  # type: ignore[union-attr]
        return [*(s.detach() for s in states), tokens.grad, *(p.grad for p in made.parameters())]

    mine, theirs = run(), plain(run)
    assert sum(x is not None for x in mine) > {"block": 20, "grus": 10}[cell]
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("classes", [3, 4])
@pytest.mark.parametrize("count", [1, 4, PORTION + 70])
@pytest.mark.parametrize("drawn", [True, False])
@kinds
def test_a_step_along_an_observation(
    plain: Any, cell: str, layers: dict[str, Any], classes: int, count: int, drawn: bool
) -> None:
    made = rssm(classes, cell, layers)
    uniform = torch.rand(6, count, generator=torch.Generator().manual_seed(2)) if drawn else None

    def run() -> Any:
        return made.follow(normal(32, count), hots(classes, count), 3 * normal(2, count), normal(5, count), uniform)

    for mine, theirs in zip(run(), plain(run), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("count", [2, PORTION + 70])
@kinds
def test_a_step_of_dreams(plain: Any, cell: str, layers: dict[str, Any], count: int) -> None:
    made = rssm(4, cell, layers)
    here = torch.cat((normal(32, count), hots(4, count).flatten(0, 1)))
    uniform = torch.rand(6, count, generator=torch.Generator().manual_seed(2))

    def run() -> Tensor:
        there = here.new_empty(count, len(here)).t()
        made.imagination(count)(here, normal(2, count), uniform, there)
        return there

    torch.testing.assert_close(run(), plain(run), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("bins", [SymexpBins(), SymexpBins(count=10, limit=5.0), SymexpBins(count=5)])
def test_the_mean_bin(plain: Any, bins: SymexpBins) -> None:
    logits, half = 4 * normal(3, 7, bins.count), bins.count // 2
    exact, weights = bins.decode(logits.double()), logits.softmax(-1)
    summands = (weights[..., -half:] + weights[..., :half].flip(-1)) @ bins.upper(logits)
    assert ((bins.decode(logits) - exact).abs() < 1e-6 * summands).all()
    assert not bins.decode(torch.zeros(4, bins.count)).any(), "equal weights on both sides cancel exactly"
    logits[0, 0] = torch.linspace(-300, 300, bins.count)  # beyond what a single-precision exponential can hold
    assert float(bins.decode(logits)[0, 0]) == pytest.approx(float(bins.upper(logits)[-1]), rel=0.1)


def test_two_targets_and_their_gradient(plain: Any) -> None:
    bins = SymexpBins()

    def run() -> list[Tensor]:
        logits = (5 * normal(9, bins.count)).requires_grad_()
        loss = cross_entropy_two(bins, logits, 40 * normal(9), normal(9, seed=8), 0.7)
        return [loss.detach(), *torch.autograd.grad((normal(9, seed=6) * loss).sum(), [logits])]

    for mine, theirs in zip(run(), plain(run), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-5, atol=2e-6)


def test_what_is_not_a_number_stays_none() -> None:
    made = rssm(4)
    deter = normal(32, 2)
    deter[3, 1] = float("nan")
    after, _ = made.follow(deter, hots(4, 2), normal(2, 2), normal(5, 2), None)
    assert after[:, 0].isfinite().all()
    assert after[:, 1].isnan().any()
    assert SymexpBins().decode(torch.full((1, 255), float("nan"))).isnan()


def test_without_a_compiler_or_when_told_so_nothing_is_fused(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name, value in (("CC", "no-such-compiler"), ("BELLMARK_NATIVE", "0")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert native.library.__wrapped__() is None
    assert not any(tmp_path.rglob("*.so"))
    assert native.fused(torch.zeros(1, dtype=torch.float64)) is None


def test_what_is_remembered_of_a_module_follows_it_when_it_moves(plain: Any) -> None:
    made = rssm(4)
    given = (normal(32, 1), hots(4, 1), normal(2, 1), normal(5, 1), None)
    former = made.follow(*given)
    made.double().float()  # other memory
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1)
    assert not torch.equal(made.follow(*given)[0], former[0])
    torch.testing.assert_close(made.follow(*given)[0], plain(lambda: made.follow(*given))[0], rtol=2e-5, atol=2e-6)
