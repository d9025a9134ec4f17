"""The page: whole, self-contained, every number traceable, nothing a name could break."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from synthetic_ledger import CURVES, Ledger, Page

from bellmark.records import Curve, Run
from bellmark.reports import collect_plan, collect_runs, judged
from bellmark.reports.findings import Finding
from bellmark.reports.pack import unpack
from bellmark.reports.page import render
from bellmark.reports.shelf import Shelf

HOSTILE = "</style></script><script>alert('x')</script><img src=x onerror=alert(1)> & \"quoted\""


def page_of(ledger: Ledger, notes: str = "") -> Page:
    dossier = ledger.dossier()
    return Page(render(dossier, judged(dossier), notes=notes))


def test_structure(full: Ledger) -> None:
    page = page_of(full)
    assert page.wrong == []
    ids = [page.attributes(i).get("id") for i in page.all("section")]
    assert ids == [
        "verdict",
        "board",
        "curves",
        "effects",
        "numbers",
        "evaluations",
        "cost",
        "settings",
        "runs",
        "again",
        "notes",
    ]
    links = {page.attributes(i)["href"] for i in page.all("a")}
    every_id = {have.get("id") for _, have in page.elements}
    views = {link.removeprefix("#/run/") for link in links if link.startswith("#/run/")}
    held = {page.attributes(i)["data-run"] for i in page.all("script", class_="run")}
    assert views == held == {path.name for path in full.written}
    assert all(link[1:] in every_id for link in links if not link.startswith("#/"))
    assert len(page.all("h1")) == 1 and page.text(page.all("h1")[0]) == full.question["question"]


def test_self_contained(full: Ledger) -> None:
    dossier = full.dossier()
    html = render(dossier, judged(dossier))
    assert not re.search(r"https?://|//cdn|@import|url\(", html)
    page = Page(html)
    assert not any("src" in have for _, have in page.elements)
    assert [page.attributes(i)["href"][:5] for i in page.all("link")] == ["data:"]
    (policy,) = [have["content"] for _, have in page.elements if have.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "http" not in policy


def test_the_verdict_stands_first_and_in_words(full: Ledger) -> None:
    page = page_of(full)
    verdict = page.text(page.all("section", id="verdict")[0])
    sentence = judged(full.dossier())[0].sentence
    assert sentence.startswith("Supported: awr improves eval/success")
    assert sentence.removeprefix("Supported: ") in verdict and "supported" in verdict
    assert page.all("section", id="verdict")[0] < page.all("section", id="board")[0]
    whole = page.text()
    for words in ("Measured advantages need no critic.", "should increase by at least 2.0 pp over gae_ppo_finetune",
                  "6 of 6 runs done", "d53c0cc1b2a3", "Small enough for a laptop."):  # fmt: skip
        assert words in whole


def test_every_number_is_a_record(full: Ledger) -> None:
    """Curves and cells are compared with the records they name, not with how they were computed."""
    page = page_of(full)
    records = {run.name: run.curve("eval/success") for run in map(Run, full.written)}
    values = {n: dict(zip(c.step.tolist(), c.value.tolist(), strict=True)) for n, c in records.items()}
    held = {page.attributes(i)["id"]: unpack(page.text(i)) for i in page.all("script", class_="lines")}
    lines = [line for seeds in held.values() for line in seeds]
    assert len(lines) == 6 and {line["run"] for line in lines} == set(records)  # once per run, not once per axis
    for line in lines:
        found = dict(zip(line["step"], line["value"], strict=True))
        assert found == {step: pytest.approx(value, abs=1e-6) for step, value in values[line["run"]].items()}
        assert line["simulator"][-1] == (2_050_000 if line["run"].startswith("awr") else 50_000)
        assert line["wall"] == [0.5 + 3.5 * i for i in range(6)]
    (panel,) = page.all("figure", class_="panel")
    assert {page.attributes(panel)[f"data-{role}-lines"] for role in ("arm", "base")} == set(held)
    (table,) = page.all("table", class_="evaluations")
    rows = [i for i in page.all("tr") if page.inside(i, table) and page.attributes(i).get("data-run") in values]
    cells = [(i, row) for row in rows for i in page.all("td", class_="n") if page.inside(i, row)]
    traced = [(i, row) for i, row in cells if "data-step" in page.attributes(i)]
    assert len(traced) == 6 * 6
    for i, row in traced:
        value = values[page.attributes(row)["data-run"]][int(page.attributes(i)["data-step"])]
        assert page.text(i) == f"{100 * value:.1f}%"
    named = {name for _, have in page.elements for name in have.get("data-run", "").split()}
    assert named == set(records)


def test_numbers_of_an_arm(full: Ledger) -> None:
    """awr's last three evaluations are 118, 122, 124 of 128, two fewer for seed 1 and two more for seed 3.

    So the seeds' means are (364/3 - 2, 364/3, 364/3 + 2)/128, their mean 94.79%, sd 2/128 = 1.5625%, and the 95% t
    interval reaches 4.3027 * 1.5625% / sqrt(3) = 3.88% to each side.
    """
    page = page_of(full)
    assert "94.8% [90.9%, 98.7%] t, n = 3 93.2% 94.8% 96.4%" in page.text(page.all("table", class_="numbers")[0])


def test_wilson_interval_of_one_evaluation(full: Ledger) -> None:
    """122 of 128, z = 1.96: centre (122/128 + z^2/256)/(1 + z^2/128) = 93.99%, half width 3.81%."""
    assert "seed 1, step 50,000; Wilson [90.2%, 97.8%], n = 128 episodes" in page_of(full).text()


def test_axis_choices_are_those_recorded(full: Ledger) -> None:
    page = page_of(full)
    assert [page.attributes(i)["id"] for i in page.all("input", type="radio")] == [
        "axis-real",
        "axis-simulator",
        "axis-wall",
    ]
    assert "log scale" in page.text()  # 2,050,000 simulator steps against 50,000


def test_unfinished_sweep(ledger: Ledger) -> None:
    ledger.write_one("gae_ppo_finetune", 1)
    ledger.write_one("gae_ppo_finetune", 2, (58, 60, 63), state="failed", reason="FloatingPointError: loss is NaN")
    ledger.write_one("awr", 1)
    ledger.write_one("awr", 2, (58, 90), state="preempted", reason="asked to stop by SIGTERM")
    page = page_of(ledger)
    assert page.wrong == []
    text = page.text()
    assert "2 of 6 runs done, 2 pending, 1 preempted, 1 failed" in text
    assert "seed 3 is not started" in text
    failed = page.text(page.all("section", id="failed")[0])
    assert "1 of 3" in failed and "at step 20,000: FloatingPointError: loss is NaN" in failed
    lines = [line for i in page.all("script", class_="lines") for line in unpack(page.text(i))]
    assert sorted(line["state"] for line in lines) == ["done", "done", "failed", "open"]
    states = [page.attributes(i).get("class") for i in page.all("i") if "data-run" in page.attributes(i)]
    assert sorted(states) == ["s-done", "s-done", "s-failed", "s-new", "s-new", "s-preempted"]


def test_nothing_run_yet(ledger: Ledger) -> None:
    page = page_of(ledger)
    assert page.wrong == [] and "0 of 6 runs done, 6 pending" in page.text()
    assert not page.all("section", id="curves") and not page.all("section", id="cost")


def test_another_evaluation_protocol_is_never_declared_by_a_recipe(ledger: Ledger) -> None:
    """A recipe of its own may differ in everything, but not in how it is judged, for how long, and from where."""
    recipe = "{family: finetune, extends: awr_rerollout, config: {evaluation: {episodes: 64}, gamma: 0.9}}"
    (ledger.folder / "awr64.yaml").write_text(recipe, encoding="utf-8")
    ledger.question["list"] = [{"name": "awr", "recipe": "./awr64.yaml"}]
    for planned in ledger.plan().runs:
        episodes = 64 if planned.arm == "awr" else 128
        ledger.write(planned, [h * episodes // 128 for h in CURVES[planned.arm]], episodes=episodes)
    page = page_of(ledger)
    unfair = page.text(page.all("section", id="unfair")[0])
    assert "undeclared evaluation protocol: evaluation.episodes is 64, not 128" in unfair
    assert "gamma" not in unfair
    assert [page.text(i) for i in page.all("td", class_="undeclared")] == ["64 undeclared"]
    assert "invalid comparison" in page.text(page.all("section", id="verdict")[0])


def test_undeclared_settings_are_marked(ledger: Ledger) -> None:
    ledger.question |= {"list": [{"name": "awr", "set": {"update.epochs": 30}}], "baseline": "awr_rerollout"}
    page = page_of(ledger)
    marked = [page.text(i) for i in page.all("td", class_="undeclared")]
    assert any("gae" in text for text in marked) and all("undeclared" in text for text in marked)
    declared = [page.text(i) for i in page.all("td", class_="declared")]
    assert "30" in declared


def test_other_code_is_invalid(ledger: Ledger) -> None:
    for planned in ledger.plan().runs:
        odd = (planned.arm, planned.seed) == ("awr", 2)
        ledger.write(planned, CURVES[planned.arm], commit="f" * 40 if odd else None)
    page = page_of(ledger)
    unfair = page.text(page.all("section", id="unfair")[0])
    assert "ran on ffffffffffff, the baseline on d53c0cc1b2a3" in unfair
    assert "invalid comparison" in page.text(page.all("section", id="verdict")[0])


def test_hostile_text_stays_text(ledger: Ledger) -> None:
    ledger.question |= {"question": HOSTILE, "hypothesis": HOSTILE, "notes": HOSTILE}
    ledger.question["list"] = [{"name": HOSTILE, "recipe": "awr_rerollout"}]
    first, *_, last = ledger.plan().runs
    ledger.write(first, (58, 60), state="failed", reason=HOSTILE)
    ledger.write(last, (58, 60), commit="<b>bold</b>")
    page = page_of(ledger, notes=HOSTILE)
    assert page.wrong == []
    runnable = [i for i in page.all("script") if "type" not in page.attributes(i)]
    assert len(runnable) == 1 and not page.all("img") and len(page.all("style")) == 1
    assert not any(name.startswith("on") for _, have in page.elements for name in have)
    assert page.text().count("alert('x')") >= 5


def test_many_arms_are_listed_then_spelled_out(ledger: Ledger) -> None:
    ledger.question |= {"list": [], "base": "awr_rerollout", "grid": {"update.beta": [0.5, 1.0, 2.0, 4.0, 8.0]}}
    for planned in ledger.plan().runs:
        ledger.write(planned, (58, 80, 100, 110, 112, 114 + planned.seed))
    page = page_of(ledger)
    top = page.text(page.all("section", id="verdict")[0])
    assert "Of 4 arms compared with beta=1.0" in top and "beta=8.0" in top
    assert len(page.all("dl", class_="words")) == 1
    assert len(page.all("figure", class_="panel")) == 4


def test_runs_without_a_question_are_only_described(full: Ledger) -> None:
    dossier = collect_runs([Run(path) for path in full.written], name="single")
    assert judged(dossier) == []
    page = Page(render(dossier, []))
    assert page.wrong == []
    assert "No claim was declared" in page.text(page.all("section", id="verdict")[0])
    assert not page.all("section", id="effects")
    assert [page.text(i) for i in page.all("h2")][:2] == ["Board", "Curves"]


def test_summaries_that_disagree_are_said_so(ledger: Ledger) -> None:
    """AWR peaks high and collapses: better by peak, worse by the declared mean of the last three."""
    for planned in ledger.plan().runs:
        up = (58, 70, 80, 88, 92, 94) if planned.arm != "awr" else (58, 124, 60, 50, 45, 40)
        ledger.write(planned, [h + planned.seed for h in up])
    page = page_of(ledger)
    top = page.text(page.all("section", id="verdict")[0])
    assert "Depends on the statistic" in top and "opposite" in top
    assert "disagree" in page.text(page.all("section", id="effects")[0])
    notes = page.text(page.all("section", id="notes")[0])
    assert "awr: ends at 32.8% after a peak of 98.4%" in notes  # (40 + 2)/128 and (124 + 2)/128


def test_findings_stand_on_the_board_and_below_the_curve(full: Ledger) -> None:
    def diagnose(run: Run, curves: Mapping[str, Curve]) -> list[Finding]:
        found = Finding("peak_then_collapse", "critical", 25_000, HOSTILE)
        return [found, Finding("slow", "info", None, "slow")] if run.meta.arm == "awr" and run.meta.seed == 2 else []

    plan = full.plan()
    dossier = collect_plan(plan, plan.results(), "duel.yaml", Shelf(diagnose))
    page = Page(render(dossier, judged(dossier)))
    assert page.wrong == []
    board = page.text(page.all("section", id="board")[0])
    assert board.count("critical") == 1
    signs = [page.attributes(i) for i in page.all("i", class_="sev-critical")]
    # step 25,000 is half of the real steps; half way between the evaluations at 7.5 and 11 seconds is 9.25 of 18
    places = [sign["style"] for sign in signs]
    assert len(places) == 3 and places[0] == "left:50.000%" and places[2] == "left:51.389%"
    (row,) = [i for i in page.all("li") if "data-step" in page.attributes(i)]
    assert "peak_then_collapse" in page.text(row) and page.attributes(row)["data-step"] == "25000"
    assert page.text(page.all("details", class_="told")[0]).startswith("■ 2 findings")


def test_without_findings_nothing_of_health_is_shown(full: Ledger) -> None:
    page = page_of(full)
    assert not page.all("div", class_="strip") and not page.all("details", class_="told")
    assert "Health" not in page.text(page.all("section", id="runs")[0])


def test_many_runs_are_told_by_their_means(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bellmark.reports.page.MOST_DETAILED", 5)
    ledger.write_all()
    page = page_of(ledger)
    (table,) = page.all("table", class_="evaluations")
    assert len([i for i in page.all("tr") if page.inside(i, table)]) == 1 + 2
    assert not page.all("span", class_="per-seed") and "each run's own evaluations are in its view" in page.text()
    assert len(page.all("script", class_="run")) == 6
