"""The world model: published sizes, what every part gives, priors, and how a policy's output is read."""

from __future__ import annotations

import pytest
import torch

from bellmark.agents.tdmpc.model import ActionValue, Clipped, Dynamics, Model, Reward, StateValue, Tanh
from bellmark.agents.tdmpc.world import World
from bellmark.config import build
from bellmark.errors import UserError
from bellmark.ops.two_hot import encode


def world(observations: int = 5, actions: int = 2, seed: int = 0, **config) -> World:
    return World(observations, actions, Model(**{"size": 1, **config}), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("size", "count"), [(1, 1_214_651), (5, 4_960_618), (19, 18_062_442)])
def test_published_parameter_counts(size, count):
    # Walker: 24 observations, 6 actions; 1 M and 5 M are the published numbers, 19 M those of the table's row.
    assert sum(p.numel() for p in world(24, 6, size=size).parameters()) == count


def test_priors_are_no_parameters():
    plain = world(24, 6)
    extra = world(24, 6, reward=Reward(prior_scale=0.1), critic=ActionValue(prior_scale=0.1))
    assert sum(p.numel() for p in extra.parameters()) == sum(p.numel() for p in plain.parameters())
    assert len(extra.state_dict()) == len(plain.state_dict()) + 2 * 3  # three layers each, kept with the model


def test_shapes_and_simplices():
    net = world(dynamics=Dynamics(heads=3), reward=Reward(heads=2), critic=StateValue(heads=4))
    z = net.encode(torch.randn(7, 6, 5))
    a = torch.rand(7, 6, 2)
    ahead = net.next(z, a)
    assert ahead.shape == (3, 7, 6, 128) and net.next(ahead, a, own=True).shape == (3, 7, 6, 128)
    for latent in (z, ahead):
        torch.testing.assert_close(latent.unflatten(-1, (8, 16)).sum(-2), torch.ones(*latent.shape[:-1], 16))
    assert net.reward(ahead, a).shape == (2, 3, 7, 6) and net.critic(ahead, a).shape == (4, 3, 7, 6)
    assert net.critic.logits(z, chosen=torch.tensor([1, 3])).shape == (2, 7, 6, 101)
    gaussian = net.policy(z)
    assert gaussian.mean.shape == gaussian.log_std.shape == (7, 6, 2)


def test_heads_go_on_from_their_own_latents():
    net = world(dynamics=Dynamics(heads=2))
    z, a, b = net.encode(torch.randn(4, 5)), torch.rand(4, 2), torch.rand(2, 4, 2)
    ahead = net.next(z, a)
    for h in range(2):
        torch.testing.assert_close(net.next(ahead, a, own=True)[h], net.next(ahead[h], a)[h])
        torch.testing.assert_close(net.next(ahead, b, own=True)[h], net.next(ahead[h], b[h])[h])  # own actions too


def test_rewards_and_values_begin_at_zero_and_heads_apart():
    net = world(dynamics=Dynamics(heads=2), critic=ActionValue(heads=3))
    z, a = net.encode(torch.randn(4, 5)), torch.rand(4, 2)
    assert net.reward(z, a).abs().max() < 1e-6 and net.critic(z, a).abs().max() < 1e-6
    assert not torch.allclose(net.next(z, a)[0], net.next(z, a)[1])


def test_scalar_priors_are_two_hots_of_random_numbers():
    net = world(reward=Reward(heads=3, prior_scale=50.0, prior_logit=2.0))
    z, a = net.encode(torch.randn(4, 5)), torch.rand(4, 2)
    number = 50 * net.reward.prior.network(z, a).squeeze(-1)
    torch.testing.assert_close(net.reward.logits(z, a), 2 * encode(net.reward.bins, number))  # learned logits are 0
    assert net.reward(z, a).std(0).min() > 0  # heads disagree before any data


@pytest.mark.parametrize("norm", [True, False])
def test_latent_priors_are_added_before_simnorm(norm):
    net = world(dynamics=Dynamics(heads=2, norm=norm, prior_scale=0.5))
    z, a = net.encode(torch.randn(4, 5)), torch.rand(4, 2)
    logits = net.dynamics.heads(z, a) + 0.5 * net.dynamics.prior.network(z, a)
    torch.testing.assert_close(net.next(z, a), logits.unflatten(-1, (8, 16)).softmax(-2).flatten(-2))
    if norm:  # normed over features before the prior comes in
        torch.testing.assert_close(net.dynamics.heads(z, a).mean(-1), torch.zeros(2, 4), rtol=0, atol=1e-5)


def test_values_of_states_ignore_actions():
    net = world(critic=StateValue(heads=2))
    z = net.encode(torch.randn(4, 5))
    torch.testing.assert_close(net.critic.logits(z, torch.rand(4, 2)), net.critic.logits(z))


def test_ends_are_hard_and_absent_where_the_task_has_none():
    net, z = world(episodic=True), torch.rand(6, 128)
    goes_on = net.termination(z)
    assert torch.equal(goes_on, (net.termination.logit(z).sigmoid() <= 0.5).float())
    assert world().termination(z).tolist() == [1.0] * 6
    assert not list(world().termination.parameters())


def test_tanh_policy_golden():
    # Raw (0, 0): mean 0, log std the middle of (-10, 2), which is -4; the sample is tanh(e^-4 noise).
    option = Tanh()
    gaussian = option.read(torch.zeros(1, 2))
    assert (float(gaussian.mean), float(gaussian.log_std)) == (0.0, -4.0)
    noise = torch.tensor([[2.0]])
    torch.testing.assert_close(option.sample(gaussian, noise), torch.tanh(2 * torch.exp(torch.tensor([[-4.0]]))))
    assert float(option.mode(option.read(torch.tensor([[1.0, 0.0]])))) == pytest.approx(0.76159416)  # tanh 1


def test_clipped_policy_golden():
    # Raw (1, 0): mean tanh 1, log std the middle of (-3, 1), which is -1; of (-2, 1) where it seeds a replan: -0.5.
    option, raw = Clipped(), torch.tensor([[1.0, 0.0]])
    gaussian = option.read(raw)
    assert float(gaussian.mean) == pytest.approx(0.76159416) and float(gaussian.log_std) == -1.0
    wider = option.read_for_reanalysis(raw)
    assert float(wider.log_std) == -0.5 and torch.equal(wider.mean, gaussian.mean)
    assert float(option.sample(gaussian, torch.tensor([[9.0]]))) == 1.0
    torch.testing.assert_close(option.sample(gaussian, torch.zeros(1, 1)), option.mode(gaussian))


def test_same_seed_same_world():
    one, same, other = (world(seed=seed).encoder.layers[0].weight for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_an_unknown_size_is_the_users_error():
    with pytest.raises(UserError, match=r"size=2"):
        build(Model, {"size": 2})
