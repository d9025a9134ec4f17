"""DreamerV3 written straightforwardly in eager PyTorch, and the users' earlier update: the peers to be timed.

The official program needs another framework, so `PlainDreamer` stands for what a good eager port computes: states as
rows, stock operations under automatic differentiation, one step of the recurrent model after the other, one batched
imagination without gradient from all states, heads read one by one, log-softmax against written-out two-hot targets,
the optimiser by foreach. `UsersUpdate` restates what the users' earlier program computed: four independent GRUs, and a
dream of its own for every step of the replayed sequence. Neither is used for learning; sizes are those of size 1m and
d_hidden 64. Source: Hafner et al. 2025 and its repository; the users' protocol.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DETER, UNITS, LATENTS, CLASSES, BLOCKS, BINS = 512, 64, 32, 4, 8, 255
HORIZON, GAMMA, LAMBDA, UNIMIX = 15, 1 - 1 / 333, 0.95, 0.01
LR, B1, B2, EPS, CLIP, LEAST = 4e-5, 0.9, 0.999, 1e-20, 0.3, 1e-3


class Norm(nn.Module):
    """RMSNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> the same."""
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-4) * self.scale


def layers(inputs: int, count: int, outputs: int = 0) -> nn.Sequential:
    """Linear, norm, SiLU `count` times, and a linear one where there are outputs."""
    parts: list[nn.Module] = []
    for i in range(count):
        parts += [nn.Linear(UNITS if i else inputs, UNITS), Norm(UNITS), nn.SiLU()]
    return nn.Sequential(*parts, *([nn.Linear(UNITS, outputs)] if outputs else []))


class Blocks(nn.Module):
    """A block-diagonal linear layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(BLOCKS, inputs, outputs) * inputs**-0.5)
        self.bias = nn.Parameter(torch.zeros(BLOCKS * outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, G, inputs) -> (N, G * outputs)."""
        return torch.einsum("ngi,gio->ngo", x, self.weight).flatten(1) + self.bias


class Cell(nn.Module):
    """The block GRU."""

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.inputs = nn.ModuleList(layers(n, 1) for n in (DETER, LATENTS * CLASSES, actions))
        self.hidden, self.norm = Blocks(DETER // BLOCKS + 3 * UNITS, DETER // BLOCKS), Norm(DETER)
        self.gates = Blocks(DETER // BLOCKS, 3 * DETER // BLOCKS)

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """(N, D), (N, S K), (N, A) -> (N, D)."""
        action = action / action.detach().abs().clamp(min=1)
        seen = torch.cat([part(x) for part, x in zip(self.inputs, (deter, stoch, action), strict=True)], -1)
        own = deter.unflatten(-1, (BLOCKS, -1))
        x = torch.cat([own, seen.unsqueeze(1).expand(-1, BLOCKS, -1)], -1)
        x = F.silu(self.norm(self.hidden(x)))
        gates = self.gates(x.unflatten(-1, (BLOCKS, -1))).unflatten(-1, (BLOCKS, -1)).chunk(3, -1)
        reset, candidate, update = (g.flatten(1) for g in gates)
        update = torch.sigmoid(update - 1)
        return update * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - update) * deter


def mixed(logits: Tensor) -> Tensor:
    """(N, S K) -> log probabilities (N, S, K) with a share of uniform."""
    probs = logits.unflatten(-1, (LATENTS, CLASSES)).softmax(-1)
    return ((1 - UNIMIX) * probs + UNIMIX / CLASSES).log()


def draw(logs: Tensor) -> Tensor:
    """One-hot, straight through, by the Gumbel trick."""
    probs, gumbel = logs.exp(), -torch.empty_like(logs).exponential_().log()
    hot = F.one_hot((logs + gumbel).argmax(-1), logs.shape[-1]).to(probs)
    return hot + probs - probs.detach()


class PlainDreamer:
    """Networks, optimiser and update of DreamerV3, size 1m."""

    def __init__(self, observations: int, actions: int) -> None:
        """Build with PyTorch's default initialisation, which costs the same."""
        stoch = LATENTS * CLASSES
        seen = DETER + stoch
        self.cell = Cell(actions)
        self.encoder = layers(observations, 3)
        self.prior, self.posterior = layers(DETER, 2, stoch), layers(DETER + UNITS, 1, stoch)
        self.decoder, self.reward = layers(seen, 3, observations), layers(seen, 1, BINS)
        self.alive, self.policy, self.value = layers(seen, 1, 1), layers(seen, 3, actions), layers(seen, 3, BINS)
        learned = (self.cell, self.encoder, self.prior, self.posterior, self.decoder, self.reward, self.alive,
                   self.policy, self.value)  # fmt: skip
        self.parameters: list[Tensor] = [p for module in learned for p in module.parameters()]
        self.slow = copy.deepcopy(self.value).requires_grad_(False)
        self.square = [torch.zeros_like(p) for p in self.parameters]
        self.momentum = [torch.zeros_like(p) for p in self.parameters]
        self.count, self.scale = 0, torch.zeros(())
        upper = torch.linspace(-20, 0, BINS // 2 + 1)
        upper = torch.expm1(upper.abs()).neg()
        self.bins = torch.cat([upper, -upper[:-1].flip(0)])

    def mean(self, logits: Tensor) -> Tensor:
        """(..., K) -> (...), in mirrored pairs."""
        probs, half = logits.softmax(-1), BINS // 2
        low, high = probs[..., :half] * self.bins[:half], probs[..., half + 1 :] * self.bins[half + 1 :]
        return (low.flip(-1) + high).sum(-1)

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """(..., K) against (...)."""
        below = (self.bins <= target.unsqueeze(-1)).sum(-1).sub(1).clamp(0, BINS - 2)
        share = (target - self.bins[below]) / (self.bins[below + 1] - self.bins[below])
        hot = F.one_hot(below, BINS) * (1 - share).unsqueeze(-1) + F.one_hot(below + 1, BINS) * share.unsqueeze(-1)
        return -(hot * logits.log_softmax(-1)).sum(-1)

    def observe(self, obs: Tensor, action: Tensor, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(T, B, .) -> recurrent states, latents and their log probabilities."""
        tokens = self.encoder(obs.sign() * obs.abs().log1p())
        deter, stoch = obs.new_zeros(obs.shape[1], DETER), obs.new_zeros(obs.shape[1], LATENTS * CLASSES)
        found = []
        for t in range(len(obs)):
            going = (~first[t]).unsqueeze(-1).to(obs)
            deter = self.cell(deter * going, stoch * going, action[t] * going)
            logs = mixed(self.posterior(torch.cat([deter, tokens[t]], -1)))
            stoch = draw(logs).flatten(1)
            found.append((deter, stoch, logs))
        deters, stochs, logs = (torch.stack(x) for x in zip(*found, strict=True))
        return deters, stochs, logs

    @torch.no_grad()
    def imagine(self, deter: Tensor, stoch: Tensor) -> tuple[Tensor, Tensor]:
        """(N, .) -> features (H + 1, N, F), actions (H, N, A)."""
        seen, actions = [torch.cat([deter, stoch], -1)], []
        for _ in range(HORIZON):
            probs = (1 - UNIMIX) * self.policy(seen[-1]).softmax(-1)
            actions.append(draw((probs + UNIMIX / probs.shape[-1]).log()))
            deter = self.cell(deter, stoch, actions[-1])
            stoch = draw(mixed(self.prior(deter))).flatten(1)
            seen.append(torch.cat([deter, stoch], -1))
        return torch.stack(seen), torch.stack(actions)

    def update(self, obs: Tensor, action: Tensor, reward: Tensor, terminated: Tensor, first: Tensor) -> Tensor:
        """One gradient step: (T, B, O), (T, B, A), then (T, B)."""
        deter, stoch, post = self.observe(obs, action, first)
        seen, prior = torch.cat([deter, stoch], -1), mixed(self.prior(deter))
        dyn = (post.detach().exp() * (post.detach() - prior)).sum((-1, -2)).clamp(min=1).mean()
        rep = (post.exp() * (post - prior.detach())).sum((-1, -2)).clamp(min=1).mean()
        rec = (self.decoder(seen) - obs.sign() * obs.abs().log1p()).square().sum(-1).mean()
        rew = self.cross_entropy(self.reward(seen), reward).mean()
        goes_on = (~terminated).to(obs) * GAMMA
        con = F.binary_cross_entropy_with_logits(self.alive(seen).squeeze(-1), goes_on)
        dreamed, actions = self.imagine(deter.detach().flatten(0, 1), stoch.detach().flatten(0, 1))
        behaviour, target = self.behaviour(dreamed, actions)
        replayed = self.replayed(seen, reward, goes_on, first, target[0].view_as(reward))
        loss = rec + rew + con + dyn + 0.1 * rep + behaviour + 0.3 * replayed
        for p in self.parameters:
            p.grad = None
        loss.backward()
        self.descend()
        with torch.no_grad():
            slow: list[Tensor] = list(self.slow.parameters())
            torch._foreach_lerp_(slow, list(self.value.parameters()), 0.02)
        return loss.detach()

    def behaviour(self, dreamed: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Terms of policy and value, and the returns (H, N)."""
        logits = self.value(dreamed)
        with torch.no_grad():
            reward, alive = self.mean(self.reward(dreamed)), self.alive(dreamed).squeeze(-1).sigmoid()
            value, slow = self.mean(logits), self.mean(self.slow(dreamed))
            target = self.returns(reward, alive, value)
            weight = alive.cumprod(0)[:-1] / GAMMA
            spread = torch.quantile(target, torch.tensor([0.05, 0.95]))
            self.scale.lerp_(spread[1] - spread[0], 0.01)
            advantage = (target - value[:-1]) / self.scale.clamp(min=1)
        probs = (1 - UNIMIX) * self.policy(dreamed[:-1]).softmax(-1)
        logs = (probs + UNIMIX / probs.shape[-1]).log()
        entropy = -(logs.exp() * logs).sum(-1)
        policy = -(weight * ((logs * actions).sum(-1) * advantage + 3e-4 * entropy)).mean()
        learned = self.cross_entropy(logits[:-1], target) + self.cross_entropy(logits[:-1], slow[:-1])
        return policy + (weight * learned).mean(), target

    @staticmethod
    def returns(reward: Tensor, alive: Tensor, value: Tensor) -> Tensor:
        """Lambda returns of (T, ...), one row less."""
        found = [value[-1]]
        for t in reversed(range(1, len(value))):
            found.append(reward[t] + alive[t] * ((1 - LAMBDA) * value[t] + LAMBDA * found[-1]))
        return torch.stack(found[:0:-1])

    def replayed(self, seen: Tensor, reward: Tensor, alive: Tensor, first: Tensor, boot: Tensor) -> Tensor:
        """The value on replayed rewards."""
        logits = self.value(seen[:-1])
        with torch.no_grad():
            target, slow = self.returns(reward, alive, boot), self.mean(self.slow(seen[:-1]))
        learned = self.cross_entropy(logits, target) + self.cross_entropy(logits, slow)
        return ((~first[1:]) * learned).mean()

    @torch.no_grad()
    def descend(self) -> None:
        """AGC and LaProp."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norms, sizes = torch._foreach_norm(gradients), torch._foreach_norm(self.parameters)
        cuts = [(CLIP * size.clamp(min=LEAST) / norm).clamp(max=1) for size, norm in zip(sizes, norms, strict=True)]
        torch._foreach_mul_(gradients, cuts)
        self.count += 1
        torch._foreach_mul_(self.square, B2)
        torch._foreach_addcmul_(self.square, gradients, gradients, 1 - B2)
        root = torch._foreach_div(self.square, 1 - B2**self.count)
        torch._foreach_sqrt_(root)
        torch._foreach_add_(root, EPS)
        torch._foreach_lerp_(self.momentum, torch._foreach_div(gradients, root), 1 - B1)
        torch._foreach_add_(self.parameters, self.momentum, alpha=-LR / (1 - B1**self.count))

    @torch.no_grad()
    def act(self, obs: Tensor, deter: Tensor, stoch: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step in N worlds: state and action."""
        deter = self.cell(deter, stoch, action)
        tokens = self.encoder(obs.sign() * obs.abs().log1p())
        stoch = draw(mixed(self.posterior(torch.cat([deter, tokens], -1)))).flatten(1)
        probs = (1 - UNIMIX) * self.policy(torch.cat([deter, stoch], -1)).softmax(-1)
        return deter, stoch, draw((probs + UNIMIX / probs.shape[-1]).log())


def plain_layers(widths: Sequence[int]) -> nn.Sequential:
    """Linear and ReLU, the last one linear: the users' networks."""
    parts: list[nn.Module] = []
    for a, b in pairwise(widths):
        parts += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


class UsersUpdate:
    """The users' earlier update at d_hidden 64: h of 4 x 64, 64 latents of 4 classes, 11 bins, no norms."""

    WIDTH, LATENTS, CLASSES, BINS, DREAM = 64, 64, 4, 11, 15

    def __init__(self, observations: int, actions: int) -> None:
        """Networks and one Adam; their LaProp costs a little more."""
        d, stoch = self.WIDTH, self.LATENTS * self.CLASSES
        seen = 4 * d + stoch
        self.embed, self.encoder = nn.Linear(stoch, d), plain_layers((observations, d, d, stoch))
        self.grus = nn.ModuleList(nn.GRUCell(d + actions, d) for _ in range(4))
        self.prior, self.decoder = plain_layers((4 * d, d, stoch)), plain_layers((seen, d, d, observations))
        self.reward, self.alive = nn.Linear(seen, self.BINS), nn.Linear(seen, 1)
        self.policy, self.value = plain_layers((seen, d, d, actions)), plain_layers((seen, d, d, self.BINS))
        learned = (self.embed, self.encoder, self.grus, self.prior, self.decoder, self.reward, self.alive,
                   self.policy, self.value)  # fmt: skip
        self.parameters = [p for module in learned for p in module.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=LR)
        steps = torch.arange(-5.0, 6.0)
        self.bins, self.scale = steps.sign() * torch.expm1(steps.abs()), torch.zeros(())

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (N, S K), straight through, and log probabilities (N, S, K)."""
        probs = 0.99 * logits.unflatten(-1, (self.LATENTS, self.CLASSES)).softmax(-1) + 0.01 / self.CLASSES
        hot = torch.distributions.OneHotCategorical(probs=probs).sample()
        return (hot + probs - probs.detach()).flatten(1), probs.log()

    def step(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """(N, 4 d)."""
        x = torch.cat([self.embed(stoch), action], -1)
        return torch.cat([gru(x, h) for gru, h in zip(self.grus, deter.chunk(4, -1), strict=True)], -1)

    def two_hot(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross entropy."""
        below = (self.bins <= target.unsqueeze(-1)).sum(-1).sub(1).clamp(0, self.BINS - 2)
        share = ((target - self.bins[below]) / (self.bins[below + 1] - self.bins[below])).clamp(0, 1).unsqueeze(-1)
        hot = F.one_hot(below, self.BINS) * (1 - share) + F.one_hot(below + 1, self.BINS) * share
        return -(hot * logits.log_softmax(-1)).sum(-1)

    def update(self, obs: Tensor, action: Tensor, reward: Tensor, terminated: Tensor) -> Tensor:
        """One gradient step: (T, B, O), (T, B, A), then (T, B)."""
        deter, loss = obs.new_zeros(obs.shape[1], 4 * self.WIDTH), obs.new_zeros(())
        for t in range(len(obs)):
            stoch, post = self.draw(self.encoder(obs[t]))
            deter = self.step(deter.detach(), stoch, action[t])
            _, prior = self.draw(self.prior(deter))
            seen = torch.cat([deter, stoch], -1)
            kl = (post.detach().exp() * (post.detach() - prior)).sum(-1).mean()
            kl = kl + 0.1 * (post.exp() * (post - prior.detach())).sum(-1).mean()
            going = F.binary_cross_entropy_with_logits(self.alive(seen).squeeze(-1), (~terminated[t]).to(obs))
            model = F.mse_loss(self.decoder(seen), obs[t]) + self.two_hot(self.reward(seen), reward[t]).mean() + going
            loss = loss + model + kl + self.dream(deter.detach(), stoch.detach())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def dream(self, deter: Tensor, stoch: Tensor) -> Tensor:
        """Policy and value from the states of one step alone."""
        rows = []
        for _ in range(self.DREAM):
            seen = torch.cat([deter, stoch], -1)
            chosen = torch.distributions.OneHotCategorical(logits=self.policy(seen))
            action, logits = chosen.sample(), self.value(seen)
            with torch.no_grad():
                reward, alive = self.reward(seen).softmax(-1) @ self.bins, self.alive(seen).squeeze(-1).sigmoid()
                deter = self.step(deter, stoch, action)
                stoch, _ = self.draw(self.prior(deter))
            rows.append((chosen.log_prob(action), chosen.entropy(), logits, reward, alive))
        log_prob, entropy, logits, reward, alive = (torch.stack(x) for x in zip(*rows, strict=True))
        with torch.no_grad():
            value = logits.softmax(-1) @ self.bins
            target = PlainDreamer.returns(reward, alive * 0.997, value)
            spread = torch.quantile(target, torch.tensor([0.05, 0.95]))
            self.scale.lerp_(spread[1] - spread[0], 0.01)
            advantage = (target - value[:-1]) / self.scale.clamp(min=1)
        actor = -(log_prob[:-1] * advantage).mean() - 3e-4 * entropy.mean()
        return actor + self.two_hot(logits[:-1], target).mean()
