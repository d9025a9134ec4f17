"""MPPI in plain loops over problems, candidates, heads and steps: what `agents/tdmpc/planner.py` must equal.

It takes its random numbers in the planner's order, so that the same generator gives the same plan.
"""

from __future__ import annotations

import math
import statistics

import torch


def reduce(name, numbers):
    return {"mean": statistics.fmean, "min": min, "max": max}[name](numbers)


def spread(numbers):
    return statistics.stdev(numbers) if len(numbers) > 1 else 0.0


def score(world, critic, s, z, plan, members, noise):
    """One plan (T, A) from one latent (L,): noise(depth, head) gives the policy's noise (A,) where values need it."""
    with_heads, latents = [], []
    count = 1 if s.first_head else len(world.dynamics(z, plan[0]))
    for h in range(count):
        x, total, variance, alive, discount, depths = z, 0.0, 0.0, 1.0, 1.0, []
        for t, a in enumerate(plan):
            rewards = world.reward(x, a).tolist()
            total += discount * alive * reduce(s.rewards, rewards)
            variance += (discount * alive * spread(rewards)) ** 2
            x = world.dynamics(x, a)[h]
            alive *= float(world.termination(x) if s.ends == "certain" else 1 - world.termination.logit(x).sigmoid())
            discount *= s.discount
            if s.every_depth or t == len(plan) - 1:
                action = [world.policy.act(x, noise(len(depths), h))] if world.config.critic.sees_action else []
                values = [float(critic(x, *action)[m]) for m in members]
                value = discount * alive * reduce(s.values, values)
                std = math.sqrt(variance + (discount * alive * spread(values)) ** 2)
                depths.append(total + value + s.optimism * std)
        with_heads.append(statistics.fmean(depths))
        latents.append(x)
    disagreement = float(torch.stack(latents).var(0).mean()) if count > 1 else 0.0
    return reduce(s.dynamics, with_heads) + s.disagreement * disagreement


def plan(world, s, z, mean, generator, critic=None, act=None):
    """The planner's answer (action, chosen, mean, std, value) for problems (P, L) from means (P, T, A)."""
    critic, act = critic or world.critic, act or world.policy.act
    problems, width = len(z), world.actions
    size = critic.heads.size
    members = list(range(size))
    if 0 < s.members < size:
        members = torch.rand(size, generator=generator).argsort()[: s.members].tolist()
    heads = 1 if s.first_head else len(world.dynamics(z, mean[:, 0]))
    depths = s.horizon if s.every_depth else 1

    def draw(*shape):
        return torch.randn(shape, generator=generator).to(z)

    def scores(plans):  # (P)(S)(T, A)
        noise = [draw(heads, problems, len(plans[0]), width) for _ in range(depths * world.config.critic.sees_action)]
        return [
            [
                score(world, critic, s, z[p], c, members, lambda d, h, p=p, i=i: noise[d][h, p, i])
                for i, c in enumerate(plans[p])
            ]
            for p in range(problems)
        ]

    x = z.unsqueeze(1).expand(-1, s.policy_plans, -1)
    steps = []
    for t in range(s.horizon):
        if t and s.policy_plans:
            x = world.dynamics(x, steps[-1])[0]
        steps.append(
            act(x, draw(problems, s.policy_plans, width)) if s.policy_plans else x.new_empty(problems, 0, width)
        )
    seeds = torch.stack(steps, 2)  # (P, S, T, A)
    if s.policy_noise:
        extra = draw(s.horizon, problems, s.policy_plans, width)
        seeds = (seeds + s.policy_noise * extra.permute(1, 2, 0, 3)).clamp(-1, 1)
    seed_scores = scores([list(seeds[p]) for p in range(problems)]) if s.policy_plans else [[] for _ in range(problems)]
    mean, std = mean.clone(), torch.full_like(mean, s.max_std)
    for _ in range(s.iterations):
        noise = draw(s.horizon, problems, s.samples, width)
        free = [[(mean[p] + std[p] * noise[:, p, i]).clamp(-1, 1) for i in range(s.samples)] for p in range(problems)]
        free_scores = scores(free)
        elites = []
        for p in range(problems):
            candidates = [*zip(seed_scores[p], seeds[p], strict=True), *zip(free_scores[p], free[p], strict=True)]
            best = sorted(candidates, key=lambda pair: -pair[0])[: s.elites]
            top = best[0][0]
            weights = [math.exp(s.sharpness * (g - top)) for g, _ in best]
            weights = [w / sum(weights) for w in weights]
            mean[p] = sum(w * a for w, (_, a) in zip(weights, best, strict=True))
            variance = sum(w * (a - mean[p]) ** 2 for w, (_, a) in zip(weights, best, strict=True))
            std[p] = variance.sqrt().clamp(s.min_std, s.max_std)
            elites.append((weights, best))
    count = len(elites[0][1])
    race = [[1.0] * count] * problems
    if not s.best:
        race = torch.empty(problems, count).exponential_(generator=generator).tolist()
    chosen, value = [], []
    for (weights, best), keys in zip(elites, race, strict=True):
        at = 0 if s.best else max(range(count), key=lambda i: weights[i] / keys[i])
        chosen.append(best[at][1][0])
        value.append(best[at][0])
    chosen = torch.stack(chosen)
    action = chosen
    if s.noise or s.fixed_noise:
        width_of_noise = ((s.noise * std[:, 0]) ** 2 + s.fixed_noise**2).sqrt()
        action = (chosen + width_of_noise * draw(problems, width)).clamp(-1, 1)
    return action, chosen, mean, std, torch.tensor(value).to(z)
