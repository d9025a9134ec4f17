"""Records: the folder in which one process writes a run and from which everything else reads it."""

from __future__ import annotations

from bellmark.records.attempts import Attempt, standing
from bellmark.records.checkpoints import Checkpoint, CheckpointStore
from bellmark.records.index import Index, Latest, Row, open_run
from bellmark.records.layout import (
    STATES,
    FinalState,
    RunMeta,
    RunStatus,
    State,
    create_run,
    now_utc,
    read_meta,
    read_status,
    write_atomic,
)
from bellmark.records.longer import begin_from
from bellmark.records.metrics import Curve
from bellmark.records.provenance import Provenance, collect_provenance
from bellmark.records.reader import Damage, Run, scan, survey
from bellmark.records.small import SMALL, small_record
from bellmark.records.writer import RunWriter

__all__ = [
    "SMALL",
    "STATES",
    "Attempt",
    "Checkpoint",
    "CheckpointStore",
    "Curve",
    "Damage",
    "FinalState",
    "Index",
    "Latest",
    "Provenance",
    "Row",
    "Run",
    "RunMeta",
    "RunStatus",
    "RunWriter",
    "State",
    "begin_from",
    "collect_provenance",
    "create_run",
    "now_utc",
    "open_run",
    "read_meta",
    "read_status",
    "scan",
    "small_record",
    "standing",
    "survey",
    "write_atomic",
]
