"""Ensembles against plain layers, both ways of evaluating them, shared inputs, chosen members, random priors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bellmark.nets import fused_reduced
from bellmark.nets.ensemble import Ensemble, RandomPrior
from bellmark.nets.fused_reduced import weights_kept
from bellmark.ops.products import INSTRUCTIONS, available, precision


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scrambled(module: nn.Module, seed: int = 1) -> nn.Module:
    """Every parameter random, so that no scale, shift or bias passes unnoticed."""
    g = generator(seed)
    for p in module.parameters():
        p.data = torch.randn(p.shape, generator=g) / 3
    return module.double()


def ensemble(members: int = 3, **options) -> Ensemble:
    return scrambled(Ensemble(members, (8, 2), (16, 12), 5, generator(), **options))


def by_hand(net: Ensemble, e: int, x: torch.Tensor, *, normed_output: bool = False) -> torch.Tensor:
    """Member e in stock operations."""
    for depth, stack in enumerate(net.stacks):
        x = x @ stack.weight[e] + stack.bias[e]
        last = depth == len(net.stacks) - 1
        if not last or normed_output:
            x = F.layer_norm(x, x.shape[-1:], stack.scale[e], stack.shift[e])
        if not last:
            x = F.mish(x)
    return x


def parts(*lead: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = generator(2)
    return torch.randn(*lead, 8, generator=g).double(), torch.randn(*lead, 2, generator=g).double()


@pytest.mark.parametrize("normed_output", [False, True])
def test_members_are_perceptrons(normed_output):
    net = ensemble(normed_output=normed_output)
    z, a = parts(4, 7)
    expected = torch.stack([by_hand(net, e, torch.cat((z, a), -1), normed_output=normed_output) for e in range(3)])
    torch.testing.assert_close(net(z, a), expected)


LEADS = [
    ((1,), (7,)),
    ((4, 1), (4, 7)),
    ((3, 4, 7), (4, 7)),
    ((1, 4, 7), (4, 7)),
    ((4, 1), (1, 7)),
    ((4, 7), (2, 4, 7)),
]


@pytest.mark.parametrize("name", ["half", "bfloat16"])
@pytest.mark.parametrize("normed_output", [False, True])
@pytest.mark.parametrize(("z_lead", "a_lead"), [((3, 101), (3, 101)), ((3, 1), (3, 101)), *LEADS])
def test_members_of_sixteen_bits_are_perceptrons(name, normed_output, z_lead, a_lead):
    """Two portions and rests of rows, widths that fill their panels and others; parts shared in every way."""
    if not available(name):
        pytest.skip(f"needs a processor with {INSTRUCTIONS[name]}")
    g = generator(2)
    net = Ensemble(2, (70, 6), (200, 130), 13, generator(), normed_output=normed_output)
    for p in net.parameters():
        p.data += torch.randn(p.shape, generator=g) / 20
    z, a = torch.randn(*z_lead, 70, generator=g), torch.randn(*a_lead, 6, generator=g)
    with torch.no_grad(), precision(name):
        found = net(z, a, chosen=torch.tensor([1]))
    shape = torch.broadcast_shapes(z_lead, a_lead)
    x = torch.cat((z.expand(*shape, 70), a.expand(*shape, 6)), -1).double()
    expected = by_hand(net.double(), 1, x, normed_output=normed_output).unsqueeze(0)
    assert not torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=0.03 * expected.std().item())


@pytest.mark.parametrize("name", ["half", "bfloat16"])
def test_weights_are_packed_once_where_they_are_said_not_to_change(name, monkeypatch):
    if not available(name):
        pytest.skip(f"needs a processor with {INSTRUCTIONS[name]}")
    packed, call = [], fused_reduced.call
    monkeypatch.setattr(fused_reduced, "call", lambda *args: (packed.append(args[0].endswith("_pack")), call(*args)))
    net, z = Ensemble(2, (70,), (130,), 65, generator()), torch.randn(100, 70, generator=generator(2))
    with torch.no_grad(), precision(name):
        expected = net(z)
        assert sum(packed) == 2  # members
        with weights_kept():
            assert all(torch.equal(net(z), expected) for _ in range(3))
            assert sum(packed) == 4
        for weight in net.parameters():
            weight.mul_(2)
        assert not torch.equal(net(z), expected)


WAYS = pytest.mark.parametrize("way", ["_one_by_one", "_together"])


@WAYS
def test_own_inputs(way):
    net = ensemble()
    z, a = parts(3, 4, 7)
    expected = torch.stack([by_hand(net, e, torch.cat((z[e], a[e]), -1)) for e in range(3)])
    torch.testing.assert_close(getattr(net, way)((z, a), True, None, None), expected)


@WAYS
@pytest.mark.parametrize(("z_lead", "a_lead"), LEADS)
def test_shared_parts_are_broadcast(way, z_lead, a_lead):
    net = ensemble()
    z, a = parts(*z_lead)[0], parts(*a_lead)[1]
    shape = torch.broadcast_shapes(z_lead, a_lead)
    whole = torch.cat((z.expand(*shape, 8), a.expand(*shape, 2)), -1)
    expected = torch.stack([by_hand(net, e, whole) for e in range(3)])
    torch.testing.assert_close(getattr(net, way)((z, a), False, None, None), expected)


@WAYS
def test_only_the_chosen_are_evaluated(way):
    net = ensemble()
    chosen = torch.tensor([2, 0])
    everyone = net(*parts(7))
    torch.testing.assert_close(getattr(net, way)(parts(7), False, chosen, None), everyone[chosen])
    z, a = parts(2, 7)
    expected = torch.stack([by_hand(net, e, torch.cat((z[i], a[i]), -1)) for i, e in enumerate((2, 0))])
    torch.testing.assert_close(getattr(net, way)((z, a), True, chosen, None), expected)


def test_gradients_are_the_same_both_ways():
    net, (z, a) = ensemble(), parts(7)
    z.requires_grad_()
    gradients = []
    for way in (net._one_by_one, net._together):
        loss = way((z, a), False, None, None).square().mean()
        gradients.append(torch.autograd.grad(loss, [z, *net.parameters()]))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@WAYS
def test_dropout_falls_on_the_first_layer_only_where_a_generator_comes(way):
    net, (z, a) = ensemble(dropout=0.5), parts(200)
    run = getattr(net, way)
    plain = run((z, a), False, None, None)
    dropped = run((z, a), False, None, generator(3))
    again = run((z, a), False, None, generator(3))
    assert torch.equal(dropped, again) and not torch.allclose(plain, dropped)
    assert torch.equal(net(z, a), net.eval()(z, a))  # no hidden mode


def test_portions_without_gradient_change_nothing(monkeypatch):
    net, inputs = ensemble(), parts(50)
    whole = net(*inputs)
    monkeypatch.setattr("bellmark.nets.ensemble.CACHED", 16 * 7)
    with torch.no_grad():
        torch.testing.assert_close(net(*inputs), whole.detach())


@pytest.mark.parametrize("way", ["_hit", "_spared"])
class TestDropout:
    """Both ways to drop."""

    def test_it_has_its_gradient(self, way):
        net, x = ensemble(dropout=0.5), torch.ones(40, 16).double().requires_grad_()
        out = getattr(net, way)(x, generator())
        out.sum().backward()
        torch.testing.assert_close(x.grad, out.detach())  # 0 where dropped, else 1 / (1 - p)

    def test_each_is_dropped_with_its_probability(self, way):
        # 0.01 of two million: 20,000, standard deviation 141.
        net = ensemble(dropout=0.01)
        dropped = (getattr(net, way)(torch.ones(2000, 1000), generator()) == 0).sum()
        assert abs(int(dropped) - 20_000) < 600

    def test_the_mean_stays(self, way):
        net = ensemble(dropout=0.25)
        ones = torch.ones(1000, 16).double()
        kept = getattr(net, way)(ones, generator())
        assert set(kept.unique().tolist()) == {0.0, 1 / 0.75}
        assert abs(float(kept.mean()) - 1) < 0.02


def test_published_initialisation():
    net = Ensemble(2, (300,), (300,), 300, generator(), zero_output=True)
    first, last = net.stacks
    assert abs(float(first.weight.detach().std()) - 0.02) < 1e-3 and first.bias.abs().max() == 0
    assert first.scale.unique().tolist() == [1.0] and first.shift.abs().max() == 0
    assert last.weight.abs().max() == 0 and net(torch.randn(4, 300)).abs().max() == 0
    assert not torch.equal(first.weight[0], first.weight[1])


def test_priors_are_random_and_fixed_and_differ_between_members():
    prior = RandomPrior(3, (8, 2), (160, 64), 5, generator()).double()
    assert [tuple(b.shape) for b in prior.buffers()] == [(3, 10, 10), (3, 10, 8), (3, 8, 5)]  # a sixteenth, at least 8
    assert not list(prior.parameters()) and set(prior.state_dict()) == {"weight0", "weight1", "weight2"}
    z, a = parts(7)
    z.requires_grad_()
    out = prior(z, a)
    assert not out.requires_grad and not torch.allclose(out[0], out[1])
    x = torch.cat((z, a), -1).detach()
    for e in range(3):
        h = (x @ prior.weight0[e]).relu()
        torch.testing.assert_close(out[e], (h @ prior.weight1[e]).relu() @ prior.weight2[e])


def test_prior_weights_are_xavier():
    # Uniform in +-sqrt(6 / (a + b)): variance 2 / (a + b).
    prior = RandomPrior(8, (200,), (3200,), 200, generator())
    assert abs(float(prior.weight0.var()) - 2 / 400) < 2e-4


def test_priors_take_inputs_as_ensembles_do():
    prior = RandomPrior(3, (8, 2), (16,), 5, generator()).double()
    z, a = parts(4, 1)[0], parts(4, 7)[1]
    torch.testing.assert_close(prior(z, a), prior(z.expand(4, 7, 8), a))
    z, a = parts(3, 7)
    torch.testing.assert_close(prior(z, a, own=True)[1], prior(z[1], a[1])[1])
    torch.testing.assert_close(prior(z[0], a[0], chosen=torch.tensor([2]))[0], prior(z[0], a[0])[2])
