"""TensorBoard event files: written with its own writer, read back record by record.

Scalars are tensors of double precision, so that a value read back is the value written; TensorBoard shows them like
any other scalar. The run's facts travel as a text summary called `bellmark/run`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bellmark.errors import UserError
from bellmark.records import RunMeta
from bellmark.trackers.imported import Foreign

FACTS = "bellmark/run"
_BYTES = 200_000_000  # of events waiting to be written, far above what a run logs between two flushes


class TensorboardSink:
    """Writes one event file below a folder."""

    def __init__(self, meta: RunMeta, folder: Path) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder.mkdir(parents=True, exist_ok=True)
        fresh = not any(folder.glob("*tfevents*"))
        self._writer = EventFileWriter(str(folder), max_queue_size=_BYTES, flush_secs=60)
        if fresh:
            self._session(0, 0.0)  # TensorBoard takes the first start for the run's beginning, later ones for rewinding
        self._facts(meta)

    def _session(self, step: int, when: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        start = SessionLog(status=SessionLog.START)
        self._writer.add_event(Event(wall_time=when, step=step, session_log=start))

    def _facts(self, meta: RunMeta) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING

        tensor = TensorProto(dtype=DT_STRING, string_val=[msgspec.json.encode(meta)])
        plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        value = Summary.Value(tag=FACTS, metadata=plugin, tensor=tensor)
        self._writer.add_event(Event(step=0, summary=Summary(value=[value])))

    def write(self, step: int, when: float, attempt: int, metrics: Mapping[str, float]) -> None:
        """All metrics of a row as one event."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_DOUBLE

        plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
        values = [
            Summary.Value(tag=name, metadata=plugin, tensor=TensorProto(dtype=DT_DOUBLE, double_val=[float(value)]))
            for name, value in metrics.items()
        ]
        self._writer.add_event(Event(wall_time=when, step=step, summary=Summary(value=values)))

    def rewind(self, step: int, when: float) -> None:
        """TensorBoard drops what it has at and past the step of a session's start."""
        self._session(step + 1, when)

    def flush(self) -> None:
        """Write out what is waiting."""
        self._writer.flush()

    def close(self, state: str) -> None:
        """Close the file."""
        self._writer.close()


def open_sink(meta: RunMeta, folder: Path) -> TensorboardSink:
    """The sink of a run; every attempt writes a file of its own into the same folder."""
    return TensorboardSink(meta, folder)


def read(path: Path) -> Iterator[Foreign]:
    """Every run below a log folder: a folder with event files is one run.

    Raises:
        UserError: no event file.
    """
    files: dict[Path, list[Path]] = {}
    found = [path] if path.is_file() else sorted(path.rglob("*tfevents*"))
    for file in found:
        files.setdefault(file.parent, []).append(file)
    if not files:
        raise UserError(f"{path}: no TensorBoard event file (*tfevents*) here")
    for folder, parts in files.items():
        name = folder.resolve().name if folder == path else folder.relative_to(path.parent if path.is_file() else path)
        yield _run(str(name).replace("/", "__"), parts)


def _run(name: str, files: list[Path]) -> Foreign:
    curves: dict[str, dict[int, float]] = {}
    facts: dict[str, Any] = {}
    for file in files:
        for event in _events(file):
            if event.WhichOneof("what") == "session_log" and event.step:
                for points in curves.values():
                    for step in [s for s in points if s >= event.step]:
                        del points[step]
            for value in event.summary.value:
                if value.tag == FACTS:
                    facts = msgspec.json.decode(value.tensor.string_val[0])
                    continue
                number = _number(value)
                if number is not None:
                    curves.setdefault(value.tag, {})[event.step] = number
    return Foreign(
        name=str(facts.get("name", name)),
        source="tensorboard",
        curves={tag: sorted(points.items()) for tag, points in curves.items()},
        meta=facts,
    )


def _events(file: Path) -> Iterator[Any]:
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    for raw in RawEventFileLoader(str(file)).Load():
        yield Event.FromString(raw)


def _number(value: Any) -> float | None:
    """The scalar of a summary, old style or tensor; None for pictures, texts and histograms."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind != "tensor" or value.metadata.plugin_data.plugin_name not in ("scalars", ""):
        return None
    from tensorboard.util import tensor_util

    try:
        array = tensor_util.make_ndarray(value.tensor)
    except (TypeError, ValueError):
        return None
    return float(array.reshape(())) if array.size == 1 and array.dtype.kind in "fiu" else None
