"""Every audit with its stable id, and how all of them are run over a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from bellmark.audits import clocks, copies, design, naming, sampling, sums
from bellmark.audits.case import Case, Finding
from bellmark.errors import unknown

Audit = Callable[[Case], Iterator[Finding]]

AUDITS: Mapping[str, Audit] = {
    "mislabel": naming.mislabel,
    "setting": naming.setting,
    "confound": design.confound,
    "seeds": sampling.seeds,
    "flip": sampling.flip,
    "noise": sampling.evaluation_noise,
    "unequal-k": sampling.unequal_k,
    "episodes": sampling.episodes,
    "clock": clocks.clock,
    "miscopy": copies.miscopy,
    "unsupported": copies.unsupported,
    "arithmetic": sums.arithmetic,
    "superlative": copies.superlative,
    "pending": design.pending,
    "resume": clocks.resume,
    "early-stop": design.early_stop,
    "host-load": clocks.host_load,
}


def audit(case: Case, only: Sequence[str] = ()) -> list[Finding]:
    """Every finding, in order of line; each once.

    Raises:
        UserError: `only` names an audit that does not exist.
    """
    for name in only:
        if name not in AUDITS:
            raise unknown("audit", name, AUDITS)
    chosen = [AUDITS[name] for name in only] or list(AUDITS.values())
    found = dict.fromkeys(finding for rule in chosen for finding in rule(case))
    return sorted(found, key=lambda f: (f.where, f.line, f.audit))
