"""Forward kinematics of a serial arm for a batch of configurations: exact poses at the current joint angles.

MuJoCo's own `xpos` after a step belongs to the start of its last substep (10 ms old here), and a batched rollout
returns no poses at all; the chain is short enough to multiply out in NumPy, with the constant link transforms read from
the model.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


class Chain:
    """The transform from world to a site through hinge joints about their own z axes."""

    def __init__(self, model: mujoco.MjModel, site: str) -> None:
        site_id = model.site(site).id
        links = []
        body = model.site_bodyid[site_id]
        while body != 0:
            links.append(body)
            body = model.body_parentid[body]
        self._fixed: list[Float] = []  # constant transform before each joint
        pending = np.eye(4)
        for body in reversed(links):
            pending = pending @ _transform(model.body_pos[body], model.body_quat[body])
            if model.body_jntnum[body]:
                self._fixed.append(pending)
                pending = np.eye(4)
        self._tip = pending @ _transform(model.site_pos[site_id], model.site_quat[site_id])

    def __call__(self, angles: Float) -> tuple[Float, Float]:
        """Joint angles (K, J) in radians to site positions (K, 3) in metres and rotation matrices (K, 3, 3)."""
        count = len(angles)
        pose = np.broadcast_to(np.eye(4), (count, 4, 4))
        cos, sin = np.cos(angles)[:, :, None], np.sin(angles)[:, :, None]
        for j, fixed in enumerate(self._fixed):
            pose = (pose.reshape(-1, 4) @ fixed).reshape(count, 4, 4)
            x, y = pose[:, :, 0], pose[:, :, 1]
            turned = cos[:, j] * x + sin[:, j] * y
            pose[:, :, 1] = cos[:, j] * y - sin[:, j] * x
            pose[:, :, 0] = turned
        pose = (pose.reshape(-1, 4) @ self._tip).reshape(count, 4, 4)
        return pose[:, :3, 3], pose[:, :3, :3]


def _transform(position: Any, quaternion: Any) -> Float:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, np.asarray(quaternion, dtype=np.float64))
    out = np.eye(4)
    out[:3, :3] = matrix.reshape(3, 3)
    out[:3, 3] = position
    return out


def quaternions(rotation: Float) -> Float:
    """Rotation matrices (K, 3, 3) to unit quaternions (K, 4), scalar first, sign chosen so that the scalar is >= 0.

    The component of largest magnitude is found first (Shepperd 1978), which keeps the division well conditioned.
    """
    m = rotation
    diagonal = np.stack([m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]], axis=1)
    trace = diagonal.sum(axis=1)
    # Rows of 4 q q^T, one per candidate component w, x, y, z.
    w = np.stack([1 + trace, m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]], axis=1)
    x = np.stack([w[:, 1], 1 + 2 * diagonal[:, 0] - trace, m[:, 0, 1] + m[:, 1, 0], m[:, 0, 2] + m[:, 2, 0]], axis=1)
    y = np.stack([w[:, 2], x[:, 2], 1 + 2 * diagonal[:, 1] - trace, m[:, 1, 2] + m[:, 2, 1]], axis=1)
    z = np.stack([w[:, 3], x[:, 3], y[:, 3], 1 + 2 * diagonal[:, 2] - trace], axis=1)
    rows = np.stack([w, x, y, z], axis=1)
    largest = np.argmax(np.stack([w[:, 0], x[:, 1], y[:, 2], z[:, 3]], axis=1), axis=1)
    q = rows[np.arange(len(m)), largest]
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    return np.where(q[:, :1] < 0, -q, q)
