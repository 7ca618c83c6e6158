"""Metric tables: what is common, what differs, what warns."""

from __future__ import annotations

import pytest

from vaebm_toolkit.cli.tables import print_records
from vaebm_toolkit.evaluation.records import Record, label
from vaebm_toolkit.registry import installed
from vaebm_toolkit.report.tables import metrics


def record(model: str, value: float, **protocol: object) -> Record:
    shared = {"samples": 1000, "device": "cpu", **protocol}
    return Record(model, "frechet", "pixels", {"frechet": value}, {"frechet": (value - 1, value + 1)}, shared)


def table(*found: Record):  # type: ignore[no-untyped-def]
    (only,) = metrics([(r.model, r) for r in found], installed())
    return only


def test_figures_of_one_protocol() -> None:
    m = table(record("a", 2.0), record("b", 3.0))
    (shown,) = m.tables
    assert shown.head == ["Model", "frechet"]
    assert [(r.label, r.cells[0].value, r.cells[0].interval) for r in shown.rows] == [
        ("a", "2", "1 to 3"), ("b", "3", "2 to 4"),
    ]  # fmt: skip
    assert ("samples", "1,000") in m.protocol
    assert m.differences == []


def test_other_numbers_of_samples_do_not_compare() -> None:
    m = table(record("a", 2.0), record("b", 3.0, samples=10))
    assert m.differences == ["samples"]
    assert [(t.told, [r.label for r in t.rows]) for t in m.tables] == [
        ("samples 1,000", ["a"]), ("samples 10", ["b"]),
    ]  # fmt: skip


def test_devices_and_the_chain_that_one_model_has_are_no_reason() -> None:
    m = table(record("a", 2.0), record("b", 3.0, device="cuda", sampler={"name": "latent-ld", "steps": 3}))
    assert m.differences == []
    assert {k for k, _ in m.further} == {"device", "sampler"}


def test_runs_of_two_seeds_compare() -> None:
    m = table(record("a", 2.0, seed=0), record("b", 3.0, seed=1))
    assert m.differences == []
    assert m.further == [("seed", [("a", "0"), ("b", "1")])]


def test_two_chains_that_differ_are_one() -> None:
    chain = {"name": "latent-ld", "steps": 3}
    alone, a, b = (
        record("c", 1.0),
        record("a", 2.0, sampler=chain),
        record("b", 3.0, sampler={**chain, "steps": 4}),
    )
    m = table(alone, a, b)
    assert m.differences == ["sampler"]
    assert [(t.told, [r.label for r in t.rows]) for t in m.tables] == [
        ("sampler steps 3", ["c", "a"]), ("sampler steps 4", ["b"]),
    ]  # fmt: skip


def test_a_chain_is_told_once() -> None:
    chain = {"name": "latent-ld", "steps": 3}
    m = table(record("a", 2.0), record("b", 3.0, sampler=chain), record("b", 3.1, seed=1, sampler=chain))
    assert ("sampler", [("b", "latent-ld, steps 3")]) in m.further


def test_many_figures_go_down_the_page() -> None:
    many = Record("a", "ood", "", {f"AUROC {k}": 0.5 for k in range(9)}, {"AUROC 1": (0.4, 0.6)}, {})
    (shown,) = table(many).tables
    assert shown.head == ["Figure", "a"]
    assert [r.label for r in shown.rows] == [f"AUROC {k}" for k in range(9)]
    assert [r.cells[0].interval for r in shown.rows][:2] == ["", "0.4 to 0.6"]


def named(figure: str, features: str = "inception", **protocol: object) -> str:
    shared = {"samples": 50_000, "split": "train", "mode": "legacy_tensorflow", **protocol}
    return label(figure, Record("a", "", features, {}, {}, shared))


def test_what_differs_from_the_published_protocol_stands_in_the_name() -> None:
    assert [named(n) for n in ("frechet", "kernel", "score")] == ["FID", "KID", "IS"]
    assert named("frechet", mode="clean") == "FID clean"
    few = named("frechet", mode="clean", samples=1000, split="test")
    assert few == "FID clean (1,000 samples, test split)"
    assert named("kernel", mode="legacy_pytorch", split="test") == "KID legacy_pytorch (test split)"
    assert named("score", mode="clean", split="test") == "IS clean"
    assert named("score", split="test", samples=1000) == "IS (1,000 samples)"
    assert named("frechet", "classifier", split="test") == "frechet-classifier"
    assert named("precision") == "precision-inception"


def test_what_a_figure_is_not_good_for_stands_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    a, b = record("a", 2.0, found={"ess": 1.0, "reading": {"frechet": "a bound"}}), record("b", 3.0)
    m = table(a, b)
    assert m.differences == []
    assert m.further == []
    assert m.reading == [("a, frechet", "a bound")]
    print_records([a, b])
    said = capsys.readouterr().out
    assert "a, frechet: a bound" in said
    assert "ess" not in said
