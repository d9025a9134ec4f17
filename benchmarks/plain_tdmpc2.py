"""TD-MPC2 written straightforwardly, operation for operation as the official code computes it: the peer to be timed.

The official program cannot be installed beside the benchmark, so this stands for it: stock Mish, softmax SimNorm over
groups of eight neighbours, an ensemble by `torch.vmap` of which every member is computed and two are read, the policy's
plans scored again in each iteration, losses step by step, Adam with global clipping. Source: Hansen et al. 2024
and its repository. It is not used for learning.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from bellmark.agents.tdmpc.model import Sizes

BINS, LOW, HIGH = 101, -10.0, 10.0
HORIZON, SAMPLES, PLANS, ELITES, ITERATIONS = 3, 512, 24, 64, 6
TEMPERATURE, MIN_STD, MAX_STD = 0.5, 0.05, 2.0
GAMMA, RHO, RATE, ENTROPY = 0.99, 0.5, 0.01, 1e-4


class SimNorm(nn.Module):
    """Softmax over groups of eight."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., L) -> (..., L)."""
        shape = x.shape
        return F.softmax(x.view(*shape[:-1], -1, 8), dim=-1).view(*shape)


class Normed(nn.Linear):
    """Linear, dropout, LayerNorm, activation."""

    def __init__(self, inputs: int, outputs: int, dropout: float = 0.0, act: nn.Module | None = None) -> None:
        super().__init__(inputs, outputs)
        self.norm, self.act = nn.LayerNorm(outputs), act or nn.Mish()
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        x = super().forward(x)
        if self.dropout:
            x = self.dropout(x)
        return self.act(self.norm(x))


def mlp(
    inputs: int, hidden: Sequence[int], outputs: int, act: nn.Module | None = None, dropout: float = 0.0
) -> nn.Sequential:
    """Normed layers and a linear (or, with `act`, a normed) one."""
    widths = [inputs, *hidden]
    layers: list[nn.Module] = [
        Normed(a, b, dropout * (i == 0)) for i, (a, b) in enumerate(zip(widths, hidden, strict=False))
    ]
    last = Normed(widths[-1], outputs, act=act) if act else nn.Linear(widths[-1], outputs)
    return nn.Sequential(*layers, last)


