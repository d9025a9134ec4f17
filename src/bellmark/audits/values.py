"""Numbers as people write them: `**93.2%**`, `5,000`, `25k`, `~80 (peak)`, `100% (i35,45,65)`, `3×256`, `TBD`."""

from __future__ import annotations

import re

import msgspec

NUMBER = r"[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?"
_SCALE = {"k": 1e3, "K": 1e3, "M": 1e6}
_WHOLE = re.compile(rf"[~≈±]?\s*({NUMBER})\s*(%|k|K|M|s|x|×|h|min)?(?![\w.])")
_EVERY = re.compile(rf"(?<![\w.^_])([~≈]?)\s?({NUMBER})(%|k\b|M\b|[x×](?!\d))?(?![\w])")
_AT = re.compile(r"\((?:iter|i|step|at)\s*([\d,\sk]+)\)", re.IGNORECASE)
PENDING = re.compile(r"^\W*(tbd|pending|todo|running)\W*$", re.IGNORECASE)


class Number(msgspec.Struct, frozen=True):
    """One number of a text: percent stays as written (93.2), `25k` is 25000."""

    value: float
    line: int
    text: str
    unit: str = ""  # "%", "x" or ""
    approximate: bool = False
    position: int = 0  # of its first character in the text it was read from
    slack: float = 0.0  # half a unit of the last digit written: what rounding may have taken

    def agrees(self, other: float, *, factor: float = 1.0) -> bool:
        """Whether rounding to the digits written here can explain the difference; `~` allows five percent."""
        allowed = self.slack * factor + 1e-9 * max(abs(self.value), abs(other))
        if self.approximate:
            allowed = max(allowed, 0.05 * abs(other))
        return abs(self.value - other) <= allowed


def bare(text: str) -> str:
    """Text without the signs of emphasis and code."""
    return text.replace("**", "").replace("`", "").strip()


def read_number(text: str, line: int) -> Number | None:
    """The number that a table cell begins with; None for words, dashes, names and pending cells."""
    plain = bare(text)
    found = _WHOLE.match(plain)
    if found is None:
        return None
    rest = plain[found.end() :].lstrip()
    if rest and not rest.startswith(("(", "[", "/", ",", "%")):
        return None
    return _number(found[1], found[2] or "", line, plain[0] in "~≈", 0)


def numbers_in(text: str, line: int) -> list[Number]:
    """Every free-standing number of a sentence; digits inside names (`ckpt_101`, `mc16`) are none."""
    plain = bare(text)
    return [_number(m[2], m[3] or "", line, bool(m[1]), m.start()) for m in _EVERY.finditer(plain)]


def _number(digits: str, unit: str, line: int, approximate: bool, position: int) -> Number:
    clean = digits.replace(",", "").replace("−", "-")
    mantissa, _, exponent = clean.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    scale = _SCALE.get(unit, 1.0) * 10.0 ** int(exponent or 0)
    return Number(
        value=float(mantissa) * scale,
        line=line,
        text=digits + unit,
        unit={"×": "x"}.get(unit, unit) if unit not in _SCALE else "",
        approximate=approximate,
        position=position,
        slack=0.5 * 10.0**-decimals * scale,
    )


def read_at(text: str) -> tuple[float, ...]:
    """The iterations or steps a cell names in brackets: `99.3% (i50)` -> (50,)."""
    found = _AT.search(text)
    if found is None:
        return ()
    parts = [part.strip() for part in found[1].split(",")]
    return tuple(float(p[:-1]) * 1e3 if p.endswith("k") else float(p) for p in parts if p and p != "k")


def is_pending(text: str) -> bool:
    """Whether a cell says that its result is still to come."""
    return bool(PENDING.match(bare(text)))


def plain_value(text: str) -> str:
    """A setting's value in one spelling: `5,000` and `5000`, `100.0 (disabled)` and `100` are the same."""
    number = read_number(text, 0)
    words = bare(text).strip("\"' ")
    if number is None or number.unit in ("x", "%"):
        return words
    return f"{number.value:g}" if abs(number.value) < 1e6 else f"{number.value:.0f}"
