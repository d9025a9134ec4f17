"""The networks of the dreamer family as data: sizes, cells, heads. The modules are in `world.py` and `nets/`."""

from __future__ import annotations

from typing import Literal, NamedTuple

from bellmark.config import Choice, Config, knob, option

OFFICIAL = "dreamerv3 configs.yaml"
PROTOCOL = "research protocol"
SizeName = Literal["1m", "12m", "25m", "50m", "100m", "200m", "400m"]


class Size(NamedTuple):
    """Widths that grow together."""

    deter: int  # recurrent state
    units: int  # hidden layers
    classes: int  # per latent
    depth: int  # channels of a picture's first layer, before its factor


SIZES: dict[SizeName, Size] = {
    "1m": Size(512, 64, 4, 4),
    "12m": Size(2048, 256, 16, 16),
    "25m": Size(3072, 384, 24, 24),
    "50m": Size(4096, 512, 32, 32),
    "100m": Size(6144, 768, 48, 48),
    "200m": Size(8192, 1024, 64, 64),
    "400m": Size(12288, 1536, 96, 96),
}


class BlockGru(Choice):
    """A gated cell whose large matrices are block-diagonal (Hafner et al. 2025)."""

    kind: Literal["block"] = "block"
    blocks: int = knob(8, "blocks of the recurrent matrices", source=OFFICIAL, scope="model", ge=1)


class IndependentGrus(Choice):
    """GRUs side by side that never see each other, each fed the embedded latents and the action (the user's agent)."""

    kind: Literal["independent"] = "independent"
    cells: int = knob(4, "GRUs; each has `deter` / cells units", source=PROTOCOL, scope="model", ge=1)


class Model(Config):
    """Architecture: every knob makes a model family."""

    size: SizeName = knob("200m", "widths that grow together; single ones below", source=OFFICIAL, scope="model")
    deter: int = knob(0, "width of the recurrent state; 0: the size's", scope="model", ge=0)
    units: int = knob(0, "width of hidden layers; 0: the size's", scope="model", ge=0)
    classes: int = knob(0, "classes per latent; 0: the size's", scope="model", ge=0)
    depth: int = knob(0, "channels of pictures, times 2, 3, 4, 4 per layer; 0: the size's", scope="model", ge=0)
    latents: int = knob(32, "categorical latents", source=OFFICIAL, scope="model", ge=1)
    cell: BlockGru | IndependentGrus = option(BlockGru(), "the recurrent cell", scope="model")
    norm: Literal["rms", "none"] = knob("rms", "what follows a hidden layer's matrix", source=OFFICIAL, scope="model")
    activation: Literal["silu", "relu"] = knob(
        "silu", "what follows the norm of a hidden layer", source=OFFICIAL, scope="model"
    )
    posterior: Literal["recurrent", "encoder"] = knob(
        "recurrent", "the posterior sees recurrent state and observation, or the observation alone", scope="model"
    )
    unimix: float = knob(
        0.01,
        "share of the uniform distribution in the latents' distributions",
        source=OFFICIAL,
        scope="model",
        ge=0,
        lt=1,
    )
    encoder_layers: int = knob(3, "layers that encode a vector", source=OFFICIAL, scope="model", ge=1)
    decoder_layers: int = knob(3, "layers that decode a vector", source=OFFICIAL, scope="model", ge=1)
    prior_layers: int = knob(2, "hidden layers of the prior", source=OFFICIAL, scope="model", ge=0)
    posterior_layers: int = knob(1, "hidden layers of the posterior", source=OFFICIAL, scope="model", ge=1)
    reward_layers: int = knob(1, "hidden layers of the reward head", source=OFFICIAL, scope="model", ge=0)
    continue_layers: int = knob(1, "hidden layers of the continue head", source=OFFICIAL, scope="model", ge=0)
    policy_layers: int = knob(3, "hidden layers of the policy", source=OFFICIAL, scope="model", ge=1)
    value_layers: int = knob(3, "hidden layers of the value", source=OFFICIAL, scope="model", ge=1)
    bins: int = knob(255, "of rewards and values; odd ones have a bin at zero", source=OFFICIAL, scope="model", ge=3)
    bin_limit: float = knob(
        20.0,
        "the outermost bins are +-(e^limit - 1): no reward or value beyond them can be told (5: 147.4)",
        unit="symlog units",
        source=OFFICIAL,
        scope="model",
        gt=0,
    )
    policy_unimix: float = knob(
        0.01,
        "share of the uniform distribution in a policy over choices; the official code's table sets it, but its "
        "present categorical head does not read it (0 does the same)",
        source="Hafner et al. 2025, table W.1",
        scope="model",
        ge=0,
        lt=1,
    )
    min_std: float = knob(0.1, "least deviation of a continuous policy", source=OFFICIAL, scope="model", gt=0)
    max_std: float = knob(1.0, "largest deviation of a continuous policy", source=OFFICIAL, scope="model", gt=0)

    @property
    def widths(self) -> Size:
        """The size with the single widths that were set."""
        size = SIZES[self.size]
        return Size(*(getattr(self, name) or getattr(size, name) for name in Size._fields))
