"""The faults of the users' logs as data: what is planted, on which small task, and which rules name its cause."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import patches

# All that the recipe sets is set here too: its rates are for 50,000 steps, and change with what is found out.
CARTPOLE = (
    "model.deter=64", "model.units=32", "model.classes=4", "model.latents=8", "batch=8", "length=16", "steps=2000",
    "train_ratio=32", "collect.envs=4", "collect.random_steps=200", "collect.log_every=40", "evaluation.every=200",
    "evaluation.episodes=10", "evaluation.sampled=false", "optimizer.lr=1e-3", "optimizer.warmup=50",
    "learning.imagination.horizon=8", "loss.rec=30", "optimizer.actor_lr=1e-3", "learning.entropy.coef=3e-4",
    "learning.critic.slow_rate=0.1",
)  # fmt: skip
BALANCE = (
    "task=dmc", "task.task=cartpole-balance", "task.action_repeat=20", "model.size=1", "slices.size=16",
    "slices.horizon=2", "planner.horizon=2", "planner.samples=16", "planner.elites=4", "planner.policy_plans=4",
    "planner.iterations=2", "steps=450", "collect.random_steps=150", "collect.pretrain=50", "collect.log_every=25",
    "evaluation.every=75", "evaluation.episodes=4", "collect.insert_every=1",
)  # fmt: skip
BRIEF, SHORT, FEW_STEPS = "steps=800", "steps=1200", "steps=300"  # where the cause shows early
FEW_FREE = ("learning.divergence.free.nats=0.1",)  # so that the prior of so small a model is taught at all
ENSEMBLE = (*BALANCE, "model.critic.heads=4", "model.dynamics.heads=2", "target.rollouts=1")
# Of 512 rows an iteration, batches are noise once all values are alike: both odd seeds fell from 500 again and again.
PPO_CARTPOLE = (
    "task=cartpole", "task.action=continuous", "start=scratch", "policy.hidden=32", "policy.layers=2",
    "critic.hidden=32", "critic.layers=2", "collect.envs=16", "collect.steps=128", "steps=81920", "update.epochs=8",
    "update.minibatches=8", "evaluation.every=2048", "evaluation.episodes=16", "gamma=0.98", "optimizer.lr=3e-4",
    "reward_scale=0.1", "advantage.bootstrap=truncation", "advantage.lambda_=0.95", "evaluation.sampled=false",
)  # fmt: skip
PICK_CUBE = (
    "start.max_log_std=-1.5",
    "collect.envs=32",
    "steps=8000",
    "evaluation.every=1600",
    "evaluation.episodes=32",
)


class Task(NamedTuple):
    """A small real task: a recipe and what makes it small."""

    recipe: str
    overrides: tuple[str, ...]


DREAMER = Task("dreamer_cartpole_state", CARTPOLE)
DREAMER_FREE = Task("dreamer_cartpole_state", (*CARTPOLE, *FEW_FREE, SHORT))
DREAMER_LONG = Task("dreamer_cartpole_state", (*CARTPOLE, "train_ratio=96", "steps=2400"))
TDMPC = Task("tdmpc2", BALANCE)
SVG = Task("svg_ensemble", ENSEMBLE)
PPO = Task("ppo", PPO_CARTPOLE)
FINETUNE = Task("gae_ppo_finetune", (*PICK_CUBE, "update.epochs=10", "optimizer.lr=3e-5"))
REROLL = Task("awr_rerollout", (
    *PICK_CUBE, "collect.envs=16", "steps=3200", "evaluation.every=800", "advantage.n_q=2", "advantage.n_v=2",
    "optimizer.lr=3e-5", "update.epochs=10",
))  # fmt: skip
OWN_REROLL = Task("awr_rerollout", (*REROLL.overrides, "advantage.continuation=current"))
IQL = Task("iql_awr", (
    *PICK_CUBE, "critic.data.checkpoints=[pickcube_weak]", "critic.data.episodes=30", "critic.epochs=10",
))  # fmt: skip

LEARNED_IQL = Task("iql_awr", (
    *PICK_CUBE, "critic.data.episodes=60", "critic.epochs=40", "critic.n=5", "critic.select=return_correlation",
    "optimizer.lr=3e-5",
))  # fmt: skip


class Fault(NamedTuple):
    """One planted fault."""

    name: str
    about: str
    task: Task
    causes: tuple[str, ...]  # the rules that name its cause, rather than a consequence
    overrides: tuple[str, ...] = ()
    plant: Callable[[], AbstractContextManager[None]] = nullcontext


FAULTS = (
    Fault("value_of_wrong_state", "lambda return uses V(s_t) for V(s_t+1)", DREAMER,
          ("wrong_targets",), (SHORT,), patches.value_of_the_state_itself),
    Fault("mean_kl_free_bits", "free bits as a hard maximum over a mean of KLs", DREAMER, ("dead_free_bits",),
          ("learning.divergence.over_latents=mean", SHORT)),
    Fault("beta_rep", "weight 0.99 on the posterior's divergence", DREAMER, ("strong_posterior_pull",),
          ("loss.rep=0.99", BRIEF)),
    Fault("small_reconstruction", "reconstruction at a weight that hides the cart's position", DREAMER_LONG,
          ("unseen_observation",), ("loss.rec=1",)),
    Fault("no_unimix", "no uniform share in the latents", DREAMER, ("no_unimix",), ("model.unimix=0", BRIEF)),
    Fault("attached_targets", "critic targets not detached", DREAMER, ("attached_targets",),
          plant=patches.targets_with_gradient),
    Fault("action_blind", "prior scored on the posterior's own latent", DREAMER,
          ("prior_sees_answer", "action_blind_model", "kl_collapse"), (*FEW_FREE, SHORT),
          patches.prior_scored_on_its_own_answer),
    Fault("narrow_support", "11 bins up to 147.4 for values of 259", DREAMER, ("narrow_support",),
          ("model.bins=11", "model.bin_limit=5", "learning.discount.horizon=333", BRIEF)),
    Fault("focus_gate", "focus gate at a threshold of 0.02", DREAMER, ("starved_actor", "silent_losses"),
          ("gating=gated", "gating.focus=on", "gating.focus.threshold=0.02", "surprise.beta=0.8", SHORT)),
    Fault("fast_actor", "actor learning rate times ten", DREAMER, ("fast_actor",), ("optimizer.actor_lr=1e-2",)),
    Fault("fast_model", "learning rate of model and critic times thirty", DREAMER, ("update_size",),
          ("optimizer.lr=3e-2", SHORT)),
    Fault("tight_clipping", "adaptive clipping at a thousandth of the tensors", DREAMER, ("clipped_gradients",),
          ("optimizer.clipping.clip=1e-3", SHORT)),
    Fault("no_entropy", "entropy coefficient 0", DREAMER, ("no_entropy", "entropy_collapse"),
          ("learning.entropy.coef=0", BRIEF)),
    Fault("detached_state", "h detached: no back-propagation through time", DREAMER, ("no_memory_gradient",),
          (BRIEF,), patches.state_detached),
    Fault("padding_as_ends", "padding rows trained as terminal", DREAMER, ("false_ends",),
          (SHORT,), patches.padding_counts_as_ends),
    Fault("collector_ahead", "collector far ahead of the learner", DREAMER, ("replay_pacing",),
          (SHORT,), patches.collector_runs_ahead),
    Fault("resumed_from_nothing", "resume that restarts at 0, with a fresh actor and critic", DREAMER,
          ("counters_restart",), (SHORT,), patches.resumed_from_nothing),
    Fault("crowded_host", "other trainers take the host", DREAMER, ("slowed_down",), (SHORT,), patches.host_is_crowded),
    Fault("foreign_rerollouts", "optimal policy's re-rollouts on a weaker policy's data", REROLL,
          ("one_sided_advantages",)),
    Fault("sparse_iql", "IQL where rewards are hardly ever positive", IQL, ("weak_advantages",),
          ("critic.select=td_loss",)),
    Fault("foreign_critic", "critic pretrained on another policy's states", FINETUNE,
          ("foreign_critic", "one_sided_advantages", "unexplained_returns"),
          ("critic.initial=pretrained", "critic.initial.worlds=64", "critic.initial.rollouts=2",
           "critic.initial.epochs=20", "critic.initial.batch_size=512")),
    Fault("tight_kl", "target_kl 0.1 with 40 epochs", FINETUNE, ("tight_kl", "update_cut_short"),
          ("update.epochs=40", "update.target_kl=0.1")),
    Fault("noisy_start", "start whose sampled and mean actions differ by far", FINETUNE, ("noisy_start",),
          ("start.max_log_std=10",)),
    Fault("log_std_oscillation", "log_std thrown to and fro", PPO, ("log_std_oscillation",),
          plant=patches.spread_thrown_to_and_fro),
    Fault("equal_heads", "ensemble heads collapsed to one function", TDMPC, ("collapsed_heads",),
          ("target.values=mean", "target.members=0", "model.critic.dropout=0"), patches.heads_begin_equal),
    Fault("shared_bootstrap", "global bootstrap under an ensemble that is explored with", SVG, ("shared_bootstrap",),
          ("target.heads.values=mean", FEW_STEPS)),
    Fault("optimistic_evaluation", "optimistic planner judged with its optimism on", SVG, ("optimistic_evaluation",),
          ("planner.optimism_eval=1", FEW_STEPS)),
)  # fmt: skip
HEALTHY = {
    "dreamer": DREAMER,
    "dreamer_few_free_nats": DREAMER_FREE,
    "dreamer_long": DREAMER_LONG,
    "finetune": PPO,
    "finetune_pickcube": FINETUNE,
    "finetune_rerolls": OWN_REROLL,
    "finetune_iql": LEARNED_IQL,
    "tdmpc": TDMPC,
    "tdmpc_svg": SVG,
}
