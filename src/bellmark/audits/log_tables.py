"""The tables of a hand-kept log: curves, wide results, summaries; each row or column joined to the run it is about."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bellmark.audits.case import Arm, Comparison, Point, Stated, Summary, Trial
from bellmark.audits.handlog import Cell, Entry, Table
from bellmark.audits.labels import GREEK, keys_for, leftover, pairs, score
from bellmark.audits.values import bare, plain_value, read_at, read_number

INDEX = re.compile(r"^(iter(ation)?s?|steps?|epochs?)$", re.IGNORECASE)
MAIN = re.compile(r"\b(sr|success|return|ep(isode)? len(gth)?|avg len(gth)?|reward|ep length)\b", re.IGNORECASE)
AT = re.compile(r"^(?:iter(?:ation)?|step|@)\s*@?([\d.,]+k?)$", re.IGNORECASE)
SUMMARY = re.compile(r"\b(peak|final|collapse low|collapse bottom|lowest|low)\b", re.IGNORECASE)
SEED = re.compile(r"^(.+), seed (\d+)(?: \(\w+\))?$")
SUMMARY_WORDS: Mapping[str, Summary] = {
    "peak": "peak", "final": "final", "collapse low": "low", "collapse bottom": "low", "lowest": "low", "low": "low",
}  # fmt: skip
FAIR = re.compile(
    r"fair(?:ly)? (?:\w+[ -]){0,4}comparison|fair comparison|direct comparison|only difference|same setting",
    re.IGNORECASE,
)
# Settings that follow from others, or only say where something is kept.
FOLLOWS = re.compile(
    r"^(num_mc_envs|samples_per_env|minibatch_size|iterations|\w*_params|exp_name|eval_freq|output_path|total_timesteps"
    r"|num_eval_envs|batch_size|training|advantage|critic|reward|steps)$"
)


def is_curve(table: Table) -> bool:
    """Whether a table lists one run's values over iterations or steps."""
    if len(table.head) < 2 or not INDEX.match(table.head[0]):
        return False
    return any(MAIN.search(h) for h in table.head[1:])


