"""A worker that keeps the runner contract and whose every number depends on all before it: `chain.py RUN_DIR`.

Its state is a chain of hashes; a step logs what the hash says, and every few steps all of it is saved. So one step too
many, too few, or out of order is seen at the end. `BELLMARK_FAULT=what:n` kills it at the n-th time it is about to ...
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

from bellmark.records import Run, RunWriter, layout, writer

SAVE_EVERY = 20
PAYLOAD = 30_000  # bytes of a checkpoint


def main(folder: Path) -> int:
    run = Run(folder)
    total, pause = run.meta.steps, run.meta.config["pause"]
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    plan_fault(os.environ.get("BELLMARK_FAULT", ""))
    with RunWriter(folder) as record:
        last = record.checkpoints.last()
        state, step = (b"start", 0) if last is None else _unpacked(last.read())
        if last is not None:
            record.resume(step)
        while step < total:
            if asked:
                record.checkpoint(step, _packed(state, step))
                record.finish("preempted", "asked to stop")
                return 75
            step, state = step + 1, hashlib.sha256(state).digest()
            record.log(step, {f"value/{i}": byte / 7 for i, byte in enumerate(state)} | {"eval/success": step / total})
            record.beat(step, total)
            if step % SAVE_EVERY == 0 or step == total:
                record.checkpoint(step, _packed(state, step), metric=step / total)
            time.sleep(pause)
        record.finish("done")
    return 0


def plan_fault(fault: str) -> None:
    """Die at the n-th `write`, `half-write`, `fsync` or `rename` from now."""
    if not fault:
        return
    what, _, n = fault.partition(":")
    name = {"write": "write", "half-write": "write", "fsync": "fsync", "rename": "replace"}[what]
    real, left = getattr(os, name), [int(n)]

    def dying(*args: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            if what == "half-write":  # what a crash of the whole machine can leave
                real(args[0], args[1][: len(args[1]) // 2])  # type: ignore[index, arg-type]
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)

    for module in (layout, writer):
        module.os = type("Os", (), {**vars(os), name: staticmethod(dying)})  # type: ignore[attr-defined]


def _packed(state: bytes, step: int) -> bytes:
    body = step.to_bytes(8, "big") + state
    return body + hashlib.sha256(body).digest() * (PAYLOAD // 32)


def _unpacked(data: bytes) -> tuple[bytes, int]:
    body = data[: len(data) - 32 * (PAYLOAD // 32)]
    assert data == body + hashlib.sha256(body).digest() * (PAYLOAD // 32), "a checkpoint that is not what was saved"
    return body[8:], int.from_bytes(body[:8], "big")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
