"""Recorded functions give what they give when they are run, whatever they change on the way."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from recorder import Recorder
from torch import Tensor
from torch.utils._pytree import tree_map

from bellmark.nets import graphs
from bellmark.nets.graphs import EAGER, KINDS, Recorded, at_once, launcher


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


class Counting:
    """A function that changes a tensor, draws, descends, and counts how often Python runs it."""

    def __init__(self) -> None:
        self.runs, self.draws = 0, generator()
        self.total = torch.zeros(3)
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.adam = torch.optim.AdamW([self.weight], lr=0.1, fused=True)

    def __call__(self, x: Tensor, named: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        self.runs += 1
        self.total.add_(x + torch.randn(3, generator=self.draws))
        self.adam.zero_grad()
        loss = (self.weight * x - named["y"]).square().sum()
        loss.backward()
        self.adam.step()
        return self.total[1:], {"loss": loss.detach(), "weight": self.weight.detach()}


def results(launch, function: Counting, calls: int) -> list[Tensor]:
    x = torch.arange(3.0)
    found = [launch("key", function, x + n, {"y": x * n}) for n in range(calls)]
    return [part for tail, named in found for part in (tail, *named.values())]


def test_replays_are_what_runs_would_have_been():
    here, there = Counting(), Counting()
    plain = results(lambda *call: tree_map(torch.clone, at_once(*call)), here, 6)
    replayed = results(Recorded(Recorder(there.draws)), there, 6)
    torch.testing.assert_close(replayed, plain, rtol=0, atol=0)
    assert here.runs == 6 and there.runs == EAGER + 1
    torch.testing.assert_close(there.weight, here.weight, rtol=0, atol=0)
    assert torch.equal(there.draws.get_state(), here.draws.get_state())


def test_results_outlive_the_next_replay():
    launch = Recorded(Recorder(generator()))
    found = [launch("key", lambda x: x * 2, torch.tensor([float(n)])) for n in range(6)]
    assert torch.cat(found).tolist() == [0, 2, 4, 6, 8, 10]


def test_keys_and_shapes_are_recorded_apart():
    launch = Recorded(Recorder(generator()))
    for n in range(5):
        x = torch.full((n % 2 + 1,), float(n))
        assert torch.equal(launch("twice", lambda x: 2 * x, x), 2 * x)
        assert torch.equal(launch("thrice", lambda x: 3 * x, x), 3 * x)
        assert torch.equal(launch("twice", lambda x: 2 * x, x.double()), 2 * x.double())


def test_keys_that_never_come_again_are_forgotten():
    launch = Recorded(Recorder(generator()))
    for n in range(5 * KINDS):
        launch(n / 7, lambda x: x + 1, torch.ones(1))
    assert not launch._recordings and len(launch._calls) <= KINDS + 1


def test_the_recorder_refuses_what_a_gpu_would():
    launch = Recorded(Recorder(generator()))
    with pytest.raises(AssertionError, match="_local_scalar_dense"):
        [launch("key", lambda x: x * float(x.sum()), torch.ones(2)) for _ in range(EAGER + 1)]


def test_functions_are_recorded_on_gpus_for_those_who_ask(monkeypatch):
    there = SimpleNamespace(device=torch.device("cuda:0"))
    assert launcher(there) is at_once
    monkeypatch.setenv("BELLMARK_CUDA_GRAPHS", "1")
    assert isinstance(launcher(there), Recorded) and launcher(generator()) is at_once


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_cannot_be_recorded_is_told():
    with pytest.raises(RuntimeError, match="BELLMARK_CUDA_GRAPHS=0"):
        graphs._record(generator(), lambda: torch.ones(1))
