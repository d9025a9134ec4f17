"""The live pages without a browser: what is made when, what a request may reach, a real server on a real socket."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from synthetic_ledger import QUESTION, Ledger, Page

from bellmark.cli.serve import SweepFiles
from bellmark.records import RunWriter
from bellmark.reports.site import HOME, Site
from bellmark.sweeps.work import Plan


class NoPlans:
    """No sweep file is known."""

    def names(self) -> Sequence[str]:
        return ()

    def stamp(self, name: str) -> object:
        return None

    def plan(self, name: str) -> tuple[Plan, str] | None:
        return None


def site_of(ledger: Ledger) -> Site:
    ledger.plan()  # writes the file
    return Site(ledger.runs_root, SweepFiles(ledger.runs_root, [ledger.file], ledger.folder / "none"))


def page(site: Site, name: str) -> Page:
    found = site.served(name)
    assert found is not None
    return Page(found.html)


def test_pages_follow_the_records(ledger: Ledger) -> None:
    site = site_of(ledger)
    assert site.served(HOME) is None and site.expects("duel") and site.look()
    assert "0 of 6 runs done" in page(site, HOME).text() and "6 pending" in page(site, "duel").text()
    assert not site.look()  # nothing changed
    ledger.write_one("awr", 1)
    assert site.look()
    found = page(site, "duel")
    assert found.wrong == [] and "1 of 6 runs done" in found.text()
    assert not found.all("script", class_="run")  # the page asks for single runs
    body = found.attributes(found.all("body")[0])
    assert (body["data-live"], body["data-page"], body["data-revision"]) == ("../", "duel", "2")
    home = page(site, HOME)
    assert home.wrong == [] and [
        home.attributes(i)["data-run"] for i in home.all("tr") if "data-run" in home.attributes(i)
    ]
    assert not site.expects("dule")


def test_the_served_page_is_the_written_one(full: Ledger) -> None:
    """One renderer: but for the frame's live marks and the runs' documents, served and written pages are the same."""
    from bellmark.reports import collect_plan, judged
    from bellmark.reports.page import render

    site = site_of(full)
    site.look()
    plan = full.plan()
    written = Page(render(d := collect_plan(plan, plan.results(), f"{full.file} --runs {full.runs_root}"), judged(d)))
    served = page(site, "duel")
    for name in ("board", "curves", "effects", "numbers", "evaluations", "settings", "runs"):
        assert written.text(written.all("section", id=name)[0]) == served.text(served.all("section", id=name)[0]), name


def test_runs_without_a_file_are_described(full: Ledger) -> None:
    site = Site(full.runs_root, NoPlans())
    site.look()
    assert "No claim was declared" in page(site, "duel").text()


def test_a_broken_sweep_file_is_said_on_its_page_and_the_rest_goes_on(full: Ledger) -> None:
    site = site_of(full)
    site.look()
    full.file.write_text("name: duel\nquestoin: what?\n", encoding="utf-8")
    assert site.look()
    assert "questoin" in page(site, "duel").text() and "questoin" in page(site, HOME).text()
    full.question["question"] = "Better?"
    full.plan()
    assert site.look() and "Better?" in page(site, "duel").text()


def test_a_damaged_run_is_named_and_left_out(full: Ledger) -> None:
    (full.written[0] / "run.json").write_text("{")
    site = site_of(full)
    site.look()
    home = page(site, HOME)
    assert "is damaged" in home.text() and "5 runs" in home.text()


def test_an_empty_folder_waits_for_the_first_run(tmp_path: Path) -> None:
    site = Site(tmp_path / "nowhere", NoPlans())
    site.look()
    assert "yet. This page shows the first as soon as it begins." in page(site, HOME).text()


@contextmanager
def served(site: Site) -> Iterator[int]:
    """A server on a port of its own."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")
    from bellmark.reports.serve import application, bound, server_of

    listening = bound("127.0.0.1", 0)
    server = server_of(application(site, hosts=["127.0.0.1", "localhost"]))
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        assert not thread.is_alive()


def ask(port: int, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    found = (answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()})
    connection.close()
    return found


def ready(port: int, path: str) -> str:
    """A page once it has been made."""
    for _ in range(200):
        status, body, _ = ask(port, path)
        if b"Reading the records" not in body:
            assert status == 200
            return body.decode()
        time.sleep(0.05)
    raise AssertionError(f"{path} was never made")