class Values(nn.Module):
    """An ensemble evaluated by vmap over stacked parameters."""

    def __init__(self, members: list[nn.Sequential]) -> None:
        super().__init__()
        self.base = [copy.deepcopy(members[0]).to("meta")]  # in a list: its parameters are not this module's
        stacked, _ = stack_module_state(list(members))
        self.names = list(stacked)
        self.stacked = nn.ParameterList([nn.Parameter(p.detach()) for p in stacked.values()])

    def forward(self, x: Tensor) -> Tensor:
        """(..., L + A) -> (M, ..., K)."""
        base = self.base[0].train(self.training)
        return torch.vmap(lambda parameters: functional_call(base, parameters, (x,)), randomness="different")(
            dict(zip(self.names, self.stacked, strict=True))
        )


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(1 + |x|)."""
    return torch.sign(x) * torch.log(1 + torch.abs(x))


def read(logits: Tensor) -> Tensor:
    """(..., K) -> (..., 1)."""
    bins = torch.linspace(LOW, HIGH, BINS)
    x = torch.sum(F.softmax(logits, dim=-1) * bins, dim=-1, keepdim=True)
    return torch.sign(x) * (torch.exp(torch.abs(x)) - 1)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """(B, K) against (B, 1) -> (B, 1)."""
    width = (HIGH - LOW) / (BINS - 1)
    position = (symlog(target).clamp(LOW, HIGH).squeeze(1) - LOW) / width
    index = torch.floor(position).long()
    offset = (position - index).unsqueeze(-1)
    weights = torch.zeros(len(target), BINS)
    weights.scatter_(1, index.unsqueeze(1), 1 - offset)
    weights.scatter_(1, (index.unsqueeze(1) + 1) % BINS, offset)
    return -(weights * F.log_softmax(logits, dim=-1)).sum(-1, keepdim=True)


class PlainTdmpc2:
    """Networks, optimisers, planner and update."""

    def __init__(self, observations: int, actions: int, sizes: Sizes) -> None:
        """Build with PyTorch's default initialisation, which costs the same."""
        s, hidden = sizes, [sizes.width, sizes.width]
        self.actions = actions
        self.encoder = mlp(observations, [s.encoder_width] * max(s.encoder_layers - 1, 1), s.latent, SimNorm())
        self.dynamics = mlp(s.latent + actions, hidden, s.latent, SimNorm())
        self.reward = mlp(s.latent + actions, hidden, BINS)
        self.pi = mlp(s.latent, hidden, 2 * actions)
        self.values = Values([mlp(s.latent + actions, hidden, BINS, dropout=0.01) for _ in range(s.values)])
        self.slow_values = copy.deepcopy(self.values).requires_grad_(False).eval()
        parts = (self.encoder, self.dynamics, self.reward, self.values)
        self.model = nn.ModuleList(parts)
        rates = [{"params": part.parameters(), "lr": 3e-4} for part in parts]
        rates[0]["lr"] = 9e-5
        self.optimizer = torch.optim.Adam(rates, lr=3e-4)
        self.pi_optimizer = torch.optim.Adam(self.pi.parameters(), lr=3e-4, eps=1e-5)
        self.scale = torch.ones(1)
        self.mean = torch.zeros(HORIZON, actions)

    def next(self, z: Tensor, a: Tensor) -> Tensor:
        """(B, L), (B, A) -> (B, L)."""
        return self.dynamics(torch.cat([z, a], dim=-1))

    def act_at(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sampled actions, their noise and log deviations."""
        mean, log_std = self.pi(z).chunk(2, dim=-1)
        log_std = -10 + 0.5 * 12 * (torch.tanh(log_std) + 1)
        noise = torch.randn_like(mean)
        return torch.tanh(mean + noise * log_std.exp()), noise, log_std

    def two_values(self, z: Tensor, a: Tensor, values: Values) -> tuple[Tensor, Tensor]:
        """Two of the members, all of them computed."""
        out = values(torch.cat([z, a], dim=-1))
        pair = read(out[torch.randperm(len(out))[:2]])
        return pair[0], pair[1]

    @torch.no_grad()
    def score(self, z: Tensor, actions: Tensor) -> Tensor:
        """(S, L), (T, S, A) -> (S, 1)."""
        total, discount = torch.zeros(len(z), 1), 1.0
        for a in actions:
            total = total + discount * read(self.reward(torch.cat([z, a], dim=-1)))
            z = self.next(z, a)
            discount *= GAMMA
        action = self.act_at(z)[0]
        return total + discount * sum(self.two_values(z, action, self.values)) / 2

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        """(1, O) -> (A,)."""
        self.model.eval()
        first = self.encoder(obs)
        plans = torch.empty(HORIZON, PLANS, self.actions)
        z = first.repeat(PLANS, 1)
        for t in range(HORIZON):
            plans[t] = self.act_at(z)[0]
            if t < HORIZON - 1:
                z = self.next(z, plans[t])
        z = first.repeat(SAMPLES, 1)
        mean, std = torch.zeros_like(self.mean), torch.full_like(self.mean, MAX_STD)
        mean[:-1] = self.mean[1:]
        actions = torch.empty(HORIZON, SAMPLES, self.actions)
        actions[:, :PLANS] = plans
        for _ in range(ITERATIONS):
            noise = torch.randn(HORIZON, SAMPLES - PLANS, self.actions)
            actions[:, PLANS:] = (mean.unsqueeze(1) + std.unsqueeze(1) * noise).clamp(-1, 1)
            value = self.score(z, actions).nan_to_num(0)
            index = torch.topk(value.squeeze(1), ELITES, dim=0).indices
            elite_value, elite = value[index], actions[:, index]
            weight = torch.exp(TEMPERATURE * (elite_value - elite_value.max(0).values))
            weight = weight / weight.sum(0)
            mean = (weight.unsqueeze(0) * elite).sum(1) / (weight.sum(0) + 1e-9)
            std = ((weight.unsqueeze(0) * (elite - mean.unsqueeze(1)) ** 2).sum(1) / (weight.sum(0) + 1e-9)).sqrt()
            std = std.clamp(MIN_STD, MAX_STD)
        gumbel = -torch.empty(ELITES).exponential_().log()
        chosen = elite[:, (weight.squeeze(1).log() + gumbel).argmax()]
        self.mean.copy_(mean)
        return (chosen[0] + std[0] * torch.randn(self.actions)).clamp(-1, 1)

    def update(self, obs: Tensor, action: Tensor, reward: Tensor) -> float:
        """One gradient step of model and policy: (T + 1, B, O), (T, B, A), (T, B, 1)."""
        with torch.no_grad():
            self.model.eval()
            next_z = self.encoder(obs[1:])
            following = self.act_at(next_z)[0]
            targets = reward + GAMMA * torch.minimum(*self.two_values(next_z, following, self.slow_values))
        self.model.train()
        z = self.encoder(obs[0])
        zs = [z]
        consistency, rewards, values = torch.zeros(()), torch.zeros(()), torch.zeros(())
        for t in range(HORIZON):
            z = self.next(z, action[t])
            consistency = consistency + F.mse_loss(z, next_z[t]) * RHO**t
            zs.append(z)
        latents = torch.stack(zs)
        known = torch.cat([latents[:-1], action], dim=-1)
        q, r = self.values(known), self.reward(known)
        for t in range(HORIZON):
            rewards = rewards + soft_cross_entropy(r[t], reward[t]).mean() * RHO**t
            for member in q:
                values = values + soft_cross_entropy(member[t], targets[t]).mean() * RHO**t
        loss = (20 * consistency + 0.1 * rewards + 0.1 * values / len(q)) / HORIZON
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 20)
        self.optimizer.step()
        self._update_policy(latents.detach())
        with torch.no_grad():
            for slow, fast in zip(self.slow_values.parameters(), self.values.parameters(), strict=True):
                slow.lerp_(fast, RATE)
        return float(loss.detach())

    def _update_policy(self, z: Tensor) -> None:
        action, noise, log_std = self.act_at(z)
        one, other = self.two_values(z, action, self.values)
        q = (one + other) / 2
        span = torch.quantile(q[0].detach().flatten(), torch.tensor([0.05, 0.95]))
        self.scale.lerp_((span[1] - span[0]).clamp(min=1), RATE)
        log_prob = (-0.5 * noise**2 - log_std - 0.9189385).sum(-1, keepdim=True)
        rho = RHO ** torch.arange(len(z))
        loss = (-(q / self.scale - ENTROPY * self.actions * log_prob).mean(dim=(1, 2)) * rho).mean()
        self.pi_optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=list(self.pi.parameters()))
        nn.utils.clip_grad_norm_(self.pi.parameters(), 20)
        self.pi_optimizer.step()
