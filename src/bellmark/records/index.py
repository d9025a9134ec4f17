"""The reader's index over many runs: one SQLite file that holds nothing the run folders do not.

It is a cache and may be deleted, or damaged, at any time: the next call builds it anew. A refresh reads again only the
files whose size, time or inode changed. Where the root cannot be written, or its file system cannot lock, the index
lives in memory for the length of the call. Whether a run is lost is worked out at reading, never stored.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from bellmark.errors import UserError, unknown
from bellmark.records.layout import INDEX, METRICS, RUN, STATUS, RunMeta, RunStatus, State, read_meta
from bellmark.records.reader import Damage, Run, folders, judged, read_metrics, recorded_status

VERSION = 1
_BUSY_SECONDS = 10.0
# The file cannot be opened, written or locked here, which no rebuilding mends; any other error means damage.
_UNUSABLE = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
    }
)
_TABLES = """
CREATE TABLE runs (
    path TEXT PRIMARY KEY, meta_stamp TEXT NOT NULL, status_stamp TEXT NOT NULL, metrics_stamp TEXT NOT NULL,
    meta TEXT, status TEXT, problem TEXT,
    name TEXT, "group" TEXT, sweep TEXT, arm TEXT, task TEXT, seed INTEGER, fingerprint TEXT
);
CREATE INDEX by_fingerprint ON runs (fingerprint);
CREATE INDEX by_sweep ON runs (sweep);
CREATE TABLE latest (
    path TEXT NOT NULL, metric TEXT NOT NULL, step INTEGER NOT NULL, value REAL,
    PRIMARY KEY (path, metric)
) WITHOUT ROWID;
"""

T = TypeVar("T")


class Latest(NamedTuple):
    """The last value of a metric that counts."""

    step: int
    value: float


class Row(NamedTuple):
    """One run as a listing needs it, without opening its folder."""

    path: Path
    meta: RunMeta
    status: RunStatus  # "lost" worked out
    latest: dict[str, Latest]


class Index:
    """All runs below one root.

    Args:
        root: the folder that holds the run folders, at any of the first three levels.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.file = self.root / INDEX

    def refresh(self) -> list[Damage]:
        """Bring the index up to date with the folders; returns the run folders that cannot be read."""
        return self._using(lambda db: _damaged(db, self.root))

    def rebuild(self) -> list[Damage]:
        """Forget everything and read all folders anew; returns the run folders that cannot be read."""
        self._remove()
        return self.refresh()

    def rows(
        self,
        *,
        sweep: str | None = None,
        group: str | None = None,
        task: str | None = None,
        state: State | None = None,
    ) -> list[Row]:
        """The runs that match every given filter, in order of path; refreshes first."""
        wanted = {"sweep": sweep, "group": group, "task": task}
        rows = self._using(lambda db: _rows(db, self.root, {k: v for k, v in wanted.items() if v is not None}))
        return [row for row in rows if state is None or row.status.state == state]

    def find(self, fingerprint: str) -> list[Row]:
        """The runs that do exactly this work (same configuration, task and seed); refreshes first."""
        return self._using(lambda db: _rows(db, self.root, {"fingerprint": fingerprint}))

    def _using(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Refresh and read in one connection; a damaged file is thrown away, an unusable one replaced by memory."""
        for _ in range(2):
            try:
                with _opened(str(self.file)) as db:
                    _refresh(db, self.root)
                    return read(db)
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF in _UNUSABLE:
                    break
                self._remove()
            except msgspec.DecodeError:
                self._remove()
        with _opened(":memory:") as db:
            _refresh(db, self.root)
            return read(db)

    def _remove(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            try:
                self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)
            except OSError:
                continue  # a root that cannot be written: the caller falls back to memory


@contextmanager
def _opened(file: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file, timeout=_BUSY_SECONDS, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")  # a cache: what a power cut breaks is built anew
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                db.execute(f'DROP TABLE "{name}"')
            for statement in filter(str.strip, _TABLES.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
        yield db
        db.execute("COMMIT")


class _Stamps(NamedTuple):
    meta: str
    status: str
    metrics: str


def _stamp(file: Path) -> str:
    try:
        found = file.stat()
    except OSError:
        return "none"
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_ino}"


def _refresh(db: sqlite3.Connection, root: Path) -> None:
    query = "SELECT path, meta_stamp, status_stamp, metrics_stamp FROM runs"
    known = {path: _Stamps(*stamps) for path, *stamps in db.execute(query)}
    for folder in folders(root):
        path = folder.relative_to(root).as_posix()
        former = known.pop(path, None)
        # stamps are taken before the files are read: what changes in between is read again next time
        stamps = _Stamps(_stamp(folder / RUN), _stamp(folder / STATUS), _stamp(folder / METRICS))
        if former is None or former.meta != stamps.meta:
            _read_run(db, folder, path, stamps)
            former = None
        elif former.status != stamps.status:
            _read_status(db, folder, path, stamps)
        if former is None or former.metrics != stamps.metrics:
            _read_latest(db, folder, path, stamps)
    for path in known:
        db.execute("DELETE FROM runs WHERE path = ?", (path,))
        db.execute("DELETE FROM latest WHERE path = ?", (path,))


def _read_run(db: sqlite3.Connection, folder: Path, path: str, stamps: _Stamps) -> None:
    meta, problem = None, None
    try:
        meta = read_meta(folder)
    except UserError as error:
        problem = str(error)
    text = msgspec.json.encode(meta).decode() if meta else None
    columns = (meta.name, meta.group, meta.sweep, meta.arm, meta.task, meta.seed, meta.fingerprint) if meta else ()
    db.execute(
        f"INSERT OR REPLACE INTO runs VALUES ({', '.join('?' * 14)})",
        (path, stamps.meta, "", stamps.metrics, text, None, problem, *(columns or [None] * 7)),
    )
    _read_status(db, folder, path, stamps)


def _read_status(db: sqlite3.Connection, folder: Path, path: str, stamps: _Stamps) -> None:
    status = msgspec.json.encode(recorded_status(folder)).decode()
    db.execute("UPDATE runs SET status = ?, status_stamp = ? WHERE path = ?", (status, stamps.status, path))


def _read_latest(db: sqlite3.Connection, folder: Path, path: str, stamps: _Stamps) -> None:
    db.execute("DELETE FROM latest WHERE path = ?", (path,))
    try:
        curves = read_metrics(folder).columns
    except UserError as error:
        db.execute("UPDATE runs SET problem = ?, meta_stamp = '' WHERE path = ?", (str(error), path))
        return
    # SQLite stores a NaN as NULL, which reads back as NaN
    rows = [(path, name, int(c.step[-1]), float(c.value[-1])) for name, c in curves.items()]
    db.executemany("INSERT INTO latest VALUES (?, ?, ?, ?)", rows)
    db.execute("UPDATE runs SET metrics_stamp = ? WHERE path = ?", (stamps.metrics, path))


def _damaged(db: sqlite3.Connection, root: Path) -> list[Damage]:
    query = "SELECT path, problem FROM runs WHERE problem IS NOT NULL ORDER BY path"
    return [Damage(root / path, problem) for path, problem in db.execute(query)]


def _rows(db: sqlite3.Connection, root: Path, wanted: dict[str, str]) -> list[Row]:
    where = " AND ".join(["problem IS NULL", *(f'"{column}" = ?' for column in wanted)])
    found = db.execute(f"SELECT path, meta, status FROM runs WHERE {where} ORDER BY path", list(wanted.values()))
    latest: dict[str, dict[str, Latest]] = {}
    for path, metric, step, value in db.execute("SELECT path, metric, step, value FROM latest"):
        latest.setdefault(path, {})[metric] = Latest(step, float("nan") if value is None else value)
    return [
        Row(
            root / path,
            msgspec.json.decode(meta, type=RunMeta),
            judged(msgspec.json.decode(status, type=RunStatus)),
            latest.get(path, {}),
        )
        for path, meta, status in found.fetchall()
    ]


def open_run(text: str, root: str | os.PathLike[str] = "runs") -> Run:
    """The run that `text` names: a path, a name, `group/name`, or a prefix of a name or fingerprint that fits one only.

    Raises:
        UserError: nothing fits (says the nearest names), or several do (names them).
    """
    if (Path(text) / RUN).exists():
        return Run(text)
    index = Index(root)
    for damage in index.refresh():
        if text in (damage.path.name, damage.path.relative_to(root).as_posix()):
            raise UserError(damage.problem)
    rows = index.rows()
    exact = [r for r in rows if text in (r.meta.name, r.path.relative_to(root).as_posix())]
    fitting = exact or [
        r for r in rows if r.meta.name.startswith(text) or (len(text) >= 4 and r.meta.fingerprint.startswith(text))
    ]
    if len(fitting) == 1:
        return Run(fitting[0].path)
    if not fitting:
        raise unknown("run", text, {r.meta.name for r in rows})
    names = [r.path.relative_to(root).as_posix() for r in fitting]
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    raise UserError(f"run {text!r} fits {len(names)} runs; say which: {shown}")
