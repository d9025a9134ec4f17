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

from bellmark.nets.cells import BlockCell, GruCells, bounded
from bellmark.nets.fused import WORTH_TURNING, Advance, LayerWeights, remembered
from bellmark.nets.rms import Dense, Perceptron, mlp, rows
from bellmark.nets.unroll import Unroll
from bellmark.nets.unroll_fused import FusedUnroll, Posterior
from bellmark.ops.categorical import draw, mixed, mode, straight_through
from bellmark.ops.native import fused

Imagine = Callable[[Tensor, Tensor, Tensor, Tensor], None]


class States(NamedTuple):
    """What a sequence of observations leads to."""

    deter_TDB: Tensor
    stoch_TSKB: Tensor  # one-hot, with the gradient of the probabilities
    probs_TSKB: Tensor  # the posterior


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
        known = (norm, activation) == ("rms", "silu") if isinstance(cell, BlockCell) else norm == "none"
        self.unrolls = known and sees_deter and posterior_layers == 1  # loops written by hand know these alone

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
        if self.unrolls and (isinstance(self.cell, BlockCell) or fused(deter)):
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
        hidden, kind, weights = self.cell.along(action)
        posterior: Any = self.posterior_hidden[0]
        seen_D, seen_E = posterior.dense.weight.split((self.deter, len(tokens)), 1)
        token = torch.addmm(posterior.dense.bias, tokens.flatten(1).t(), seen_E.t())
        head = Posterior(seen_D, posterior.finish.scale, self.posterior_logits.weight, self.posterior_logits.bias)
        by_step = [x.unflatten(0, going.shape) for x in (hidden, token)]  # (T, B, .)
        if fused(hidden):
            former, active = (rows(deter), rows(stoch.flatten(0, 1))), posterior.weights().activation
            given = (*former, *by_step, going, uniform, self.unimix, active, kind)
            after, *latents = FusedUnroll.apply(*given, *weights, *head)
            hot, probs = (x.unflatten(2, stoch.shape[:2]).movedim(1, 3) for x in latents)
            return States(after.mT, hot, probs)
        turned = [x.mT for x in by_step]
        return States(*Unroll.apply(deter, stoch, *turned, going, uniform, self.unimix, *weights, *head))

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
