"""LaProp's first steps by hand; clipping; parts that rest."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bellmark.nets.optim import LaProp, Part, agc, by_part, unclipped


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def laprop(*parts: Part, clip: object = unclipped) -> LaProp:
    return LaProp(parts, beta1=0.9, beta2=0.99, eps=1e-20, clip=clip)  # type: ignore[arg-type]


def test_first_steps_by_hand() -> None:
    """Bug 9 of the users' log: no bias correction makes the first step 3.16 times too large (0.1 / sqrt 0.001)."""
    p = parameter(1.0)
    made = laprop(Part("model", [p], 0.1))
    made.step((3 * p).sum(), {"model": 1.0})
    # v = 0.01 * 9, corrected 9; u = 3 / 3 = 1; m = 0.1, corrected 1: a step of the learning rate
    assert p.item() == pytest.approx(0.9)
    made.step((-1 * p).sum(), {"model": 1.0})
    # v = 0.99 * 0.09 + 0.01 = 0.0991, corrected by 1 - 0.99^2 = 0.0199: 4.97990; u = -1 / 2.23157 = -0.448115
    # m = 0.9 * 0.1 + 0.1 * -0.448115 = 0.0451885, corrected by 1 - 0.9^2 = 0.19: 0.237834
    assert p.item() == pytest.approx(0.9 - 0.1 * 0.237834, abs=1e-6)


def test_squares_are_averaged_not_kept_at_their_largest() -> None:
    """Bug 9 again: v <- max(b2 v, g^2). After a spike, steps grow back as the average forgets it."""
    p = parameter(0.0)
    made = laprop(Part("model", [p], 1.0))
    for gradient in (100.0, *[1.0] * 30):
        made.step((gradient * p).sum(), {"model": 1.0})
    former = p.item()
    made.step(p.sum(), {"model": 1.0})
    # v = 0.99^31 * 0.01 * 10^4 + ... about 73.5, corrected by 1 - 0.99^32 = 0.275; 1 / sqrt(267) = 0.06
    assert former - p.item() == pytest.approx(0.06, abs=0.02)


def test_adaptive_clipping_by_hand() -> None:
    big, small = parameter(3.0, 4.0), parameter(0.0)
    gradients = [[torch.tensor([30.0, 40.0])], [torch.tensor([1.0])]]
    cut = agc(0.3, 1e-3)([[big], [small]], gradients)
    assert cut.tolist() == [1, 1]
    # norm 5: at most 1.5, so 50 is cut to 3 %; a norm of zero counts as 0.001: at most 0.0003
    assert gradients[0][0].tolist() == pytest.approx([0.9, 1.2])
    assert gradients[1][0].tolist() == pytest.approx([0.0003])
    untouched = [[torch.tensor([0.1, 0.2])], [torch.zeros(1)]]
    cut = agc(0.3, 1e-3)([[big], [small]], untouched)
    assert cut.tolist() == [0, 0]
    assert agc(0.3, 1e-3)([[big, small]], [[torch.tensor([30.0, 40.0]), torch.zeros(1)]]).tolist() == [0.5]
    assert untouched[0][0].tolist() == pytest.approx([0.1, 0.2])
    assert untouched[1][0].tolist() == [0.0]


def test_norms_are_cut_part_by_part() -> None:
    gradients = [[torch.tensor([3.0]), torch.tensor([4.0])], [torch.tensor([0.5])]]
    assert by_part(1.0)([[], []], gradients).tolist() == [1, 0]
    assert [g.item() for part in gradients for g in part] == pytest.approx([0.6, 0.8, 0.5])


def test_a_part_that_is_not_named_rests_whole() -> None:
    p, q = parameter(1.0), parameter(1.0)
    made = laprop(Part("model", [p], 0.1), Part("policy", [q], 0.1))
    made.step((p + q).sum(), {"model": 1.0})
    assert (p.item(), q.item()) == (pytest.approx(0.9), 1.0)
    assert made.state_dict()["steps"] == {"model": 1, "policy": 0}
    assert float(made.state_dict()["moments"]["policy"][0][0]) == 0.0


def test_sizes_of_parameters_and_of_their_last_step() -> None:
    p, q = parameter(3.0, -4.0), parameter(1.0)
    parts = Part("model", [p], 0.1), Part("policy", [q], 0.1)
    made = laprop(*parts)
    for count in range(4):
        before = p.detach().clone()
        made.step((p**2).sum(), {"model": 0.5 + count})
    moved, size = float((p.detach() - before).norm()), float(p.detach().norm())
    told = {name: float(value) for name, value in made.measure().items()}
    assert told == pytest.approx({"param_norm/model": size, "param_norm/policy": 1, "update_ratio/model": moved / size})
    again = laprop(*parts)
    again.load_state_dict(made.state_dict())
    assert {name: float(value) for name, value in again.measure().items()} == told


def test_state_goes_on() -> None:
    runs = []
    for stop in (True, False):
        p = parameter(1.0, -2.0)
        made = laprop(Part("model", [p], 0.1), clip=agc(0.3, 1e-3))
        for count in range(6):
            if stop and count == 3:
                fresh = laprop(Part("model", [p], 0.1), clip=agc(0.3, 1e-3))
                fresh.load_state_dict(made.state_dict())
                made = fresh
            made.step((p**2).sum(), {"model": 0.5 + count})
        runs.append(p.tolist())
    assert runs[0] == runs[1]
