"""The learner: published sizes, determinism, resume, what replay takes back, and what is refused."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch
from tdmpc_small import SPEC, agent, batch, config, trace
from traced import acted

from bellmark.agents.api import Spec
from bellmark.agents.tdmpc.agent import TdmpcAgent
from bellmark.agents.tdmpc.config import Tdmpc
from bellmark.agents.tdmpc.instruments import TdmpcInstruments
from bellmark.agents.tdmpc.optimizing import model_groups, policy_groups
from bellmark.cli.families import resolve
from bellmark.config import build
from bellmark.errors import UserError
from bellmark.ops.products import INSTRUCTIONS, available

WALKER = Spec(obs_shape=(24,), pixels=False, actions=6, discrete=False, horizon=500, action_repeat=2)


@pytest.mark.parametrize(("size", "published"), [(1, 1_214_651), (5, 4_960_618)])
def test_as_many_parameters_as_published(size, published):
    learner = TdmpcAgent(build(Tdmpc, {"model": {"size": size}}), WALKER, "cpu")
    assert sum(p.numel() for p in learner.nets.world.parameters()) == published
    learned = [p for d in (learner.model_descent, learner.policy_descent) for g in d.groups for p in g.parameters]
    assert sum(p.numel() for p in learned) == published  # every parameter is in exactly one optimiser
    assert learner.gamma == pytest.approx(0.99) and learner.schedule == (2500, 2500, 1)


@pytest.mark.usefixtures("tiny")
class TestSmall:
    @pytest.mark.parametrize("base", ["tdmpc2", "bmpc", "ensemble"])
    def test_one_seed_one_run(self, base: str) -> None:
        assert trace(agent(base=base)) == trace(agent(base=base))
        assert trace(agent(base=base)) != trace(agent("seed=2", base=base))

    @pytest.mark.parametrize("base", ["tdmpc2", "bmpc", "ensemble"])
    def test_stopping_and_resuming_changes_nothing(self, base: str) -> None:
        whole, first = agent(base=base), agent(base=base)
        for step in range(3):
            whole.update(batch(whole, step), step)
            first.update(batch(first, step), step)
        stored = io.BytesIO()
        torch.save(first.state_dict(), stored)
        stored.seek(0)
        second = agent("seed=9", base=base)
        second.load_state_dict(torch.load(stored, weights_only=True))
        for step in range(3, 7):
            expected, written = whole.update(batch(whole, step), step)
            found, written_again = second.update(batch(second, step), step)
            assert {k: float(v) for k, v in found.items()} == {k: float(v) for k, v in expected.items()}
            assert (written is None) == (written_again is None)
        assert acted(whole, True) == acted(second, True)

    def test_the_acting_policy_comes_back_from_state_alone(self) -> None:
        learned = agent(base="ensemble")
        learned.update(batch(learned), 0)
        other = TdmpcAgent(config(base="ensemble"), SPEC, "cpu")
        other.load_state_dict(learned.state_dict())
        assert acted(other, True) == acted(learned, True)

    def test_reanalysis_writes_the_rows_it_replanned(self) -> None:
        made = agent("reanalysis.states=12", base="bmpc")  # 12 states: 4 slices of 3 steps
        before = batch(made)
        assert made.update(before, 0)[1] is None  # pretraining
        _, writeback = made.update(before, 0)
        assert writeback is not None
        assert writeback.rows.tolist() == before.rows[:3, :4].flatten().tolist()
        expert = writeback.values["expert"]
        assert expert.shape == (12, 4) and (expert[:, :2].abs() <= 1).all() and (expert[:, 2:] >= 0.05).all()
        assert made.update(before, 0)[1] is None and made.update(before, 0)[1] is not None  # every second one

    def test_reanalysis_of_first_steps(self) -> None:
        made = agent("reanalysis.slices=false", "reanalysis.states=5", base="bmpc")
        made.updates = 1
        _, writeback = made.update(batch(made), 0)
        assert writeback is not None and writeback.rows.tolist() == batch(made).rows[0, :5].tolist()

    def test_learning_uses_the_renewed_plans(self) -> None:
        made = agent(base="bmpc")
        made.updates = 1
        renewed, writeback = made.experts.renew(batch(made), 0, made.generator)
        assert writeback is not None
        assert torch.equal(renewed.extras["expert"][:3, :4].flatten(0, 1), writeback.values["expert"])
        assert torch.equal(renewed.extras["expert"][:3, 4:], batch(made).extras["expert"][:3, 4:])

    @pytest.mark.parametrize(("expert", "same_as"), [("executed", "action"), ("drawn", "chosen"), ("mean", "mean")])
    def test_what_replay_keeps_of_a_plan(self, expert: str, same_as: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from bellmark.agents.tdmpc import planner

        plans: list[Any] = []
        real = planner.plan
        monkeypatch.setattr(planner, "plan", lambda *a, **k: plans.append(real(*a, **k)) or plans[-1])
        made = agent(f"policy.improvement.expert={expert}", base="bmpc")
        generator = torch.Generator().manual_seed(0)
        decision = made.policy.act(
            torch.randn(2, 5), torch.ones(2, dtype=torch.bool), made.policy.initial(2), deterministic=False,
            generator=generator,
        )  # fmt: skip
        source = plans[0].mean[:, 0] if same_as == "mean" else getattr(plans[0], same_as)
        assert torch.equal(decision.extras["expert"], torch.cat((source, plans[0].std[:, 0]), -1))

    def test_a_plan_of_its_own_for_every_new_step(self) -> None:
        one = acted(agent(base="bmpc"), False)
        other = acted(agent("policy.improvement.initial=replan", base="bmpc"), False)
        assert one[:4] == other[:4] and one[4:12] != other[4:12]  # same action, another expert

    def test_blank_plans_are_standard_normal(self) -> None:
        assert agent().blank["expert"].tolist() == [0, 0, 1, 1]

    def test_parts_learn_when_they_are_due(self) -> None:
        made = agent("cadence.world=1", "cadence.value=2", "cadence.policy=1", "model.critic=state", "target=imagined")

        def moved(update: int) -> set[str]:
            before = {name: p.clone() for name, p in made.nets.named_parameters()}
            made.update(batch(made, update), 1)
            return {
                ".".join(n.split(".")[:2]) for n, p in made.nets.named_parameters() if not torch.equal(p, before[n])
            }

        world = {"world.encoder", "world.dynamics", "world.reward"}
        assert world | {"world.critic", "world.policy"} <= moved(0)
        only_value = moved(1)
        assert "world.critic" in only_value and not only_value & (world | {"world.policy"})

    def test_slow_copies_follow_when_what_they_copy_has_learned(self) -> None:
        """Of two minibatches the second teaches the world model alone, or world model and values."""
        state = ("model.critic=state", "target=imagined", "cadence.policy=1")
        for cadence, followed in (
            (("cadence.world=2", "cadence.value=1"), [{"slow_critic", "slow_policy"}, set()]),
            (("cadence.world=2", "cadence.value=2"), [{"slow_critic", "slow_policy"}, {"slow_critic"}]),
        ):
            made = agent(*state, *cadence)
            for count, expected in enumerate(followed):
                before = {name: p.clone() for name, p in made.nets.named_parameters() if name.startswith("slow")}
                made.update(batch(made, count), 1)
                after = dict(made.nets.named_parameters())
                assert {n.split(".")[0] for n, p in before.items() if not torch.equal(p, after[n])} == expected

    def test_start_values_are_the_mean_of_all_members(self) -> None:
        made = agent("model.critic=state", "target=imagined", "model.critic.heads=3")
        bins = made.nets.world.critic.bins
        with torch.no_grad():  # members certain of bins 50, 60 and 70: symlog 0, 2 and 4, zero weights elsewhere
            last = made.nets.world.critic.heads.stacks[-1]
            for member, at in enumerate((50, 60, 70)):
                last.bias[member, at] = 100.0
        values = [math.exp(symlog) - 1 for symlog in (0, 2, 4)]
        assert bins.count == 101
        assert made.start_values(torch.randn(2, 5)).tolist() == pytest.approx([sum(values) / 3] * 2, rel=1e-4)

    def test_rates_of_what_comes_in_several(self) -> None:
        """By heads: dynamics x H, reward x R, values x M / 5, auxiliary x G / 5; both policies alike."""
        made = agent("optimizer.by_heads=true", "optimizer.policy=0.3", "optimizer.encoder=0.2", "auxiliary=joint",
                     "auxiliary.gammas=[0.8, 0.9, 0.95]", "model.dynamics.heads=4", "model.reward.heads=2",
                     "model.critic.heads=8", base="ensemble")  # fmt: skip
        model = {group.name: group.scale for group in model_groups(made.config, made.nets)}
        assert model == pytest.approx(
            {"encoder": 0.2, "dynamics": 4, "reward": 2, "critic": 1.6, "termination": 1, "auxiliary": 0.6}
        )
        policies = {group.name: group.scale for group in policy_groups(made.config, made.nets)}
        assert policies == {"policy": 0.3, "explorer": 0.3}

    def test_outputs_of_joint_auxiliary_values_lie_side_by_side(self) -> None:
        made = agent("auxiliary=joint", "auxiliary.gammas=[0.8, 0.9]", base="ensemble")
        last = made.nets.auxiliary.network.stacks[-1]
        with torch.no_grad():  # zero weights; the first half of the biases is the first discount's
            last.bias[0, 60], last.bias[0, 101 + 70] = 100.0, 100.0
        assert made.nets.auxiliary.logits(torch.rand(4, 16)).argmax(-1).tolist() == [[60] * 4, [70] * 4]

    def test_at_least_a_thousand_random_steps_else_five_episodes(self) -> None:
        unset = ("collect.random_steps=-1", "collect.pretrain=-1")
        assert agent(*unset).schedule[:2] == (1000, 1000)  # five episodes of 50 steps are fewer
        assert agent(*unset, spec=SPEC._replace(horizon=400)).schedule[:2] == (2000, 2000)

    def test_bmpc_learns_no_policy_in_the_first_burst(self) -> None:
        made = agent("policy.pretrained=false")
        assert "loss/policy" not in made.update(batch(made), 0)[0]
        assert "loss/policy" in made.update(batch(made), 0)[0]

    def test_the_encoder_is_frozen_when_it_should_be(self) -> None:
        made = agent("optimizer.encoder_frozen_at=0.5")
        for step, frozen in ((49, False), (50, True)):
            before = [p.clone() for p in made.nets.world.encoder.parameters()]
            made.update(batch(made), step)
            after = made.nets.world.encoder.parameters()
            assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True)) == frozen

    def test_what_is_foreseen_is_compared_with_the_row_it_leads_to(self) -> None:
        """A world that foresees no rewards misses those of rows 1 to T; behaviour is told in deviations."""
        made = agent("model.policy=clipped")
        rows = batch(made)
        with torch.no_grad():
            made.nets.world.policy.network.stacks[-1].weight.zero_()  # log std at the middle of [-3, 1]
        instruments = TdmpcInstruments(made)
        expected = rows.reward[1:].abs().mean()
        assert float(instruments.measure(rows)["model/open_loop_reward"]) == pytest.approx(float(expected), rel=1e-3)
        assert instruments.behaviour(rows).std[0, 0].item() == pytest.approx(math.exp(-1), rel=1e-5)

    def test_held_out_consistency_is_the_error_of_what_was_foreseen(self) -> None:
        made = agent()
        generator, state = torch.Generator().manual_seed(0), made.policy.initial(1)
        obs = torch.randn(2, 1, 5, generator=generator)
        first = made.policy.act(obs[0], torch.tensor([True]), state, deterministic=True, generator=generator)
        second = made.policy.act(obs[1], torch.tensor([False]), first.state, deterministic=True, generator=generator)
        assert math.isnan(first.extras["model/consistency_held_out"].item())
        world = made.nets.world
        error = (world.next(world.encode(obs[0]), first.action)[0] - world.encode(obs[1])).square().mean()
        assert second.extras["model/consistency_held_out"].item() == pytest.approx(error.item(), rel=1e-5)


@pytest.mark.usefixtures("tiny")
class TestRefusals:
    @pytest.mark.parametrize("change", [{"discrete": True}, {"pixels": True, "obs_shape": (64, 64, 3)}])
    def test_tasks_of_another_kind(self, change: dict[str, Any]) -> None:
        with pytest.raises(UserError, match="tdmpc family"):
            TdmpcAgent(config(), SPEC._replace(**change), "cpu")

    def test_an_observation_that_is_not_finite(self) -> None:
        made, obs = agent(), torch.zeros(3, 5)
        obs[1, 2] = torch.inf
        with pytest.raises(UserError, match="observation of world 1 is not finite"):
            made.policy.act(obs, torch.ones(3, dtype=torch.bool), made.policy.initial(3), deterministic=True,
                            generator=torch.Generator())  # fmt: skip

    def test_a_model_that_has_diverged(self) -> None:
        made = agent()
        with torch.no_grad():
            next(made.nets.world.encoder.parameters()).fill_(torch.nan)
        with pytest.raises(UserError, match=r"lower optimizer\.lr"):
            acted(made, False)

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["cadence.world=4", "cadence.value=3"], "cadence.value=3 does not divide the 4 .*; choose one of 1, 2, 4"),
            (["model.size=2"], "model.size=2: input should be 1, 5, 19, 48 or 317"),
            (["target=imagined"], "set model.critic=state"),
            (["policy.improvement=distillation"], "model.policy=clipped"),
            (["reanalysis=lazy"], "policy.improvement=distillation"),
            (["planner.policy_plans=512"], "planner.policy_plans=512 leaves none of planner.samples=512"),
            (["planner.samples=32", "planner.policy_plans=8"], "planner.elites=64 is more than the 32 plans"),
            (["model.group=24"], r"model\.group=24 must divide the \d+ latent features of size 5"),
            (["slices.hot=300"], "slices.hot=300 is more than slices.size=256"),
            (["target.values=local"], "target.members=2"),
            (["planner.horizn=4"], "did you mean planner.horizon"),
            (["policy.entropy=exponential", "policy.entropy.end=0"], "policy.entropy.end=0: input should be greater"),
            (["policy.entropy=linear", "policy.entropy.begins=0.5", "policy.entropy.ends=0.1"], "must not lie behind"),
            (["auxiliary=joint", "auxiliary.learn_from=imagined"], "needs target=imagined"),
            (["auxiliary=joint", "auxiliary.gammas=[0.9, 1.2]"], "auxiliary.gammas: 1.2 is no discount"),
            (["planner.min_std=3"], "planner.min_std=3 is more than planner.max_std=2"),
            (["model.policy.log_std_min=5"], "model.policy.log_std_min=5 is more than model.policy.log_std_max=2"),
            (["discount.low=0.9", "discount.high=0.8"], "discount.low=0.9 is more than discount.high=0.8"),
            (["seed=99999999999999999999"], "seed=99999999999999999999: input should be less than 4294967296"),
        ],
    )
    def test_settings_that_do_not_fit(self, overrides: list[str], message: str) -> None:
        with pytest.raises(UserError, match=message):
            resolve("tdmpc2", overrides)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", ["half", "bfloat16"])
def test_a_precision_that_cannot_be_had_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    agent(f"precision={name}")
    assert bool(caplog.records) != available(name)
    caplog.clear()
    monkeypatch.setattr("bellmark.agents.tdmpc.agent.available", lambda name, device: name == "single")
    agent(f"precision={name}")
    assert f"a processor with {INSTRUCTIONS[name]}" in caplog.text
    caplog.clear()
    agent()
    assert not caplog.records


@pytest.mark.parametrize("reduced", ["half", "bfloat16"])
def test_reduced_precision_reaches_plans_and_updates_and_changes_them_little(reduced: str) -> None:
    """Same seed, same data: scores of plans, losses and what is learned differ from single precision's, barely."""
    if not available(reduced):
        pytest.skip(f"needs a processor with {INSTRUCTIONS[reduced]}")
    found: dict[str, dict[str, float]] = {}
    for precision in ("single", reduced):
        overrides = ["model.size=1", f"precision={precision}", "slices.size=64", "planner.samples=128"]
        made = TdmpcAgent(build(Tdmpc, {}, overrides), WALKER, "cpu")
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():  # values and rewards are no longer all zero
            for p in made.nets.parameters():
                p.add_(0.02 * torch.randn(p.shape, generator=generator))
        z = made.nets.world.encode(torch.randn(64, 24, generator=generator))
        action = torch.rand(64, 6, generator=generator)
        losses, _ = made.update(batch(made), 0)
        obs, first = torch.randn(1, 24, generator=generator), torch.ones(1, dtype=torch.bool)
        state = made.policy.initial(1)
        plan = made.policy.act(obs, first, state, deterministic=False, generator=generator).state["mean"]
        with torch.no_grad():
            learned = made.nets.world.critic(z, action).mean()
        names = ("loss/consistency", "loss/reward", "loss/value", "value/target", "loss/policy")
        found[precision] = {name: float(losses[name]) for name in names} | {"learned": float(learned)}
        found[precision]["plan"] = 1 + float(plan.abs().mean())
    for name, single in found["single"].items():
        assert found[reduced][name] != single, name
        assert found[reduced][name] == pytest.approx(single, rel=0.02, abs=2e-3), name
