"""A linear-quadratic control problem that looks like a world model: z' = F z + G a, reward -z'Qz - a'Ra.

Its optimal plan is known: the Riccati recursion, as long as no action leaves the box.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor


class LinearQuadratic:
    """One head of everything; the value is the true cost-to-go of a problem without end, so horizons do not matter."""

    def __init__(self, gamma: float) -> None:
        self.gamma, self.actions, self.latent = gamma, 1, 2
        self.f = torch.tensor([[1.0, 0.3], [0.0, 1.0]]).double()
        self.g = torch.tensor([[0.0], [0.3]]).double()
        self.q, self.r = torch.diag(torch.tensor([1.0, 0.1])).double(), torch.tensor([[0.5]]).double()
        self.p, self.k = self._riccati()
        self.config = SimpleNamespace(critic=SimpleNamespace(sees_action=False))
        self.critic = Critic(self.p)
        self.policy = SimpleNamespace(act=lambda z, noise: noise.clamp(-1, 1))  # a policy that knows nothing

    def _riccati(self) -> tuple[Tensor, Tensor]:
        """P = Q + F'(gP)F - F'(gP)G (R + G'(gP)G)^-1 G'(gP)F, and the gain K: a = -K z."""
        p = self.q
        for _ in range(2000):
            gp = self.gamma * p
            k = torch.linalg.solve(self.r + self.g.T @ gp @ self.g, self.g.T @ gp @ self.f)
            p = self.q + self.f.T @ gp @ self.f - self.f.T @ gp @ self.g @ k
        return p, k

    def reward(self, z: Tensor, a: Tensor) -> Tensor:
        """(1, ...)."""
        cost = (z @ self.q * z).sum(-1) + (a @ self.r * a).sum(-1)
        return -cost.unsqueeze(0)

    def dynamics(self, z: Tensor, a: Tensor, *, own: bool = False, chosen: Tensor | None = None) -> Tensor:
        """(1, ..., L)."""
        z = z[0] if own else z
        return (z @ self.f.T + a @ self.g.T).unsqueeze(0)

    def termination(self, z: Tensor) -> Tensor:
        """It goes on."""
        return z.new_ones(z.shape[:-1])

    def optimal(self, z: Tensor, steps: int) -> Tensor:
        """The optimal plan (T, A) from a latent (L,)."""
        plan = []
        for _ in range(steps):
            plan.append(-self.k @ z)
            z = self.f @ z + self.g @ plan[-1]
        return torch.stack(plan)


class Critic:
    """-z'Pz from a single member."""

    def __init__(self, p: Tensor) -> None:
        self.p, self.heads = p, SimpleNamespace(size=1)

    def __call__(self, z: Tensor, *, chosen: Tensor) -> Tensor:
        """(1, ...)."""
        return -(z @ self.p * z).sum(-1).unsqueeze(0)
