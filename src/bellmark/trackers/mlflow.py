"""MLflow: one MLflow run per run, in the store that MLFLOW_TRACKING_URI names, by default folders below ./mlruns.

MLflow 3.17 wants a database and calls its folders "in maintenance mode"; the small client (`mlflow-skinny`) has no
database, so the folders are asked for by its own switch. Databases and servers are handed on to MLflow as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from bellmark.errors import UserError
from bellmark.records import RunMeta
from bellmark.trackers.imported import Foreign
from bellmark.trackers.sinks import flat_config

FACTS = "bellmark.run"
ID = "bellmark.fingerprint"
EXPERIMENT = "bellmark"
MOST_METRICS, MOST_PARAMS, MOST_TEXT = 1000, 100, 6000  # what one call, and one value, may hold
_STATES = {"done": "FINISHED", "preempted": "KILLED", "stopped": "KILLED"}
_FROM = {"FINISHED": "done", "KILLED": "preempted", "FAILED": "failed", "RUNNING": "lost", "SCHEDULED": "pending"}


def client(address: str) -> Any:
    """MLflow's client for a store."""
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=address)


def address_of(folder: Path) -> str:
    """The store to use: the environment's, else folders below `folder`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or folder.resolve().as_uri()


class MlflowSink:
    """Writes one MLflow run; a later attempt at the same run continues it."""

    def __init__(self, meta: RunMeta, folder: Path) -> None:
        self._client = client(address_of(folder))
        name = meta.sweep or EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        self._experiment = experiment.experiment_id if experiment else self._client.create_experiment(name)
        self._waiting: list[Any] = []
        former = self._client.search_runs([self._experiment], f"tags.`{ID}` = '{meta.fingerprint}'", max_results=1)
        if former:
            self._id = former[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._create(meta)

    def _create(self, meta: RunMeta) -> str:
        from mlflow.entities import Param

        text = msgspec.json.encode(meta).decode()
        pieces = {f"{FACTS}.{i}": text[n : n + 4000] for i, n in enumerate(range(0, len(text), 4000))}
        tags = {ID: meta.fingerprint, "bellmark.task": meta.task, "bellmark.seed": str(meta.seed), **pieces}
        made = self._client.create_run(self._experiment, run_name=meta.name, tags=tags)
        params = [Param(key, str(value)[:MOST_TEXT]) for key, value in flat_config(meta).items()]
        for start in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(made.info.run_id, params=params[start : start + MOST_PARAMS])
        return str(made.info.run_id)

    def write(self, step: int, when: float, attempt: int, metrics: Mapping[str, float]) -> None:
        """Kept until the next flush: MLflow takes milliseconds per call."""
        from mlflow.entities import Metric

        self._waiting += [Metric(name, float(value), int(when * 1000), step) for name, value in metrics.items()]

    def rewind(self, step: int, when: float) -> None:
        """Nothing: MLflow keeps every value; at a step the latest counts."""

    def flush(self) -> None:
        """Send what is waiting."""
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST_METRICS], self._waiting[MOST_METRICS:]
            self._client.log_batch(self._id, metrics=batch)

    def close(self, state: str) -> None:
        """Say how it ended."""
        self.flush()
        self._client.set_terminated(self._id, status=_STATES.get(state, "FAILED"))


def open_sink(meta: RunMeta, folder: Path) -> MlflowSink:
    """The sink of a run."""
    return MlflowSink(meta, folder)


def read(path: Path) -> Iterator[Foreign]:
    """Every run of a store, given as a folder (or as an address such as sqlite:///mlflow.db).

    Raises:
        UserError: no such store, or no run in it.
    """
    address = _address(path)
    runs = 0
    try:
        store = client(address)
        for experiment in store.search_experiments():
            for run in store.search_runs([experiment.experiment_id], max_results=50_000):
                runs += 1
                yield _run(store, run)
    except _failures() as error:
        raise UserError(f"MLflow store {address}: {' '.join(str(error).split())[:200]}") from None
    if not runs:
        raise UserError(f"{path}: no run in this MLflow store")


def _address(path: Path) -> str:
    """A store's address; a path keeps one slash of the `sqlite:///` or `http://` that was typed."""
    scheme, mark, rest = str(path).partition(":/")
    if mark and scheme.isalpha():
        if scheme not in ("http", "https", "file") and find_spec("sqlalchemy") is None:
            raise UserError(
                f"{scheme} stores of MLflow need SQLAlchemy: pip install mlflow, or export the runs to folders"
            )
        return f"{scheme}://{'' if scheme.startswith('http') else '/'}{rest.lstrip('/')}"
    if not path.is_dir():
        raise UserError(f"{path}: no MLflow store here")
    return path.resolve().as_uri()


def _failures() -> tuple[type[Exception], ...]:
    """What MLflow raises for a store that it cannot read."""
    from mlflow.exceptions import MlflowException

    return MlflowException, OSError


def _run(store: Any, run: Any) -> Foreign:
    tags = dict(run.data.tags)
    pieces = [tags[key] for i in range(len(tags)) if (key := f"{FACTS}.{i}") in tags]
    facts = msgspec.json.decode("".join(pieces)) if pieces else {}
    params = {key: _typed(value) for key, value in run.data.params.items()}
    curves = {}
    for name in run.data.metrics:
        points: dict[int, float] = {}
        for metric in sorted(store.get_metric_history(run.info.run_id, name), key=lambda m: m.timestamp):
            points[metric.step] = metric.value
        curves[name] = sorted(points.items())
    seed = params.get("seed")
    return Foreign(
        name=run.info.run_name or run.info.run_id,
        source="mlflow",
        curves=curves,
        config=params,
        seed=seed if isinstance(seed, int) else 0,
        state=_FROM.get(run.info.status, "failed"),
        created=datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds"),
        commit=tags.get("mlflow.source.git.commit"),
        meta=facts,
    )


def _typed(text: str) -> Any:
    """A parameter as a number where it is one: MLflow keeps text only."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"True": True, "False": False}.get(text, text)