class Tables:
    """Takes tables in; fills trials and collects comparisons."""

    def __init__(self, where: str, trials: list[Trial]) -> None:
        self._where = where
        self._trials = trials
        self.comparisons: list[Comparison] = []

    def take(self, entry: Entry, table: Table, mentioned: Sequence[Trial]) -> None:
        """Whatever the table is."""
        head = table.head
        if is_curve(table):
            self._curve(entry, table, mentioned)
        elif INDEX.match(head[0]) and len(head) > 2:
            self._columns(entry, table, mentioned, over_steps=True)
        elif head[0].lower() in ("metric", "") and len(head) == 2:
            for row in table.rows:
                _fact(mentioned[0] if len(mentioned) == 1 else None, bare(row[0].text), row[1])
        elif head[0].lower() in ("metric", "") and len(head) > 2:
            self._columns(entry, table, mentioned, over_steps=False)
        elif sum(bool(AT.match(h) or SUMMARY.search(h)) for h in head) >= 1 and len(table.rows) >= 1:
            self._rows(entry, table, mentioned)

    def _curve(self, entry: Entry, table: Table, mentioned: Sequence[Trial]) -> None:
        trial = _owner(table, mentioned)
        if trial is None:
            trial = self._anonymous(table.heading or entry.title, entry, table.line)
        main = next(i for i, h in enumerate(table.head) if i and MAIN.search(h))
        trial.measure = table.head[main]
        episodes = next((i for i, h in enumerate(table.head) if h.lower() == "episodes"), None)
        steps = next((i for i, h in enumerate(table.head) if h.lower() == "step"), 0)
        for row in table.rows:
            at, step = (read_number(row[i].text, row[i].line) for i in (0, steps))
            for column in range(1, min(len(row), len(table.head))):
                value = read_number(row[column].text, row[column].line)
                if at is None or value is None or column == episodes or INDEX.match(table.head[column]):
                    continue
                count = read_number(row[episodes].text, row[episodes].line) if episodes is not None else None
                reached = step.value if step and INDEX.match(table.head[steps]) and steps else None
                point = Point(at.value, value, int(count.value) if count else None, reached)
                if column == main:
                    trial.curve.append(point)
                    trial.share = trial.share or value.unit == "%"
                else:
                    trial.others.setdefault(table.head[column].lower(), []).append(point)

    def _columns(self, entry: Entry, table: Table, mentioned: Sequence[Trial], *, over_steps: bool) -> None:
        """A column per run: values over iterations, or named numbers."""
        numbers = [_summaries(table, column) for column in range(1, len(table.head))]
        results = over_steps or any(numbers)
        asked: list[Asked] = [(h, {}, n) for h, n in zip(table.head[1:], numbers, strict=True)]
        chosen = assign(asked, mentioned, self._trials if results else mentioned)
        arms = []
        for column, (label, trial) in enumerate(zip(table.head[1:], chosen, strict=True), start=1):
            trial = trial or self._anonymous(label, entry, table.line)
            fresh = not trial.curve
            for row in table.rows:
                if column >= len(row):
                    continue
                at, value = (read_number(c.text, c.line) for c in (row[0], row[column]))
                if over_steps and at is not None and value is not None:
                    point = Point(at.value, value)
                    trial.share = trial.share or value.unit == "%"
                    (trial.curve if fresh else trial.others.setdefault("again", [])).append(point)
                elif not over_steps:
                    _fact(trial, bare(row[0].text), row[column])
            arms.append(Arm(label, (trial,)))
        if not over_steps and any(SUMMARY.search(bare(row[0].text)) for row in table.rows):
            self._compare(entry, table, arms, set())

    def _rows(self, entry: Entry, table: Table, mentioned: Sequence[Trial]) -> None:
        """A row per run, with values at some iterations, summaries and settings of its own."""
        asked = [_row(table, row) for row in table.rows]
        chosen = assign([(r.label, r.given, r.summaries()) for r in asked], mentioned, self._trials)
        arms, keys = [], set()
        for row, trial in zip(asked, chosen, strict=True):
            if not row.points and not row.stated:
                continue
            trial = trial or self._anonymous(row.label, entry, row.line)
            for key, value in row.given.items():
                key = GREEK.get(key, key)
                known = keys_for(key, trial.settings)
                trial.settings.setdefault(known[0] if known else key, value)
                keys.update(known or [key])
            if not trial.curve:
                trial.curve.extend(row.points)
                trial.excerpt = True
            iterations = re.search(r"(\d+) iterations", table.heading)
            if iterations:
                trial.settings.setdefault("num_iterations", iterations[1])
            trial.stated.extend(row.stated)
            trial.share = trial.share or any(s.value.unit == "%" for s in (*row.stated, *row.points_stated()))
            arms.append(Arm(row.label, (trial,), row.about, row.seeds))
        arms = _joined(arms)
        labels = [arm.label for arm in arms]
        arms = [Arm(a.first.name if labels.count(a.label) > 1 else a.label, a.trials, a.about, a.seeds) for a in arms]
        if len(arms) > 1:
            self._compare(entry, table, arms, keys)

    def _compare(self, entry: Entry, table: Table, arms: list[Arm], keys: set[str]) -> None:
        text = " ".join((entry.title, table.heading, *(n.text for n in entry.notes if n.heading == "Overview")))
        fair = FAIR.search(text)
        names = {k for arm in arms for k in arm.first.settings}
        only = re.search(r"only difference is ([\w ]+)", text, re.IGNORECASE)
        said = " ".join((entry.title, table.heading, *table.head, *(a.label for a in arms), only[1] if only else ""))
        keys |= {key for s in pairs(said) for key in keys_for(s.word, names)}
        lower = said.lower()
        keys |= {k for k in names if all(p in lower for p in re.split(r"[_.]+", k.lower()) if len(p) > 1)}
        known = [s.summary for arm in arms for s in arm.first.stated]
        self.comparisons.append(
            Comparison(
                where=self._where,
                line=table.line,
                entry=entry.title,
                title=table.heading or entry.title,
                arms=tuple(arms),
                keys=frozenset(keys),
                fair=fair[0] if fair else "",
                quoted="peak" if "peak" in known else None,
            )
        )

    def _anonymous(self, label: str, entry: Entry, line: int) -> Trial:
        trial = Trial(name=label or entry.title, where=self._where, line=line, entry=entry.title, labels=[label])
        self._trials.append(trial)
        return trial


