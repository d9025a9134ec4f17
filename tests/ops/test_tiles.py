"""Products and perceptrons by tiles (AMX), through an emulation of its instructions where the processor has none."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bellmark.nets.ensemble import Ensemble
from bellmark.ops import native, products

EMULATION = Path(__file__).parents[1] / "support" / "tiles.h"
FORMER = bytes([1, *[0] * 15, 8, *[0] * 31, 5, *[0] * 15])  # shapes that somebody else on the thread has set


@pytest.fixture(scope="module")
def by_tiles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ctypes.CDLL]:
    """The passes compiled with the emulation, in place of this processor's own."""
    if not products.available("bfloat16"):
        pytest.skip("needs a processor with AVX-512 BF16")
    folder = tmp_path_factory.mktemp("tiles")
    compiler = folder / "cc"
    compiler.write_text(f'#!/bin/sh\nexec cc -include "{EMULATION}" -D__AMX_BF16__=1 "$@"\n')
    compiler.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CC", str(compiler))
        patch.setenv("XDG_CACHE_HOME", str(folder))
        for known in (native.library, products._passes):
            known.cache_clear()
        library = native.library()
        assert library is not None
        assert products._passes("bfloat16") == "amx"
        yield library
    for known in (native.library, products._passes):
        known.cache_clear()


def both(monkeypatch: pytest.MonkeyPatch, compute: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """What comes out by tiles, and by pairs of the same factors, which differs by the order of sums alone."""
    with products.precision("bfloat16"):
        tiles = compute()
        monkeypatch.setattr(products, "_passes", lambda name: "bfloat")
        return tiles, compute()


@pytest.mark.parametrize(
    ("n", "k", "m"), [(64, 64, 64), (488, 384, 101), (77, 518, 65), (65, 131, 512), (100, 4100, 70), (66, 500, 600)]
)
@pytest.mark.usefixtures("by_tiles")
def test_products_and_their_gradients(monkeypatch: pytest.MonkeyPatch, n: int, k: int, m: int) -> None:
    torch.manual_seed(0)
    x, y, g = torch.randn(n, k, requires_grad=True), torch.randn(k, m, requires_grad=True), torch.randn(n, m)

    def compute() -> Tensor:
        out = products.mm(x, y)
        return torch.cat([part.flatten() for part in (out, *torch.autograd.grad(out, (x, y), g))])

    tiles, pairs = both(monkeypatch, compute)
    assert torch.allclose(tiles, pairs, rtol=1e-5, atol=1e-5 * k**0.5)
    assert not torch.equal(pairs[: n * m], torch.mm(x, y).flatten())


@pytest.mark.parametrize(("rows", "inputs"), [(1, (70,)), (300, (133, 6)), (1000, (64,))])
@pytest.mark.parametrize("normed_output", [False, True])
@pytest.mark.usefixtures("by_tiles")
def test_perceptrons(monkeypatch: pytest.MonkeyPatch, rows: int, inputs: tuple[int, ...], normed_output: bool) -> None:
    g = torch.Generator().manual_seed(0)
    net = Ensemble(2, inputs, (96, 130), 101, g, normed_output=normed_output)
    parts = [torch.randn(rows, wide, generator=g) for wide in inputs]

    def compute() -> Tensor:
        with torch.no_grad():
            found: Tensor = net(*parts)
            return found

    tiles, pairs = both(monkeypatch, compute)
    # A hidden number that a sum in another order rounds to the next of 8 bits moves an output by some 1e-3 of it.
    assert float((tiles - pairs).square().mean().sqrt() / pairs.std()) < 5e-4


def test_another_users_shapes_are_there_again(by_tiles: ctypes.CDLL) -> None:
    held = (ctypes.c_char * 64).in_dll(by_tiles, "tiles")
    held.raw = FORMER
    with products.precision("bfloat16"):
        products.mm(torch.randn(64, 64), torch.randn(64, 64))
    assert held.raw == FORMER
