"""The recurrent state-space model of DreamerV3 (Hafner et al. 2025): a gated cell, categorical latents before and
after.

`step` moves the recurrent state by the latents *drawn at* the former observation and the action *taken at* it. The
prior reads that state alone, the posterior sees the new observation too: so the prior predicts, and depends on the
action.

Axes: T steps, B slices, D recurrent state, U units, S latents, K classes, A action, E encoded observation. States are
columns (see `nets.rms`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bellmark.nets.fused import WORTH_TURNING, Advance, BlockWeights, GruWeights, LayerWeights, remembered
from bellmark.nets.rms import BlockDense, Dense, Layer, Norm, Perceptron, finish, initial, mlp, rows
from bellmark.nets.unroll import Unroll, Weights
from bellmark.nets.unroll_fused import FusedUnroll
from bellmark.ops.categorical import draw, mixed, mode, straight_through
from bellmark.ops.native import fused

Imagine = Callable[[Tensor, Tensor, Tensor, Tensor], None]
UPDATE_BIAS = -1.0  # of the update gate, so that a new cell remembers


class States(NamedTuple):
    """What a sequence of observations leads to."""

    deter_TDB: Tensor
    stoch_TSKB: Tensor  # one-hot, with the gradient of the probabilities
    probs_TSKB: Tensor  # the posterior


class BlockCell(nn.Module):
    """A GRU whose hidden layer and gates are block-diagonal; inputs are projected and handed to every block."""

    def __init__(
        self, deter: int, stoch: int, actions: int, units: int, blocks: int, generator: torch.Generator,
        *, norm: str, activation: str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.blocks, self.own = blocks, deter // blocks
        layers = {"norm": norm, "activation": activation}
        self.from_deter = Layer(deter, units, generator, **layers)
        self.from_stoch = Layer(stoch, units, generator, **layers)
        self.from_action = Layer(actions, units, generator, **layers)
        fan = self.own + 3 * units
        self.hidden = initial((deter, fan), fan, generator)
        self.bias = nn.Parameter(torch.zeros(deter))
        self.finish = finish(deter, norm, activation)
        self.gates = BlockDense(blocks, deter, 3 * deter, generator)

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """(D, B), (S K, B), (A, B) -> (D, B)."""
        inputs = torch.cat((self.from_deter(deter), self.from_stoch(stoch), self.from_action(action)))
        x = torch.addmm(self.bias.unsqueeze(1), self.hidden[:, self.own :], inputs)
        own = self.hidden[:, : self.own].unflatten(0, (self.blocks, -1))
        former = deter.unflatten(0, (self.blocks, -1))
        x = self.finish(torch.baddbmm(x.view_as(former), own, former).flatten(0, 1))
        reset, candidate, update = self.gates(x).chunk(3, 1)
        candidate = torch.tanh(reset.sigmoid() * candidate)
        return torch.lerp(former, candidate, (update + UPDATE_BIAS).sigmoid()).flatten(0, 1)

    def weights(self) -> BlockWeights | None:
        """What the fused passes multiply with; None where they do not know a norm or an activation."""
        one, other, acted = (layer.weights() for layer in (self.from_deter, self.from_stoch, self.from_action))
        if not (isinstance(self.finish, Norm) and one and other and acted and one.scale is not None):
            return None
        return BlockWeights(
            one.weight, other.weight, self.hidden[:, : self.own].unflatten(0, (self.blocks, -1)),
            self.hidden[:, self.own :], self.gates.weight, one.bias, other.bias, self.gates.bias,
            one.scale, other.scale, self.finish.scale, self.bias, acted,
        )  # fmt: skip


class GruCells(nn.Module):
    """GRUs side by side: each sees its own part of the state, the embedded latents and the action."""

    def __init__(
        self, deter: int, stoch: int, actions: int, units: int, cells: int, generator: torch.Generator,
        *, norm: str, activation: str,
    ) -> None:  # fmt: skip
        super().__init__()
        own = deter // cells
        self.from_stoch = Layer(stoch, units, generator, norm=norm, activation=activation)
        self.inputs = initial((3 * deter, units + actions), units + actions, generator)
        self.recurrent = initial((cells, 3 * own, own), own, generator)
        self.bias = nn.Parameter(torch.zeros(3 * deter))

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """(D, B), (S K, B), (A, B) -> (D, B)."""
        cells = len(self.recurrent)
        former = deter.unflatten(0, (cells, -1))
        seen = torch.addmm(self.bias.unsqueeze(1), self.inputs, torch.cat((self.from_stoch(stoch), action)))
        reset_x, update_x, new_x = seen.unflatten(0, (cells, -1)).chunk(3, 1)
        reset_h, update_h, new_h = torch.bmm(self.recurrent, former).chunk(3, 1)
        new = torch.tanh(new_x + (reset_x + reset_h).sigmoid() * new_h)
        return torch.lerp(former, new, (update_x + update_h + UPDATE_BIAS).sigmoid()).flatten(0, 1)

    def weights(self) -> GruWeights | None:
        """What the fused passes multiply with; None where they do not know the layer of the latents."""
        layer = self.from_stoch.weights()
        return layer and GruWeights(self.inputs, self.recurrent, self.bias, layer)


class Rssm(nn.Module):
    """Cell, prior and posterior.

    Args:
        cell: moves the recurrent state.
        tokens: width of an encoded observation.
        sees_deter: the posterior reads the recurrent state beside the observation.
    """

    def __init__(
        self,
        cell: BlockCell | GruCells,
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
        whole = isinstance(cell, BlockCell) and isinstance(cell.finish, Norm)
        self.unrolls = whole and sees_deter and posterior_layers == 1  # the loop written by hand knows these alone

    def step(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """The next recurrent state (D, B) from states (D, B), latents (S, K, B) and actions (A, B)."""
        after: Tensor = self.cell(deter, stoch.flatten(0, 1), bounded(action))
        return after

    def prior(self, deter: Tensor) -> Tensor:
        """Probabilities (S, K, B) of the latents before the observation is seen."""
        return self._probs(self.prior_logits(self.prior_hidden(deter)))

    def posterior(self, deter: Tensor, tokens: Tensor) -> Tensor:
        """Probabilities (S, K, B) of the latents once it is."""
        seen = torch.cat((deter, tokens)) if self.sees_deter else tokens
        return self._probs(self.posterior_logits(self.posterior_hidden(seen)))

    def observe(
        self,
        deter: Tensor,
        stoch: Tensor,
        action_ATB: Tensor,
        tokens_ETB: Tensor,
        first_TB: Tensor,
        uniform_TSB: Tensor,
    ) -> States:
        """Follow observations with a gradient through time.

        Args:
            deter: (D, B) and `stoch` (S, K, B), the state before the first step; no gradient goes there.
            action_ATB: the action that led to each observation.
            first_TB: the observation begins an episode: state and action before it count as zero.
            uniform_TSB: random numbers for the draws, see `ops.categorical.draw`.
        """
        going_TB = (~first_TB).to(deter.dtype)
        if self.unrolls:
            return self._unroll(deter, stoch, action_ATB * going_TB, tokens_ETB, going_TB, uniform_TSB)
        states = []
        for t, going in enumerate(going_TB):
            deter = self.step(deter * going, stoch * going, action_ATB[:, t] * going)
            probs = self.posterior(deter, tokens_ETB[:, t])
            stoch = straight_through(draw(probs, uniform_TSB[t], 1), probs)
            states.append((deter, stoch, probs))
        return States(*(torch.stack(column) for column in zip(*states, strict=True)))

    def _unroll(
        self, deter: Tensor, stoch: Tensor, action: Tensor, tokens: Tensor, going: Tensor, uniform: Tensor
    ) -> States:
        cell: Any = self.cell
        own, units = cell.own, len(cell.from_deter.dense.bias)
        acted = cell.from_action(bounded(action).flatten(1))
        hidden = torch.addmm(cell.bias, acted.t(), cell.hidden[:, own + 2 * units :].t())
        posterior: Any = self.posterior_hidden[0]
        seen_D, seen_E = posterior.dense.weight.split((self.deter, len(tokens)), 1)
        token = torch.addmm(posterior.dense.bias, tokens.flatten(1).t(), seen_E.t())
        weights = Weights(
            deter_UD=cell.from_deter.dense.weight,
            deter_bias_U=cell.from_deter.dense.bias,
            stoch_UC=cell.from_stoch.dense.weight,
            stoch_bias_U=cell.from_stoch.dense.bias,
            scale_2U=torch.stack((cell.from_deter.finish.scale, cell.from_stoch.finish.scale)),
            own=cell.hidden[:, :own].unflatten(0, (cell.blocks, -1)),
            shared_D2U=cell.hidden[:, own : own + 2 * units],
            hidden_scale_D=cell.finish.scale,
            gates=cell.gates.weight,
            gates_bias=cell.gates.bias,
            posterior_UD=seen_D,
            posterior_scale_U=posterior.finish.scale,
            logits_CU=self.posterior_logits.weight,
            logits_bias_C=self.posterior_logits.bias,
        )
        by_step = [x.unflatten(0, going.shape) for x in (hidden, token)]  # (T, B, .)
        if fused(hidden):
            former = (rows(deter), rows(stoch.flatten(0, 1)))
            after, *latents = FusedUnroll.apply(*former, *by_step, going, uniform, self.unimix, *weights)
            hot, probs = (x.unflatten(2, stoch.shape[:2]).movedim(1, 3) for x in latents)
            return States(after.mT, hot, probs)
        turned = [x.mT for x in by_step]
        return States(*Unroll.apply(deter, stoch, *turned, going, uniform, self.unimix, *weights))

    @torch.no_grad()
    def follow(
        self, deter: Tensor, stoch: Tensor, action: Tensor, tokens: Tensor, uniform: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One step along observations without gradient; without random numbers, latents are the most likely ones."""
        count = deter.shape[1]
        if self.sees_deter and (go := self._advance(self.posterior_hidden, self.posterior_logits, count)):
            seen = deter.new_empty(count, self.deter + len(tokens))
            after, hot = seen[:, : self.deter], deter.new_empty(count, self.latents * self.classes)
            seen[:, self.deter :] = tokens.t()
            go(rows(deter), rows(stoch.flatten(0, 1)), rows(action), uniform, after, hot)
            return after.t(), hot.t().unflatten(0, (self.latents, self.classes))
        deter = self.step(deter, stoch, action)
        probs = self.posterior(deter, tokens)
        return deter, mode(probs, 1) if uniform is None else draw(probs, uniform, 1)

    def imagination(self, count: int) -> Imagine:
        """What moves `count` states (F, B) one step without observations: latents drawn from the prior, no gradient.

        It takes states, actions (A, B) and uniform numbers (S, B), and writes the next states into its last argument.
        """
        if go := self._advance(self.prior_hidden, self.prior_logits, count):

            def fast(here: Tensor, action: Tensor, uniform: Tensor, there: Tensor) -> None:
                x, y = rows(here), there.t()
                go(
                    x[:, : self.deter],
                    x[:, self.deter :],
                    rows(action),
                    uniform,
                    y[:, : self.deter],
                    y[:, self.deter :],
                )

            return fast

        @torch.no_grad()
        def slow(here: Tensor, action: Tensor, uniform: Tensor, there: Tensor) -> None:
            stoch = here[self.deter :].unflatten(0, (self.latents, self.classes))
            there[: self.deter] = deter = self.step(here[: self.deter], stoch, action)
            there[self.deter :] = draw(self.prior(deter), uniform, 1).flatten(0, 1)

        return slow

    def _advance(self, hidden: Perceptron, logits: Dense, count: int) -> Advance | None:
        """Steps of `count` states by the fused passes; None where they do not know the cell or a layer."""

        def make(many: bool) -> Advance | None:
            cell, layers = self.cell.weights(), hidden.weights()
            if cell is None or layers is None:
                return None
            head = [*layers, LayerWeights(logits.weight, logits.bias)]
            return Advance(cell, head, self.latents, self.unimix, many=many)

        if not fused(logits.weight):
            return None
        many = count >= WORTH_TURNING
        return make(True) if many else remembered(hidden, "advance", logits.weight, lambda: make(False))

    def _probs(self, logits: Tensor) -> Tensor:
        return mixed(logits.unflatten(0, (self.latents, self.classes)), self.unimix, 1)


def bounded(action: Tensor) -> Tensor:
    """Actions beyond [-1, 1] divided by their size."""
    return action / action.detach().abs().clamp(min=1)
