"""Every audit fires where it should and stays silent where it should: small logs in the users' own format."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

from bellmark.audits import AUDITS, audit, case_of_log
from bellmark.audits.case import Finding
from bellmark.audits.handlog import parse_log
from bellmark.errors import UserError

ENTRY = "## [Trial] - 2026-02-17 14:00\n\n"
SWEEP = """\
## [Beta Sweep] - 2026-02-17 20:00

### Shared Settings
| Parameter | Value |
|---|---|
| num_envs | 100 |
| update_epochs | 200 |

### Commands
```bash
python -m RL.awr --awr_beta 0.1 --exp_name awr_beta01
python -m RL.awr --awr_beta 0.5 {more} --exp_name awr_beta05
```

#### beta=0.1 — `runs/awr_beta01__seed1__1771398374`

| Iter | Step | SR | Episodes |
|---|---|---|---|
| 1 | 0 | 50.0% | {n} |
| 2 | 5,000 | {a1} | {n} |
| 3 | 10,000 | {a2} | {n} |

#### beta=0.5 — `runs/awr_beta05__seed1__1771398999`

| Iter | Step | SR | Episodes |
|---|---|---|---|
| 1 | 0 | 50.0% | {n} |
| 2 | 5,000 | {b1} | {n} |
| 3 | 10,000 | {b2} | {n} |

### Summary: Beta Sweep
| beta | Peak SR | Final SR |
|---|---|---|
| 0.1 | {ap} | {a2} |
| 0.5 | {bp} | {b2} |