def _joined(arms: Sequence[Arm]) -> list[Arm]:
    """Rows such as `awr, seed 2` as one arm with all its seeds; the row of their mean is left out."""
    seeds: dict[str, list[Trial]] = {}
    for arm in arms:
        found = SEED.match(arm.label)
        if found:
            arm.first.seed = int(found[2])
            seeds.setdefault(found[1], []).append(arm.first)
    named = {arm.label: re.sub(r", mean of \d+$", "", arm.label) for arm in arms}
    plain = [arm for arm in arms if not SEED.match(arm.label) and named[arm.label] not in seeds]
    return [*plain, *(Arm(label, tuple(trials)) for label, trials in seeds.items())]


class Row:
    """A row of a wide table, taken apart."""

    def __init__(self, line: int, label: str) -> None:
        self.line, self.label, self.about = line, label, ""
        self.seeds = 0
        self.given: dict[str, str] = {}
        self.points: list[Point] = []
        self.stated: list[Stated] = []

    def summaries(self) -> dict[Summary, float]:
        """What the row says about the whole run."""
        found = {s.summary: s.value.value for s in self.stated}
        if self.points and "final" not in found:
            found["final"] = self.points[-1].value.value
        return found

    def points_stated(self) -> list[Stated]:
        """The points as stated values, to look at their unit."""
        return [Stated("final", p.value) for p in self.points]


def _row(table: Table, row: Sequence[Cell]) -> Row:
    texts = [c for h, c in zip(table.head, row, strict=False) if not _is_value(h) and not read_number(c.text, 0)]
    label = bare(row[0].text)
    if read_number(row[0].text, 0):  # the row is known by its settings
        known = zip(table.head, row, strict=False)
        label = ", ".join(f"{h}={bare(c.text)}" for h, c in known if not _is_value(h) and read_number(c.text, 0))
    found = Row(row[0].line, label)
    found.about = " ".join(bare(c.text) for c in texts)
    for head, cell in zip(table.head, row, strict=False):
        value = read_number(cell.text, cell.line)
        at, summary = AT.match(head), SUMMARY.search(head)
        if "seeds" in head.lower():
            counted = re.match(r"\d+", bare(cell.text))
            found.seeds = int(counted[0]) if counted else 0
            continue
        if value is None:
            continue
        if at:
            index = read_number(at[1], 0)
            found.points.append(Point(index.value if index else 0.0, value))
        elif summary and value.unit in ("%", ""):
            kind = SUMMARY_WORDS[summary[1].lower()]
            found.stated.append(Stated(kind, value, read_at(cell.text), f"line {cell.line}"))
        elif value.unit == "" and not re.search(r"mean|std|pos|transit|loss|rewards", head, re.IGNORECASE):
            found.given[head] = plain_value(bare(cell.text).partition(" ")[0])
    return found


def _is_value(head: str) -> bool:
    return bool(AT.match(head) or SUMMARY.search(head))


