"""One MuJoCo engine for every suite: one model, n data, a pool of threads, and tasks handed in as functions."""

from bellmark.envs.engine.simulation import MujocoSimulation
from bellmark.envs.engine.task import Floats, MujocoTask, World, once, refreshed, stepped

__all__ = ["Floats", "MujocoSimulation", "MujocoTask", "World", "once", "refreshed", "stepped"]
