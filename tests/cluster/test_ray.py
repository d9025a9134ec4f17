"""The Ray launcher on several simulated nodes of this machine, with real training runs."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from disturbed import check, no_orphans, said, saved, started, wait_for, write_sweep

Curves = dict[str, object]
PATIENCE = 240


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        yield found
    finally:
        found.shutdown()


def launched(cluster: Any, file: Path, root: Path) -> subprocess.Popen[bytes]:
    return started(file, root, "--launcher", "ray", "--address", cluster.address)


def finish(launcher: subprocess.Popen[bytes], root: Path) -> None:
    assert launcher.wait(PATIENCE) == 0, root.with_suffix(".out").read_text()


def test_node_removal_and_a_killed_launcher(cluster: Any, undisturbed: Curves, tmp_path: Path) -> None:
    file, root = write_sweep(tmp_path), tmp_path / "runs"
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    launcher = launched(cluster, file, root)
    wait_for(saved(root, step=1_000), PATIENCE, "checkpoints on both nodes")
    cluster.remove_node(nodes[0], allow_graceful=False)
    nodes[0] = cluster.add_node(num_cpus=1)
    wait_for(lambda: _attempts(root) >= 3, PATIENCE, "the lost run to go on elsewhere")
    launcher.kill()
    launcher.wait()
    no_orphans(root)  # Ray ends its tasks, and their runs save themselves
    finish(launched(cluster, file, root), root)
    check(root, undisturbed, resumed=1)
    no_orphans(root)
    for node in nodes:
        cluster.remove_node(node)


def test_ctrl_c_saves_and_the_same_command_continues(cluster: Any, undisturbed: Curves, tmp_path: Path) -> None:
    file, root = write_sweep(tmp_path), tmp_path / "runs"
    node = cluster.add_node(num_cpus=2)
    launcher = launched(cluster, file, root)
    wait_for(saved(root, step=1_000), PATIENCE, "checkpoints")
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(PATIENCE) == 75, root.with_suffix(".out").read_text()
    no_orphans(root)
    finish(launched(cluster, file, root), root)
    check(root, undisturbed)
    no_orphans(root)
    cluster.remove_node(node)


def test_a_request_that_no_node_can_hold_is_refused(cluster: Any, tmp_path: Path) -> None:
    file, root = write_sweep(tmp_path), tmp_path / "runs"
    launcher = launched(cluster, file, root)  # the head alone, which has no CPU
    assert launcher.wait(PATIENCE) == 2
    assert "no node of the Ray cluster holds a run (cpus=1" in said(root)
    elsewhere = started(file, root, "--launcher", "ray", "--address", "127.0.0.1:9")
    assert elsewhere.wait(PATIENCE) == 2
    assert "no Ray cluster answers there" in said(root)


def _attempts(root: Path) -> int:
    return sum(log.read_text().count(" begins (process") for log in root.glob("*/*/log.txt"))