### Notes
{note}
"""
PLAIN = {"more": "", "n": "1,000", "a1": "60.0%", "a2": "70.0%", "b1": "80.0%", "b2": "90.0%", "note": "- fine"}


def sweep(**changes: str) -> str:
    given = {**PLAIN, **changes}
    peaks = {f"{arm}p": given.get(f"{arm}p", max(given[f"{arm}1"], given[f"{arm}2"])) for arm in "ab"}
    return SWEEP.format(**{**given, **peaks})


def found(text: str, name: str) -> list[Finding]:
    return audit(case_of_log(parse_log(dedent(text))), [name])


def two(command: str, other: str, words: str = "### Comparison\n", note: str = "") -> str:
    """Two runs with a table that compares them."""
    return (
        f"{ENTRY}### Commands\n```bash\n{command}\n{other}\n```\n\n{words}\n"
        "| Method | Peak SR | Final SR |\n|---|---|---|\n| left run | 80.0% | 80.0% |\n"
        "| right run | 60.0% | 60.0% |\n\n"
        f"### Notes\n{note}\n"
    )


LEFT, RIGHT = "python -m RL.x --num_envs 8 --exp_name left_run", "python -m RL.x --num_envs 8 --exp_name right_run"
CURVE = "| Iter | SR |\n|---|---|\n| 1 | 50.0% |\n| 2 | 60.0% |\n| 3 | 55.0% |\n"
ONE = f"{ENTRY}### Commands\n```bash\npython -m RL.x --exp_name one\n```\n\n### Results\n{CURVE}\n### Notes\n"
PROTOCOL = (
    "### 01-18-26 Run: {name} ({pairs})\n- **Config**: {config}\n- **Setup**: {setup}\n\n"
    "| Step | Eval Ep Len |\n|---|---|\n"
)
STEPS = "| 1000 | 20 |\n| 2000 | 30 |\n| 3000 | 40 |\n"
LAST = "| 3 | 10,000 | 90.0% | 1,000 |"
END = "90.0% |\n\n### N"
OPEN = f"{ENTRY}### Results\n\n| LR | Peak SR |\n|---|---|\n| 1e-3 | 80.0% |\n| 1e-4 | TBD |\n\n"
TABLE = "\n| Step | Speed (steps/s) |\n|---|---|\n| 1 | 2 |\n"
SPEED = f"### 01-03-26 Speed\n- measured\n{TABLE}\n### 01-03-26 Again\n"

# audit id -> (a log in which it fires, what its message says, a log in which it is silent)
CASES: dict[str, tuple[str, str, str]] = {
    "mislabel": (
        ONE.replace("--exp_name one", "--mc_samples 16 --exp_name mc5_awr"),
        "mc5_awr: the name says mc 5, the configuration mc_samples=16",
        ONE.replace("--exp_name one", "--mc_samples 16 --gamma 0.99 --lr 1e-4 --exp_name mc16_gamma099_lr1e-4_v2"),
    ),
    "setting": (
        sweep().replace("--awr_beta 0.5 ", "--awr_beta 0.5 --update_epochs 100 "),
        "the table says update_epochs=200, the command update_epochs=100",
        sweep().replace("--awr_beta 0.5 ", "--awr_beta 0.5 --update_epochs 200 "),
    ),
    "confound": (
        two(LEFT, RIGHT.replace("8", "512"), "### Fair comparison of left and right\n"),
        "called 'Fair comparison', yet compared with undeclared differences: left run against right run: num_envs 8",
        two(LEFT, RIGHT, "### Fair comparison of left and right\n"),
    ),
    "seeds": (
        sweep(),
        "2 configurations with a single run, all with seed 1",
        "## [Plan] - 2026-02-17 20:00\n\n- nothing has run yet\n",
    ),
    "flip": (
        sweep(a1="95.0%", a2="70.0%"),
        "best by peak: beta=0.1; best by final value: beta=0.5",
        sweep(),
    ),
    "noise": (
        # 100 episodes: 90 and 70 are 1.96 sqrt(.8 .2 2/100) = 11.1 points apart by chance, 72 and 70 12.6
        sweep(n="100", b1="71.0%", b2="72.0%"),
        "beta=0.1 (2.0 of 12.6 points)",
        sweep(n="100"),
    ),
    "unequal-k": (
        sweep().replace(LAST, f"{LAST}\n| 4 | 15,000 | 90.0% | 1,000 |"),
        "beta=0.5 is the best of 4, beta=0.1 of 3",
        sweep(),
    ),
    "episodes": (
        ONE.replace(CURVE, "| Iter | SR | Episodes |\n|---|---|---|\n| 1 | 50.0% | 100 |\n| 2 | 60.0% | 120 |\n"
                           "| 3 | 70.0% | 140 |\n| 4 | 80.0% | 160 |\n"),
        "one: episodes per evaluation range from 100 to 160 and grow with the result (correlation 1.00)",
        ONE.replace(CURVE, "| Iter | SR | Episodes |\n|---|---|---|\n| 1 | 50.0% | 100 |\n| 2 | 60.0% | 100 |\n"
                           "| 3 | 70.0% | 101 |\n| 4 | 80.0% | 100 |\n"),
    ),
    "clock": (
        ENTRY.replace("14:00", "24:10") + "- noted\n",
        "'2026-02-17 24:10' is a time that no clock shows; read as 2026-02-18 00:10",
        ENTRY + "- noted\n\n## [Next] - 2026-02-17 14:30\n- noted\n",
    ),
    "miscopy": (
        ONE + "\nPeak: **65.0%** (iter 2) | Final: 55.0% (iter 3)\n",
        "peak 65.0% at 2, but line 12 has 60.0%",
        ONE + "\nPeak: **60.0%** (iter 2) | Final: 55.0% (iter 3)\n",
    ),
    "unsupported": (
        ONE + "- the earlier variant peaked at 77.7%\n",
        "77.7% is the peak or final of no run in this log",
        ONE + "- this run peaked at 60.0%, later ~77%\n",
    ),
    "arithmetic": (
        sweep(note="- beta=0.5 beats beta=0.1 (90.0% vs 70.0%) by ~12%\n- 8 × 25 × 2 = 500 rows"),
        "says a difference of 12, but 90 and 70 differ by 20.0",
        sweep(note="- beta=0.5 beats beta=0.1 (90.0% vs 70.0%) by ~20%\n- 8 × 25 × 1.67 = 333 rows"),
    ),
    "superlative": (
        sweep(note="- beta=0.5 is best (90.0%)").replace(END, "90.0% |\n| 0.9 | 95.0% | 94.0% |\n\n### N"),
        "called best with 90.0%, but by peak beta=0.9 is higher: 95",
        sweep(note="- beta=0.5 is best (90.0%)").replace(END, "90.0% |\n| 0.9 | 85.0% | 84.0% |\n\n### N"),
    ),
    "pending": (
        f"{OPEN}### Observations\n- LR rules\n",
        "1 of 2 rows pending, but line 11 concludes",
        f"{OPEN}### Next\n- wait\n",
    ),
    "resume": (
        PROTOCOL.format(name="on", pairs="d=1", config="lr=1e-4", setup="Resumed checkpoint at step 15k") + STEPS,
        "on: resumed at step 15000, but has values from step 1000 on: it began again at 0",
        PROTOCOL.format(name="on", pairs="d=1", config="lr=1e-4", setup="Resumed checkpoint at step 1k") + STEPS,
    ),
    "early-stop": (
        ENTRY + "- **Early stopping bug**: was checking training ep length instead of eval\n",
        "early stopping looked at a training metric",
        ENTRY + "- Early stopping on the evaluation, not training\n- **Early stopping on KL spike**: an idea\n",
    ),
    "host-load": (
        f"{SPEED}- Previous tests had 11+ zombie trainer processes\n",
        "1 earlier tables of speeds were measured under that load: line 4",
        f"{SPEED}- an idle machine this time\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_fires(name: str) -> None:
    text, says, _ = CASES[name]
    findings = found(text, name)
    assert any(says in f.message for f in findings), [f.message for f in findings]
    assert all(f.audit == name and f.line > 0 for f in findings)


@pytest.mark.parametrize("name", CASES)
def test_it_stays_silent(name: str) -> None:
    assert [f.message for f in found(CASES[name][2], name)] == []


def test_every_audit_has_its_two_tests_and_says_what_to_do() -> None:
    assert set(CASES) == set(AUDITS)
    for rule in AUDITS.values():
        about, _, advice = (rule.__doc__ or "").partition("\n\n")
        assert about and advice.strip()


def test_an_unknown_audit_is_named() -> None:
    with pytest.raises(UserError, match="unknown audit 'confond'; did you mean confound"):
        audit(case_of_log(parse_log(ONE)), ["confond"])


# -- particular traps, each from a line of the users' logs -----------------------------------------------------------


def say(rule: str) -> Callable[[str], list[str]]:
    return lambda text: [f.message for f in found(text, rule)]


def test_a_row_that_has_another_runs_value() -> None:
    runs = "".join(
        PROTOCOL.format(name=f"model_{d}", pairs=f"d_hidden={d}", config=f"d_hidden={d}", setup="none") + curve + "\n"
        for d, curve in ((64, "| 1000 | 500 |\n| 2000 | 157 |\n"), (256, "| 1000 | 500 |\n| 2000 | 129 |\n"))
    )
    head = "**Comparison**:\n\n| Config | Peak | Collapse Low |\n|---|---|---|\n"
    table = head + "| d=64 | 500 | {} |\n| d=256 | 500 | 129 |\n"
    assert say("miscopy")(runs + table.format(157)) == []
    (message,) = say("miscopy")(runs + table.format(129))
    assert message.startswith("model_64: low 129, but its own lowest value is 157")
    assert "129 is a value of model_256" in message


def test_one_quantity_told_with_two_values() -> None:
    facts = "\n| Metric | Value |\n|---|---|\n| A(s,a) mean/std | -0.01 / 0.0168 |\n| A std | 0.0170 |\n"
    assert say("miscopy")(ONE + facts) == ["one: a std is 0.0170 here, 0.0168 on line 19"]
    assert say("miscopy")(ONE + facts.replace("0.0170", "0.0168")) == []


def test_a_rate_that_no_count_gives() -> None:
    curve = "| Iter | SR | Episodes |\n|---|---|---|\n| 1 | 62.7% | 134 |\n| 2 | {} | 133 |\n"
    assert say("miscopy")(ONE.replace(CURVE, curve.format("69.2%"))) == []  # 92 of 133 are 69.17%
    assert "no whole number of successes" in say("miscopy")(ONE.replace(CURVE, curve.format("69.6%")))[0]


def test_numbers_quoted_from_an_earlier_run() -> None:
    table = "  | Step | Avg Length |\n  |---|---|\n  | 7500 | 9.8 |\n  | 25000 | 16.8 |\n"
    text = f"### 12-31-25 Run 2 (12-31_0935)\n- Results:\n{table}"
    later = "\n### 01-02-26 Run 3 (01-02_0957)\n- Baseline from Run 2: 25k→16.4, 45k→21.0\n"
    assert say("miscopy")(text + later) == ["Run 2 at 25k: 16.4 here, 16.8 on line 6"]
    assert say("unsupported")(text + later) == ["Run 2 at 45k: 21.0, but its table has no such step"]


def test_a_setting_quoted_with_a_wrong_value() -> None:
    quoted = "- left (80.0%) beats right (60.0%) because of update epochs ({} vs 200)"
    commands = (LEFT.replace("8", "8 --update_epochs 100"), RIGHT.replace("8", "8 --update_epochs 200"))
    assert say("setting")(two(*commands, note=quoted.format(100))) == []
    assert say("setting")(two(*commands, note=quoted.format(4))) == [
        "says update_epochs 4 and 200; the runs it quotes had left_run 100, right_run 200"
    ]


def test_a_claim_about_pairs_of_rows_is_checked_on_each() -> None:
    table = (
        "| Config | γ | Iter 5 | Iter 10 |\n|---|---|---|---|\n"
        "| Pretrained | 0.8 | 74.8% | 93.2% |\n| Reset | 0.8 | 73.4% | 90.7% |\n"
        "| Pretrained | 0.99 | 70.4% | 85.2% |\n| Reset | 0.99 | 74.2% | 81.0% |\n\n### Notes\n"
    )
    text = f"{ENTRY}### Results\n\n{table}"
    assert say("arithmetic")(text + "- gamma=0.99 is ~8-10% worse than gamma=0.8 in this regime\n") == []
    (message,) = say("arithmetic")(text + "- gamma=0.99 is ~5-8% worse than gamma=0.8 in this regime\n")
    assert "the differences are 8.0 and 9.7" in message
    turned = say("arithmetic")(text + "- Pretrained critic consistently ~3% better than Reset critic\n")
    assert any("the order is the other way at 5" in m for m in turned)


def test_the_best_of_its_entry_is_not_best() -> None:
    text = two(LEFT, RIGHT).replace("right run |", "right run (best) |")
    assert say("superlative")(text) == ["right run (best): peak 60, but left_run reached 80 (line 13)"]
