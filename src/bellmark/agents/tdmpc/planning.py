"""How plans are made (read by `planner.py`) and remade from replay (read by `reanalyse.py`)."""

from __future__ import annotations

from typing import Literal

from bellmark.agents.tdmpc.heads import DynamicsReduction, Reduction
from bellmark.config import Choice, Config, knob

MPPI = "TD-MPC2, Hansen et al. 2024, table 8"


class Planner(Config):
    """Model-predictive path integral control in the latent space, seeded with the policy's own plans."""

    horizon: int = knob(3, "steps of a plan", source=MPPI, ge=1)
    iterations: int = knob(6, "times that the distribution of plans is refined", source=MPPI, ge=1)
    extra_iterations: int = knob(2, "iterations on top where there are many actions", source=MPPI, ge=0)
    extra_from: int = knob(20, "from how many action dimensions on; the user's code: 15", source=MPPI, ge=1)
    samples: int = knob(512, "plans scored in an iteration", source=MPPI, ge=1)
    policy_plans: int = knob(24, "plans of the policy among them", source=MPPI, ge=0)
    policy_plans_are: Literal["within", "beside"] = knob(
        "within", "whether `samples` counts them; the user's code puts them beside", source="official code"
    )
    policy_noise: float = knob(0.0, "deviation of the noise added to the policy's plans", unit="action units", ge=0)
    elites: int = knob(64, "best plans that shape the next distribution", source=MPPI, ge=1)
    temperature: float = knob(0.5, "sharpness of the elites' weights", source=MPPI, gt=0)
    weighting: Literal["multiply", "divide"] = knob(
        "multiply",
        "weights are exp(temperature x score), where higher is greedier, or exp(score / temperature)",
        source="official code",
    )
    min_std: float = knob(0.05, "least deviation of a plan's action", unit="action units", source=MPPI, ge=0)
    max_std: float = knob(2.0, "largest, and that of the first iteration", unit="action units", source=MPPI, gt=0)
    discount: Literal["gamma", "none"] = knob(
        "gamma", "whether a plan's rewards are discounted; the user's code does not", source="official code"
    )
    ends: Literal["certain", "probable"] = knob(
        "certain",
        "a plan is over where an end is more probable than not, or what follows counts with the probability of going "
        "on, as in the user's code",
        source="official code",
    )
    rewards: Reduction = knob("mean", "over reward heads, at every step")
    values: Reduction = knob("mean", "over value members, at the end")
    dynamics: DynamicsReduction = knob("by_sign", "over dynamics heads; by_sign: of the optimism")
    members: int = knob(
        2, "value members asked, drawn anew for every plan; 0 or too many: all", source="official code", ge=0
    )
    optimism_train: float = knob(0.0, "standard deviations over heads added to a score while collecting")
    optimism_eval: float = knob(0.0, "the same while being judged")
    eval_heads: Literal["all", "first"] = knob("all", "dynamics heads asked while being judged")
    depths: Literal["last", "all"] = knob("last", "bootstrap after the last step, or average over all depths")
    disagreement: float = knob(0.0, "weight of the dynamics heads' variance at a plan's end, while collecting", ge=0)
    value_net: Literal["online", "slow"] = knob("online", "which value network ends a plan", source="official code")
    choose_train: Literal["draw", "best"] = knob(
        "draw", "while collecting, act on an elite drawn by weight or on the best", source="official code"
    )
    choose_eval: Literal["draw", "best"] = knob(
        "draw", "the same while being judged; the user's code takes the best", source="official code"
    )
    noise: float = knob(1.0, "while collecting, noise on the action in deviations of the plan", source=MPPI, ge=0)
    fixed_noise: float = knob(0.0, "while collecting, noise of a fixed deviation as well", unit="action units", ge=0)


class Never(Choice):
    """Plans in replay stay as they were made."""

    kind: Literal["never"] = "never"


class Lazy(Choice):
    """Every now and then, some replayed observations are planned from again (Wang et al. 2025, BMPC, section 4)."""

    kind: Literal["lazy"] = "lazy"
    interval: int = knob(10, "agent steps between reanalyses", source="BMPC, table 5", ge=1)
    states: int = knob(60, "observations replanned each time", source="BMPC: 20 slices of 3", ge=1)
    slices: bool = knob(
        True, "take whole slices (20 of 3 steps), else the first step of `states` slices", source="official code"
    )
    horizon: int = knob(0, "steps of these plans; 0: the planner's", source="official code", ge=0)
    iterations: int = knob(0, "iterations; 0: the planner's", ge=0)
    samples: int = knob(0, "plans per iteration; 0: the planner's", ge=0)
    elites: int = knob(0, "elites; 0: the planner's", ge=0)
    policy_plans: int = knob(-1, "plans of the policy; -1: the planner's", ge=-1)
    temperature: float = knob(0.0, "sharpness of the weights; 0: the planner's", ge=0)
    optimism: float = knob(0.0, "standard deviations over heads added to a score")
