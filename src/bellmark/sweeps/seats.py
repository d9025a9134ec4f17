"""Seats of a machine: how many runs go on at once, on which GPU and CPUs each, and what keeps them there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from bellmark.errors import UserError
from bellmark.sweeps.schema import Resources

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BELLMARK_THREADS",
)


@dataclass(frozen=True)
class Seat:
    """Where one run at a time may work."""

    gpus: tuple[str, ...]  # as CUDA_VISIBLE_DEVICES names them; none hides all GPUs
    cpus: tuple[int, ...]  # the only ones to run on; none leaves the choice to the system
    threads: int

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """The environment of a worker in this seat. Idle OpenMP threads sleep instead of spinning on others' cores."""
        threads = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        return {**base, **threads, "OMP_WAIT_POLICY": "passive", "CUDA_VISIBLE_DEVICES": ",".join(self.gpus)}


@dataclass(frozen=True)
class Machine:
    """What this machine has to share out."""

    cpus: tuple[int, ...]
    gpus: tuple[str, ...]
    memory: int  # bytes free now
    total: int = 0  # bytes in all; 0 where unknown

    @staticmethod
    def here() -> Machine:
        """The machine as this process may use it."""
        cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        memory = psutil.virtual_memory()
        return Machine(tuple(cpus), _gpus(), memory.available, memory.total)


def _gpus() -> tuple[str, ...]:
    """The GPUs that a process started here would see; none where there is no driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(gpu.strip() for gpu in visible.split(",") if gpu.strip())
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(str(n) for n, line in enumerate(line for line in listing.splitlines() if line.startswith("GPU")))


def seats(
    resources: Resources,
    machine: Machine,
    *,
    workers: int | None = None,
    threads: int | None = None,
    pin: bool = False,
) -> tuple[list[Seat], list[str]]:
    """The seats for runs with these needs, and what is worth saying about them.

    Without `workers`, as many as CPUs, GPUs and free memory hold; asked for more, GPUs still bound the number.

    Raises:
        UserError: one run alone needs more GPUs or memory, or with `pin` all together more CPUs, than there are.
    """
    if machine.total and resources.memory_bytes > machine.total:
        raise UserError(
            f"resources.memory={resources.memory}, but this machine has {machine.total / 2**30:.1f} GiB; lower it, or "
            "run the sweep on a cluster (--launcher slurm, ray)"
        )
    threads = threads or resources.cpus
    places = _gpu_places(resources.gpus, machine.gpus)
    fit = max(1, len(machine.cpus) // threads)
    if resources.memory_bytes:
        fit = max(1, min(fit, machine.memory // resources.memory_bytes))
    wanted = workers or fit
    notes = []
    if places is not None and (workers or len(places)) > len(places):
        notes.append(f"{workers} workers asked for, but the GPUs hold {len(places)} runs at once")
    count = wanted if places is None else min(wanted, len(places))
    if count * threads > len(machine.cpus):
        notes.append(
            f"{count} workers x {threads} threads share {len(machine.cpus)} CPUs: expect them to slow each other"
        )
    if pin and count * threads > len(machine.cpus):
        raise UserError(f"--pin: {count} workers x {threads} threads need more than the {len(machine.cpus)} CPUs here")
    return [
        Seat(
            gpus=() if places is None else places[i],
            cpus=machine.cpus[i * threads : (i + 1) * threads] if pin else (),
            threads=threads,
        )
        for i in range(count)
    ], notes


def _gpu_places(need: float, gpus: Sequence[str]) -> list[tuple[str, ...]] | None:
    """The GPUs of each run that fits at once, spread over the GPUs first; None where runs need none."""
    if need == 0:
        return None
    if need > len(gpus):
        found = f"{len(gpus)} visible ({', '.join(gpus)})" if gpus else "none is visible here"
        raise UserError(f"resources.gpus={need:g}, but {found}; lower it, or set resources.gpus=0 to run on the CPU")
    if need < 1:
        return [(gpu,) for _ in range(int(1 / need + 1e-9)) for gpu in gpus]
    step = int(need)
    return [tuple(gpus[i : i + step]) for i in range(0, len(gpus) - step + 1, step)]
