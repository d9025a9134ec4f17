"""`bellmark envs`: lists, shows and measures; figures are remembered for these versions only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from bellmark.cli import envs as module
from bellmark.cli.envs import envs
from bellmark.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "bellmark" / "envs.json"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(envs, list(arguments), catch_exceptions=False)


def test_list_shows_every_task_of_a_suite_with_its_facts() -> None:
    done = call("list", "cartpole")
    assert done.exit_code == 0
    for word in ("cartpole/pixels", "64x64x3 uint8", "2 choices", "500", "bitwise", "steps/s"):
        assert word in done.output


def test_a_measured_speed_is_remembered(cache: Path) -> None:
    done = call("bench", "probe/policy", "--num-envs", "8", "--seconds", "0.05", "--json")
    found = json.loads(done.output)
    assert found["task"] == "probe/policy" and found["steps_per_second"] > 0
    rows = {row["task"]: row for row in json.loads(call("list", "probe", "--json").output)}
    assert rows["probe/policy"]["speed"] == {k: found[k] for k in ("steps_per_second", "num_envs", "threads")}
    assert rows["probe/constant"]["speed"] is None and rows["probe/constant"]["horizon"] == 1
    stored = json.loads(cache.read_text())
    cache.write_text(json.dumps({**stored, "versions": {"bellmark": "0"}}))
    assert all(row["speed"] is None for row in json.loads(call("list", "probe", "--json").output))


def test_a_damaged_memory_is_begun_anew(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("{")
    assert call("list", "probe").exit_code == 0 and json.loads(cache.read_text())["tasks"]


def test_facts_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    call("list", "cartpole")
    monkeypatch.setattr("bellmark.envs.facts.describe", pytest.fail)
    assert "cartpole" in call("list", "cartpole").output


def test_show_names_facts_and_options() -> None:
    output = call("show", "cartpole").output
    assert "restores" in output and "observation=state" in output and "state | pixels" in output
    row = json.loads(call("show", "gym/Pendulum-v1", "--json").output)
    assert row["horizon"] == 200 and row["config"]["env"] == "Pendulum-v1"


def test_bad_names_are_one_line() -> None:
    with pytest.raises(UserError, match="did you mean cartpole"):
        call("show", "cartpol")
    with pytest.raises(UserError, match="unknown suite 'dm'"):
        call("list", "dm")
    with pytest.raises(UserError, match="module"):
        call("show", "no_such_module:Env")


def test_show_films_an_episode_of_random_actions(tmp_path: Path) -> None:
    done = call("show", "cartpole", "--video", str(tmp_path / "deep" / "pole.mp4"), "--json")
    film = Path(json.loads(done.output)["video"])
    assert film.parent == tmp_path / "deep" and film.stat().st_size > 1000


def test_a_failed_world_is_written_and_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dm_control")
    from bellmark.envs.dmc import make_dmc

    monkeypatch.setenv("BELLMARK_FAILURES", str(tmp_path))
    for task in ("pendulum-swingup", "point-mass-easy"):  # on the engine, and through dm_control
        env = make_dmc(task, 2)
        env.reset(seed=0)
        actions = np.zeros(env.action_space.shape or ())
        actions[1] = np.inf
        env.step(actions)
        env.close()
    files = sorted(tmp_path.glob("*.npz"))
    assert [file.name.split("-2")[0] for file in files] == ["dmc-pendulum-swingup", "dmc-point-mass-easy"]
    for file in files:
        done = call("replay", str(file))
        assert done.exit_code == 0, done.output
        assert "world 1 ended as failed: non-finite action" in done.output
        assert "again: non-finite action" in done.output
    (tmp_path / "other.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a failed world"):
        call("replay", str(tmp_path / "other.npz"))


def test_a_mended_world_is_not_said_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dm_control")
    from bellmark.envs import failures
    from bellmark.envs.dmc import make_dmc

    monkeypatch.setenv("BELLMARK_FAILURES", str(tmp_path))
    env = make_dmc("pendulum-swingup", 1)
    env.reset(seed=0)
    kept = failures.Failures({"kind": "dmc", "task": "pendulum-swingup", "action_repeat": 2})
    kept.add(failures.Failure(0, "BADQACC", env.simulation.save(np.array([0])), np.zeros(1)))
    done = call("replay", str(kept.files[0]))
    assert done.exit_code == 1
    assert "without failing" in done.output


def test_bench_checks_all_names_before_it_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bellmark.envs.facts.measure", lambda *_: pytest.fail("measured"))
    with pytest.raises(UserError, match="h1-walk"):
        call("bench", "cartpole", "h1-wal")


def test_tasks_are_completed() -> None:
    items = module.TaskName().shell_complete(None, None, "probe/t")  # type: ignore[arg-type]
    assert [item.value for item in items] == ["probe/terminal", "probe/time-limit"]
