"""What a name says about a configuration: `mc5_awr` says mc = 5, `beta=0.5` says beta = 0.5, `50env` says env = 50."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from bellmark.audits.case import Trial
from bellmark.audits.values import plain_value

GREEK = {
    "γ": "gamma",
    "λ": "lambda",
    "β": "beta",
    "τ": "tau",
    "α": "alpha",
    "ε": "eps",
    "utd": "epochs",
    "ckpt": "checkpoint",
}
SHORT = frozenset({"b", "d", "n", "s"})  # single letters that people use for settings
# Words before a number that count things, not settings: versions, tries, tasks.
PLAIN = frozenset({"v", "run", "exp", "test", "try", "version", "iter", "i", "h", "c", "seed", "phase", "part", "fix"})
STOP = frozenset({"the", "and", "with", "of", "for", "a", "in", "only", "best", "no", "results", "run", "awr", "ppo"})
_ASSIGNED = re.compile(r"([A-Za-zγλβτα_][\w.]*?)\s*=\s*([\w.+\-*]+)")
_TOKEN = re.compile(
    r"[A-Za-zγλβτα]+_?\d+(?:\.\d+)?(?:e-\d+|k)?|\d+(?:\.\d+)?[A-Za-z]+|[A-Za-zγλβταπ]+\*?|\d+(?:\.\d+)?"
)
_LETTERS_FIRST = re.compile(r"([A-Za-zγλβτα]+)_?(\d+(?:\.\d+)?(?:e-\d+)?)(k?)")
_DIGITS_FIRST = re.compile(r"(\d+(?:\.\d+)?)([A-Za-z]+)")


class Says(NamedTuple):
    """A word of a name with the number beside it."""

    word: str
    digits: str
    thousands: bool = False
    exact: bool = False  # written as key=value, so the digits mean what they say

    def readings(self) -> set[float]:
        """What the digits may stand for: a name has no decimal points, so `05` is 5 or 0.5 and `20` is 20 or 2.0."""
        if self.exact or not self.digits.isdigit():
            return {float(self.digits)}
        cut = {float(f"{self.digits[:n]}.{self.digits[n:]}") for n in range(1, len(self.digits))}
        return {float(self.digits), *cut}


def words(text: str) -> list[str]:
    """The parts of a name or label, lower case; `ckpt_101` and `ckpt101` are one part."""
    split = re.sub(r"(?<=[a-zγλβτα])_(?=\d+(?:\.\d+)?k?(?:[_\s)\],]|$))", "", text.lower())
    return [GREEK.get(w, w) for w in _TOKEN.findall(split.replace("_", " "))]


def pairs(text: str) -> list[Says]:
    """Everything a name or label says about numbers."""
    found = [
        Says(_word(m[1]), m[2], exact=True) for m in _ASSIGNED.finditer(text) if re.fullmatch(r"\d+(\.\d+)?", m[2])
    ]
    for token in words(_ASSIGNED.sub(" ", text)):
        first = _LETTERS_FIRST.fullmatch(token)
        if first:
            found.append(Says(_word(first[1]), first[2], bool(first[3])))
        elif (last := _DIGITS_FIRST.fullmatch(token)) and last[2] not in ("k", "m", "x", "d", "s", "th"):
            found.append(Says(_word(last[2]), last[1]))
    return [s for s in found if s.word not in PLAIN]


def _word(text: str) -> str:
    return GREEK.get(text.lower(), text.lower())


def keys_for(word: str, settings: Iterable[str]) -> list[str]:
    """The settings that a word of a name may mean: `mc` is part of mc_samples, `env` begins a part of num_envs."""
    word = GREEK.get(word.lower(), word.lower())
    found = []
    for key in settings:
        parts = [p for p in re.split(r"[_.\-\s]+", key.lower()) if p]
        singular = [p.removesuffix("s") for p in parts]
        begun = len(word) >= 2 or word in SHORT
        if word in parts or word.removesuffix("s") in singular or (begun and any(p.startswith(word) for p in parts)):
            found.append(key)
    return found


def fits(says: Says, value: str) -> bool:
    """Whether a setting's value is what the name says."""
    try:
        number = float(plain_value(value))
    except ValueError:
        digits = re.findall(r"\d+(?:\.\d+)?", value)
        return not digits or any(float(d) in says.readings() for d in digits)
    if says.thousands:
        return abs(number / 1000 - float(says.digits)) < 1.0
    return any(abs(number - reading) <= 1e-9 * max(1.0, abs(number)) for reading in says.readings())


def contradictions(text: str, settings: Mapping[str, str]) -> list[tuple[Says, dict[str, str]]]:
    """What a name says that none of the settings it may mean bears out, with those settings."""
    found = []
    for says in pairs(text):
        meant = {key: settings[key] for key in keys_for(says.word, settings)}
        if meant and not any(fits(says, value) for value in meant.values()):
            found.append((says, meant))
    return found


def score(label: str, given: Mapping[str, str], trial: Trial) -> float | None:
    """How well a label and a table row's own settings fit a trial; None where they contradict it."""
    points = 0.0
    columns = [Says(_word(k), v, exact=True) for k, v in given.items() if re.fullmatch(r"[\d.]+", v)]
    texts = (trial.name, trial.script, *trial.labels, *(trial.settings[k] for k in trial.explicit))
    known = {w for text in texts for w in words(text)}
    for says, weight in (*((s, 2.0) for s in pairs(label)), *((s, 0.5) for s in columns)):
        meant = [trial.settings[key] for key in keys_for(says.word, trial.settings)]
        if meant and not any(fits(says, value) for value in meant):
            return None
        points += weight if meant else 0.0
    for word in {*words(label)} - STOP:
        numbered = any(c.isdigit() for c in word)
        points += (2.0 if numbered else 1.0) if word in known else -1.0 if numbered and trial.script else 0.0
    return points


def leftover(label: str, trial: Trial) -> int:
    """How many parts of the trial's name the label does not mention: of two that fit, the plainer is meant."""
    return len({*words(trial.name)} - {*words(label)})
