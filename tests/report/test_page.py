"""`vaebm report`: what stands on the page of every form of run, and what it never does."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from vaebm_toolkit.errors import RunError
from vaebm_toolkit.evaluation.records import read
from vaebm_toolkit.report.page import write_report

from ..cli.conftest import Vaebm

EVERY = {"samples", "ranked", "chains", "energies", "metrics", "training", "latents", "setup", "again"}
ATTACK = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Anchors, pictures, scripts and links of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.text = file.read_text(encoding="utf-8")
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if given.get("id"):
            self.ids.append(str(given["id"]))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [given for name, given in self.tags if name == tag]

    @property
    def reading(self) -> str:
        return " ".join(" ".join(self.words).split())


def report(vaebm: Vaebm, *args: object) -> Page:
    called = vaebm("report", *args)
    assert called.code == 0, called.err
    return Page(Path(called.out.strip()))


@pytest.fixture(scope="module")
def shown(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of a run as it is, made once."""
    return Page(write_report([finished], tmp_path_factory.mktemp("shown") / "report.html"))


def test_every_section_of_a_run_on_images(vaebm: Vaebm, run: Path) -> None:
    page = report(vaebm, run)
    assert set(page.ids) >= EVERY
    assert "missing" not in page.ids
    assert len(page.ids) == len(set(page.ids))
    pictures = page.named("img")
    assert len(pictures) > 3 * 20
    assert all(p["alt"] and str(p["src"]).startswith("data:image/png;base64,") for p in pictures)
    for words in (
        "Held-out data", "Generator alone", "vaebm run --recipe", "vaebm cite", "frechet", "Energy gap",
        "chain_reused", "Reconstructions", "parameters", "samples 20", "latent-ld, 2 steps",
    ):  # fmt: skip
        assert words in page.reading, words
    assert (run / "report.html").stat().st_size < 1_000_000


def test_every_logged_series_is_there(finished: Path, shown: Page) -> None:
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    logged = {k for r in lines if "step" in r for k in r} - {"stage", "step"}
    assert logged <= {given["data-name"] for given in shown.named("path") if "data-name" in given}


def test_a_run_in_the_plane(vaebm: Vaebm, plane: Path, tmp_path: Path) -> None:
    page = report(vaebm, plane, "--out", tmp_path / "plane.html")
    assert set(page.ids) >= EVERY - {"ranked", "latents"}
    assert "missing" not in page.ids, page.reading[:2000]
    assert "Learned density" in page.reading
    assert "Step 3" in page.reading
    assert {"ranked", "latents"}.isdisjoint(page.ids)


def test_a_generator_alone(vaebm: Vaebm, generator_only: Path, tmp_path: Path) -> None:
    page = report(vaebm, generator_only, "--out", tmp_path / "alone.html")
    assert set(page.ids) >= {"samples", "training", "latents", "setup", "again", "missing"}
    assert {"ranked", "chains", "energies", "metrics"}.isdisjoint(page.ids)
    assert f"vaebm run --generator-from {generator_only}" in page.reading
    assert f"vaebm evaluate {generator_only}" in page.reading


def test_a_run_that_is_not_finished(vaebm: Vaebm, run: Path) -> None:
    for file in ("train/done.json", "metrics.json", "evaluation.json"):
        (run / file).unlink(missing_ok=True)
    page = report(vaebm, run)
    assert set(page.ids) >= {"samples", "training", "latents", "missing"}
    assert "It is not finished." in page.reading
    assert f"vaebm run --resume {run}" in page.reading
    assert "chains" not in page.ids


def test_a_run_that_has_hardly_begun(vaebm: Vaebm, run: Path) -> None:
    for file in run.iterdir():
        if file.name not in ("recipe.toml", "environment.json"):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    page = report(vaebm, run)
    assert "It is not begun." in page.reading
    assert set(page.ids) >= {"samples", "missing", "setup", "again"}  # the data are there


