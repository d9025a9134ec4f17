"""The recurrent state-space model of DreamerV3 (Hafner et al. 2025): a gated cell, categorical latents before and after.

`step` moves the recurrent state by the latents *drawn at* the former observation and the action *taken at* it; the prior
reads that state alone, the posterior sees the new observation too. So the prior predicts, and depends on the action.

Axes: T steps, B slices, D recurrent state, G blocks, U units, S latents, K classes, A action.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bellmark.nets.rms import ACTIVATIONS, BlockDense, Dense, Layer, initial, mlp, norm_of
from bellmark.ops.categorical import draw, mixed, mode, straight_through

UPDATE_BIAS = -1.0  # of the update gate, so that a new cell remembers


class States(NamedTuple):
    """What a sequence of observations leads to; every tensor is (T, B, ...)."""

    deter_TBD: Tensor
    stoch_TBSK: Tensor  # one-hot, with the gradient of the probabilities
    probs_TBSK: Tensor  # the posterior


class BlockCell(nn.Module):
    """A GRU whose hidden layer and gates are block-diagonal; inputs are projected and handed to every block."""

    def __init__(
        self, deter: int, stoch: int, actions: int, units: int, blocks: int, generator: torch.Generator,
        *, norm: str, activation: str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.blocks = blocks
        self.own = deter // blocks
        layers = {"norm": norm, "activation": activation}
        self.from_deter = Layer(deter, units, generator, **layers)
        self.from_stoch = Layer(stoch, units, generator, **layers)
        self.from_action = Layer(actions, units, generator, **layers)
        fan = self.own + 3 * units
        self.hidden = initial((blocks, fan, self.own), fan, generator)
        self.bias = nn.Parameter(torch.zeros(deter))
        self.norm = norm_of(norm, deter)
        self.activation = ACTIVATIONS[activation]
        self.gates = BlockDense(blocks, deter, 3 * deter, generator)

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """(B, D), (B, S K), (B, A) -> (B, D)."""
        inputs = torch.cat((self.from_deter(deter), self.from_stoch(stoch), self.from_action(action)), -1)
        shared = self.hidden[:, self.own :].transpose(0, 1).flatten(1)  # (3 U, D)
        own = torch.bmm(deter.unflatten(1, (self.blocks, -1)).transpose(0, 1), self.hidden[:, : self.own])
        x = torch.addmm(self.bias, inputs, shared) + own.transpose(0, 1).flatten(1)
        x = self.activation(self.norm(x))
        gates = self.gates(x.unflatten(1, (self.blocks, -1))).view(-1, self.blocks, 3, self.own)
        reset, candidate, update = (gate.flatten(1) for gate in gates.unbind(2))
        candidate = torch.tanh(reset.sigmoid() * candidate)
        return torch.lerp(deter, candidate, (update + UPDATE_BIAS).sigmoid())


class GruCells(nn.Module):
    """GRUs side by side: each sees its own part of the state, the embedded latents and the action."""

    def __init__(
        self, deter: int, stoch: int, actions: int, units: int, cells: int, generator: torch.Generator,
        *, norm: str, activation: str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.cells, own = cells, deter // cells
        self.from_stoch = Layer(stoch, units, generator, norm=norm, activation=activation)
        self.inputs = initial((cells, units + actions, 3 * own), units + actions, generator)
        self.recurrent = initial((cells, own, 3 * own), own, generator)
        self.bias = nn.Parameter(torch.zeros(cells, 1, 3 * own))

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """(B, D), (B, S K), (B, A) -> (B, D)."""
        former = deter.unflatten(1, (self.cells, -1)).transpose(0, 1)  # (cells, B, own)
        seen = torch.cat((self.from_stoch(stoch), action), -1).expand(self.cells, -1, -1)
        reset_x, update_x, new_x = torch.baddbmm(self.bias, seen, self.inputs).chunk(3, -1)
        reset_h, update_h, new_h = torch.bmm(former, self.recurrent).chunk(3, -1)
        new = torch.tanh(new_x + (reset_x + reset_h).sigmoid() * new_h)
        return torch.lerp(former, new, (update_x + update_h + UPDATE_BIAS).sigmoid()).transpose(0, 1).flatten(1)


class Rssm(nn.Module):
    """Cell, prior and posterior.

    Args:
        cell: moves the recurrent state.
        tokens: width of an encoded observation.
        sees_deter: the posterior reads the recurrent state beside the observation.
    """

    def __init__(
        self,
        cell: nn.Module,
        deter: int,
        tokens: int,
        latents: int,
        classes: int,
        units: int,
        generator: torch.Generator,
        *,
        unimix: float,
        prior_layers: int,
        posterior_layers: int,
        sees_deter: bool,
        norm: str,
        activation: str,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.deter, self.latents, self.classes, self.unimix = deter, latents, classes, unimix
        self.sees_deter = sees_deter
        layers = {"norm": norm, "activation": activation}
        self.prior_hidden = mlp([deter, *[units] * prior_layers], generator, **layers)
        self.prior_logits = Dense(units if prior_layers else deter, latents * classes, generator)
        seen = tokens + deter * sees_deter
        self.posterior_hidden = mlp([seen, *[units] * posterior_layers], generator, **layers)
        self.posterior_logits = Dense(units, latents * classes, generator)

    def step(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """The next recurrent state (B, D) from states (B, D), latents (B, S, K) and actions (B, A).

        Actions beyond [-1, 1] are divided by their size.
        """
        after: Tensor = self.cell(deter, stoch.flatten(-2), action / action.detach().abs().clamp(min=1))
        return after

    def prior(self, deter: Tensor) -> Tensor:
        """Probabilities (..., S, K) of the latents before the observation is seen."""
        return self._probs(self.prior_logits(self.prior_hidden(deter)))

    def posterior(self, deter: Tensor, tokens: Tensor) -> Tensor:
        """Probabilities (..., S, K) of the latents once it is."""
        seen = torch.cat((deter, tokens), -1) if self.sees_deter else tokens
        return self._probs(self.posterior_logits(self.posterior_hidden(seen)))

    def observe(
        self, deter: Tensor, stoch: Tensor, action_TBA: Tensor, tokens: Tensor, first_TB: Tensor, noise_TBSK: Tensor
    ) -> States:
        """Follow observations with a gradient through time.

        Args:
            deter: (B, D) and `stoch` (B, S, K), the state before the first step.
            action_TBA: the action that led to each observation.
            tokens: (T, B, E) encoded observations.
            first_TB: the observation begins an episode: state and action before it count as zero.
            noise_TBSK: exponential random numbers, see `ops.categorical.draw`.
        """
        going_TB = (~first_TB).to(deter.dtype)
        states = []
        for action, token, going, noise in zip(action_TBA, tokens, going_TB.unsqueeze(-1), noise_TBSK, strict=True):
            deter = self.step(deter * going, stoch * going.unsqueeze(-1), action * going)
            probs = self.posterior(deter, token)
            stoch = straight_through(draw(probs, noise), probs)
            states.append((deter, stoch, probs))
        return States(*(torch.stack(column) for column in zip(*states, strict=True)))

    @torch.no_grad()
    def follow(
        self, deter: Tensor, stoch: Tensor, action: Tensor, tokens: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One step along observations without gradient; without noise, latents are the most likely ones."""
        deter = self.step(deter, stoch, action)
        probs = self.posterior(deter, tokens)
        return deter, mode(probs) if noise is None else draw(probs, noise)

    def _probs(self, logits: Tensor) -> Tensor:
        return mixed(logits.unflatten(-1, (self.latents, self.classes)), self.unimix)
