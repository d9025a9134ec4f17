"""One world of ManiSkill's PickCube-v1, stepped straight on the SAPIEN objects of its own scene.

ManiSkill builds the scene and the robot with its drives. A step then makes the calls that `BaseEnv.step` makes on the
same objects (drive targets, five substeps), without the tensors, dictionaries and copies around them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bellmark.envs.maniskill import reading, stand_in

Row = NDArray[np.float32]
SUBSTEPS = 5  # 100 Hz physics under 20 Hz control
STILL, NOTHING = np.zeros(9, np.float32), np.zeros(3, np.float32)


@dataclass(frozen=True)
class State:
    """What ManiSkill's own `get_state` holds of a world that moves, as it is written back."""

    qpos: Row  # (9,)
    qvel: Row  # (9,)
    cube: Row  # (7,) position and quaternion
    cube_velocity: Row  # (6,) linear, angular


class Scene:
    """A robot, a cube and a table in PhysX. `row` is what the task reads of them (see `reading`)."""

    def __init__(self) -> None:
        self._env = stand_in.make("sparse")  # owns the objects below
        self._pose = stand_in.load().Pose
        self._px = self._env.scene.px
        agent = self._env.agent
        self._robot = agent.robot._objs[0]
        self._aims = [joint.set_drive_target for joint in self._robot.active_joints]
        self._tool, self._cube = agent.tcp._objs[0], self._env.cube._bodies[0]
        self._left, self._right = agent.finger1_link._objs[0], agent.finger2_link._objs[0]
        self.row = np.zeros(reading.READING, np.float32)

    def begin(self, qpos: Row, cube: Row, goal: Row) -> None:
        """A start state: joints (9,) and the cube's pose (7,) at rest, the goal (3,)."""
        self.put(State(qpos, STILL, cube, np.zeros(6, np.float32)))
        self.row[reading.GOAL] = goal
        self._read()

    def put(self, state: State) -> None:
        """Write a state; `row` stays as it was."""
        self._cube.set_linear_velocity(state.cube_velocity[:3])
        self._cube.set_angular_velocity(state.cube_velocity[3:])
        self._robot.set_qpos(state.qpos)
        self._robot.set_qvel(state.qvel)
        self._robot.set_qf(STILL)
        self._cube.entity.set_pose(self._pose(state.cube[:3], state.cube[3:]))

    def velocity(self) -> Row:
        """(6,) the cube's linear and angular velocity, which `row` has not."""
        return np.concatenate([self._cube.linear_velocity, self._cube.angular_velocity])

    def step(self, targets: list[float]) -> None:
        """One control step towards joint targets (9,)."""
        for aim, target in zip(self._aims, targets, strict=True):
            aim(target)
        step = self._px.step
        for _ in range(SUBSTEPS):
            step()
        self._read()
        self._touch()

    def close(self) -> None:
        """Free the scene."""
        self._env.close()

    def _read(self) -> None:
        row = self.row
        row[reading.QPOS], row[reading.QVEL] = self._robot.qpos, self._robot.qvel
        tool, cube = self._tool.entity_pose, self._cube.entity_pose
        row[19:22], row[22:26], row[29:32], row[32:36] = tool.p, tool.q, cube.p, cube.q
        row[reading.HELD] = 0

    def _touch(self) -> None:
        cube, left, right = self._cube, self._left, self._right
        received = {left: [0.0, 0.0, 0.0], right: [0.0, 0.0, 0.0]}
        for contact in self._px.get_contacts():
            first, second = contact.bodies
            if first == cube:
                finger, sign = second, -1
            elif second == cube:
                finger, sign = first, 1
            else:
                continue
            if finger in received:
                total = received[finger]
                for point in contact.points:
                    x, y, z = point.impulse.tolist()
                    total[0] += sign * x
                    total[1] += sign * y
                    total[2] += sign * z
        self.row[reading.HELD] = all(
            reading.pushes(total, finger.entity_pose.q.tolist(), side)
            for (finger, total), side in zip(received.items(), (1, -1), strict=True)
        )