def test_data_that_are_gone_cost_their_pictures_alone(
    vaebm: Vaebm, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(recipe: object) -> None:
        raise RunError("The pictures have gone.", "Bring them back.")

    monkeypatch.setattr("vaebm_toolkit.report.drawing.build_dataset", refuse)
    page = report(vaebm, run)
    assert "The pictures have gone. Bring them back." in page.reading
    assert set(page.ids) >= {"samples", "chains", "training"}


def test_a_stage_that_went_back(vaebm: Vaebm, run: Path) -> None:
    file = run / "train" / "done.json"
    reason = "|energy_gap| = 2000 exceeds health.max_energy_gap = 1000"
    file.write_text(json.dumps({"step": 2, "steps": 4, "stopped": reason, "diverged": True}))
    page = report(vaebm, run)
    assert "diverged and went back, step 2 of 4" in page.reading
    assert reason in page.reading


def test_two_runs_beside_each_other(vaebm: Vaebm, run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "0002-other"))
    recipe = other / "recipe.toml"
    recipe.write_text(re.sub(r"(?m)^lr = .*$", "lr = 0.00321", recipe.read_text()))
    found = json.loads((other / "evaluation.json").read_text())
    for r in found:
        r["protocol"]["samples"] = 77
    (other / "evaluation.json").write_text(json.dumps(found))
    page = report(vaebm, run, other)
    assert (tmp_path / "report.html").is_file()
    each = {f"r{i}-{name}" for i in (0, 1) for name in EVERY - {"training"}}
    assert set(page.ids) >= {"comparison", "metrics", "training"} | each
    assert len(page.ids) == len(set(page.ids))
    assert "trainer.lr" in page.reading
    assert "0.00321" in page.reading
    assert "These figures do not compare" in page.reading
    drawn = [p.get("data-name") for p in page.named("path")]
    assert drawn.count("0001-digits") == drawn.count("0002-other") > 10


def test_runs_of_one_name_are_told_apart(vaebm: Vaebm, run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "elsewhere" / run.name))
    page = report(vaebm, run, other)
    assert str(other) in page.reading
    assert "Nothing: their recipes are the same." in page.reading


def test_nothing_from_a_run_is_taken_for_html(vaebm: Vaebm, run: Path) -> None:
    run = run.rename(run.with_name("<b onclick='x'>&"))
    record = json.loads((run / "evaluation.json").read_text())
    record.append({**record[0], "model": ATTACK, "metric": ATTACK, "figures": {ATTACK: 1.0}})
    record[-1]["protocol"] = {ATTACK: ATTACK}
    (run / "evaluation.json").write_text(json.dumps(record))
    environment = json.loads((run / "environment.json").read_text())
    environment.update(command=["vaebm", ATTACK], git='"><img src=x onerror=alert(1)>')
    environment["parts"][0]["version"] = ATTACK
    (run / "environment.json").write_text(json.dumps(environment))
    (run / "train" / "done.json").write_text(json.dumps({"step": 1, "stopped": ATTACK, "diverged": True}))
    with open(run / "log.jsonl", "a") as log:
        log.write(json.dumps({"stage": "train", "step": 5, "</svg><script>alert(1)</script>": 1.0}) + "\n")
    likelihood = {"bounds": {ATTACK: {"nats": 1.0, "error": ATTACK}}, "density": ATTACK}
    (run / "likelihood.json").write_text(json.dumps(likelihood))
    page = report(vaebm, run)
    assert len(page.named("script")) == 1
    assert ATTACK not in page.text
    assert page.text.count("&lt;script&gt;alert(1)") >= 8
    assert not [given for _, given in page.tags if any(k.startswith("on") for k in given)]


def test_the_page_loads_nothing(shown: Page) -> None:
    for tag, given in shown.tags:
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            value = given.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value)
    assert not re.search(r"@import|url\(", shown.text)
    policy = next(m["content"] for m in shown.named("meta") if m.get("http-equiv"))
    assert str(policy).startswith("default-src 'none'; img-src data:")


def test_the_same_run_gives_the_same_page(run: Path, tmp_path: Path) -> None:
    first = write_report([run], tmp_path / "a.html").read_text()
    assert write_report([run], tmp_path / "b.html").read_text() == first


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere"], "nowhere does not exist"),
        ([], "Missing argument 'RUN…'"),
        (["RUN", "--out", "."], "is a folder, not a file"),
    ],
)
def test_wrong_input(vaebm: Vaebm, finished: Path, args: list[str], said: str) -> None:
    called = vaebm("report", *[str(finished) if a == "RUN" else a for a in args])
    assert called.code != 0
    assert said in called.err


def test_damaged_files_are_named(vaebm: Vaebm, run: Path) -> None:
    (run / "evaluation.json").write_text("[{")
    page = report(vaebm, run)
    assert "evaluation.json cannot be read" in page.reading
    assert f"mv {run / 'evaluation.json'}" in page.reading
    assert set(page.ids) >= EVERY  # metrics.json has the figures too
    for text in ("{}", '[{"model": "a"}]', "3"):
        (run / "evaluation.json").write_text(text)
        with pytest.raises(RunError, match="holds no list of records"):
            read(run)
