"""Audits of names and settings: what a run is called, what its table says, what its command did."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bellmark.audits.case import Case, Finding, Trial
from bellmark.audits.labels import contradictions
from bellmark.audits.log_claims import results_in, trials_with
from bellmark.audits.values import numbers_in, plain_value

_WERE = re.compile(r"\(\s*([\d.,]+)\s+vs\.?\s+([\d.,]+)\s*\)")


def mislabel(case: Case) -> Iterator[Finding]:
    """A name that says something else than the configuration: `mc5_awr` that ran with mc_samples=16.

    Names typed by hand go stale when a command is copied. Rename the run, and let names be derived from what differs
    from the recipe, as Bellmark does.
    """
    for trial in case.trials:
        if not (trial.explicit or trial.states):
            continue
        name = re.sub(r"-[0-9a-f]{6}$", "", trial.name)  # a derived name ends in its fingerprint
        for text in (name, *(label for label in trial.labels if "=" in label)):
            for says, meant in contradictions(text, trial.settings):
                settings = " or ".join(f"{key}={value}" for key, value in meant.items())
                yield Finding(
                    audit="mislabel", weight="wrong", where=trial.where, line=trial.line, entry=trial.entry,
                    message=f"{text}: the name says {says.word} {says.digits}, the configuration {settings}",
                )  # fmt: skip


def setting(case: Case) -> Iterator[Finding]:
    """A setting that is told in two ways: the table or a note against the command that was run.

    The command is what happened. Correct the table or the note; a reader repeats the experiment from them.
    """
    for trial in case.trials:
        for key in sorted(trial.explicit & trial.declared.keys()):
            said, done = trial.declared[key], trial.settings[key]
            if not _same(said, done):
                yield Finding(
                    audit="setting", weight="wrong", where=trial.where, line=trial.line, entry=trial.entry,
                    message=f"{trial.name}: the table says {key}={said}, the command {key}={done}",
                )  # fmt: skip
    for sentence in case.sentences:
        mentioned = case.of(sentence.entry)
        found = [
            trials_with(n, sentence.text, mentioned, case.trials) for n in results_in(sentence.text, sentence.line)
        ]
        quoted = list({id(f[0]): f[0] for f in found if f}.values())
        for key, said_twice in _quoted_settings(sentence.text, sentence.line, quoted):
            used = {float(plain_value(t.settings[key])) for t in quoted if key in t.settings}
            wrong = [n for n in said_twice if n not in used]
            if len(used) > 1 and wrong:
                runs = ", ".join(f"{t.name} {t.settings[key]}" for t in quoted if key in t.settings)
                yield Finding(
                    audit="setting", weight="wrong", where=sentence.where, line=sentence.line, entry=sentence.entry,
                    message=f"says {key} {' and '.join(f'{n:g}' for n in said_twice)}; the runs it quotes had {runs}",
                )  # fmt: skip


def _quoted_settings(text: str, line: int, quoted: list[Trial]) -> Iterator[tuple[str, list[float]]]:
    """`many more update epochs (200 vs 4)`: the setting whose words stand before the bracket, and its numbers."""
    names = {k for t in quoted for k, v in t.settings.items() if re.fullmatch(r"[\d.e+-]+", plain_value(v))}
    for found in _WERE.finditer(text):
        before = re.findall(r"[a-z]+", text[: found.start()].lower())[-4:]
        for key in sorted(names):
            if all(part in before for part in re.split(r"[_.]+", key.lower())):
                yield key, [n.value for part in found.groups() for n in numbers_in(part, line)]


def _same(said: str, done: str) -> bool:
    if said.lower() == done.lower():
        return True
    try:
        return float(said) == float(done)
    except ValueError:
        # words: `ckpt_101 only (1 checkpoint)` and `runs/x/ckpt_101.pt` name the same thing
        names = set(re.findall(r"[a-z]+_?\d+", said.lower())) & set(re.findall(r"[a-z]+_?\d+", done.lower()))
        return bool(names) or said.lower() in done.lower() or done.lower() in said.lower()