def _summaries(table: Table, column: int) -> dict[Summary, float]:
    """Peak and final of a column, where a table of named numbers has them."""
    found: dict[Summary, float] = {}
    for row in table.rows:
        summary = SUMMARY.search(bare(row[0].text))
        value = read_number(row[column].text, row[column].line) if column < len(row) else None
        if summary and value is not None:
            found.setdefault(SUMMARY_WORDS[summary[1].lower()], value.value)
    return found


def _fact(trial: Trial | None, name: str, cell: Cell) -> None:
    """`Peak SR | 95.8% (iter 9)` as a summary, `A(s,a) mean/std | 0.1 / 0.2` as two named numbers."""
    if trial is None:
        return
    summary = SUMMARY.search(name)
    value = read_number(cell.text, cell.line)
    if summary and value is not None:
        kind = SUMMARY_WORDS[summary[1].lower()]
        trial.stated.append(Stated(kind, value, read_at(cell.text), f"line {cell.line}"))
        trial.share = trial.share or value.unit == "%"
        return
    short = re.sub(r"\([^)]*\)", "", name).strip().lower()
    head, _, tail = short.rpartition(" ")
    names = [f"{head} {part}".strip() for part in tail.split("/")] if "/" in tail else [short]
    for key, text in zip(names, bare(cell.text).split("/"), strict=False):
        number = read_number(text.strip(), cell.line)
        if number is not None and key not in trial.facts:
            trial.facts[key] = number
        elif number is not None:
            trial.facts[f"{key} (again)"] = number


def _owner(table: Table, mentioned: Sequence[Trial]) -> Trial | None:
    for trial in mentioned:
        if table.run_dir and f"{trial.name}__seed" in table.run_dir:
            return trial
    return mentioned[0] if len(mentioned) == 1 else match(table.heading, {}, mentioned)


def match(label: str, given: Mapping[str, str], among: Sequence[Trial], least: int = 1) -> Trial | None:
    """The trial that a label means, if it fits one better than all others."""
    ranked = sorted(
        ((s, -leftover(label, t), i) for i, t in enumerate(among) if (s := score(label, given, t)) is not None),
        reverse=True,
    )
    if not ranked or ranked[0][0] < least or (len(ranked) > 1 and ranked[0][:2] == ranked[1][:2]):
        return None
    return among[ranked[0][2]]


Asked = tuple[str, Mapping[str, str], Mapping[Summary, float]]


def assign(rows: Sequence[Asked], own: Sequence[Trial], every: Sequence[Trial]) -> list[Trial | None]:
    """A trial for each row, none twice: the surest first, by what the label says and by the numbers in the row."""
    offers = []
    for number, (label, given, summaries) in enumerate(rows):
        for order, trial in enumerate(reversed(every)):
            fit, same = score(label, given, trial), _same_numbers(summaries, trial)
            if fit is None or same is None:
                continue
            mine = any(trial is t for t in own)
            mine_and_run = 0.5 * mine + 0.25 * bool(trial.script)
            if fit + same >= (0.5 if mine else 3) and (mine or same or fit > 3):
                offers.append((fit + same + mine_and_run, -leftover(label, trial), -order, number, trial))
    offers.sort(key=lambda offer: offer[:3], reverse=True)
    chosen: list[Trial | None] = [None] * len(rows)
    taken: set[int] = set()
    for *_, number, trial in offers:
        if chosen[number] is None and id(trial) not in taken:
            chosen[number] = trial
            taken.add(id(trial))
    return chosen


def _same_numbers(summaries: Mapping[Summary, float], trial: Trial) -> int | None:
    """3 where two summaries agree, 2 or 1 for one of them, 0 where nothing can be compared, None where all differ."""
    known = {name: trial.summary(name) for name in summaries}
    both = [(value, known[name]) for name, value in summaries.items() if known[name] is not None]
    agree = sum(abs(a - b) < 0.06 for a, b in both if b is not None)
    if not both:
        return 0
    if not agree:
        return None
    return 3 if agree > 1 else 2
