"""A stand-in for `bellmark run-cell RUN_DIR`: honours the runner contract, or breaks it as its configuration says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from bellmark.records import Run, RunWriter

ENVIRONMENT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY", "BELLMARK_THREADS")


def main(folder: Path) -> int:
    config = Run(folder).meta.config
    behave, total = config["behave"], config["steps"]
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: None if behave == "deaf" else asked.append(number))
    if behave == "bad_input":
        print("starting\nbellmark: error: gamma=7 is too much", flush=True)
        return 2
    if behave == "parent":  # a child of the worker, in a session of its own
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        (folder / "child").write_text(str(child.pid))
    mark = folder / "step"
    start = int(mark.read_text()) if mark.exists() else 0
    seen = {name: os.environ.get(name) for name in (*ENVIRONMENT, "CUDA_VISIBLE_DEVICES")}
    seen["cpus"] = sorted(os.sched_getaffinity(0))
    (folder / f"env-{start}.json").write_text(json.dumps(seen))
    with RunWriter(folder) as writer:
        for step in range(start + 1, total + 1):
            writer.log(step, {"eval/success": step / total})
            writer.beat(step, total, **{"eval/success": step / total})
            mark.write_text(str(step))
            if behave == "crash" and step == 2:
                raise RuntimeError("boom")
            if behave == "ill" and step == 2:
                writer.finish("stopped", "loss/value is not finite")
                return 0
            if behave == "killed" and step == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            if asked or (behave == "requeue" and step == start + 4) or behave == "stuck":
                if behave == "stuck":
                    mark.write_text(str(start))
                writer.finish("preempted", "asked to stop")
                return 75
            time.sleep(0 if os.environ.get("HURRY") else config["pause"])
        writer.finish("done")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