def test_a_server(full: Ledger) -> None:
    video = full.written[0] / "videos" / "step_1.mp4"
    video.write_bytes(bytes(range(256)) * 8)
    name = full.written[0].name
    with served(site_of(full)) as port:
        assert "supported" in ready(port, "/sweep/duel") and name in ready(port, "/")
        assert ask(port, "/sweep/dule")[0] == 404
        status, body, _ = ask(port, f"/data/run?{urlencode({'name': name})}")
        told = json.loads(body)
        assert status == 200 and told["name"] == name and told["state"] == "done"
        source = told["videos"][0]["source"].replace("{base}", "/")
        status, body, headers = ask(port, source, Range="bytes=10-19")
        assert (status, body, headers["content-type"]) == (206, bytes(range(10, 20)), "video/mp4")


@pytest.mark.parametrize(
    "path",
    [
        "/data/run?name=nobody",
        "/data/run?name=" + quote("../../etc"),
        "/data/video?name=NAME&file=" + quote("../run.json"),
        "/data/video?name=NAME&file=run.json",
        "/data/video?name=..&file=passwd",
        "/../etc/passwd",
    ],
)
def test_nothing_else_can_be_reached(full: Ledger, path: str) -> None:
    with served(site_of(full)) as port:
        ready(port, "/")
        assert ask(port, path.replace("NAME", full.written[0].name))[0] == 404


def test_a_page_from_elsewhere_cannot_use_a_name_of_its_own(full: Ledger) -> None:
    with served(site_of(full)) as port:
        assert ask(port, "/", Host="evil.example")[0] == 400


def test_an_event_says_that_a_page_was_made_anew(ledger: Ledger) -> None:
    ledger.write_one("awr", 1)
    with served(site_of(ledger)) as port:
        ready(port, "/sweep/duel")
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/events?page=duel&since=1")
        stream = connection.getresponse()
        assert stream.getheader("content-type", "").startswith("text/event-stream")
        assert stream.readline() == b": hello\n"
        ledger.write_one("awr", 2)
        lines = [stream.readline() for _ in range(4)]
        assert b"data: 2\n" in lines
        connection.close()


def test_a_port_that_is_taken_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("uvicorn")
    from bellmark.cli import main
    from bellmark.reports.serve import bound

    with bound("127.0.0.1", 0) as listening:
        port = str(listening.getsockname()[1])
        assert main(["serve", str(tmp_path), "--port", port]) == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "nowhere is not a folder with runs"),
        (["nowhere.yaml"], "sweep file 'nowhere.yaml' does not exist"),
        ([".", ".."], "one folder of runs is served at a time, got ., .."),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    line: str,
) -> None:
    pytest.importorskip("uvicorn")
    from bellmark.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["serve", *arguments]) == 2
    err = capsys.readouterr().err
    assert line in err and err.count("\n") == 1


def test_a_file_is_found_by_the_name_in_it(full: Ledger) -> None:
    folder = full.folder / "sweeps"
    folder.mkdir()
    full.plan()
    (folder / "broken.yaml").write_text("name: [", encoding="utf-8")
    (folder / "other.yaml").write_bytes(full.file.read_bytes())
    files = SweepFiles(full.runs_root, [], folder)
    assert files.names() == [] and files.plan("nothing") is None and files.stamp("nothing") is None
    found = files.plan("duel")
    assert found is not None and found[0].sweep.question == QUESTION["question"] and "other.yaml" in found[1]


def test_a_running_run_that_dies_changes_its_page(ledger: Ledger) -> None:
    ledger.write_one("awr", 1)
    status = json.loads((ledger.written[0] / "status.json").read_bytes())
    site = site_of(ledger)
    with RunWriter(ledger.written[0]):
        site.look()
        assert "running" in page(site, HOME).text()
    living = json.loads((ledger.written[0] / "status.json").read_bytes())
    dead = {**living, "state": "running", "pid": 2**22 + 1, "process_start": 1.0}
    (ledger.written[0] / "status.json").write_text(json.dumps(dead))
    assert status["state"] == "done" and site.look() and "lost" in page(site, HOME).text()


def test_a_fault_of_ours_leaves_the_other_pages_standing(
    full: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise RuntimeError("ours")

    site = site_of(full)
    monkeypatch.setattr("bellmark.reports.site.page.render", broken)
    assert site.look() and "could not be made" in page(site, "duel").text() and "6 runs" in page(site, HOME).text()
    assert "RuntimeError: ours" in caplog.text
