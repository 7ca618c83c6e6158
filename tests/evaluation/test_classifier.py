"""The classifier of a feature space is trained once for a data set."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vaebm_toolkit.core import Split
from vaebm_toolkit.evaluation import classifier as module
from vaebm_toolkit.evaluation.classifier import cache_folder, classifier, train_classifier
from vaebm_toolkit.testing.tiny import TinyDataset


@pytest.fixture
def dtype() -> torch.dtype:
    return torch.float32


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []

    def counted(*given, **more):  # type: ignore[no-untyped-def]
        seen.append(1)
        return train_classifier(*given, **more)

    monkeypatch.setattr(module, "train_classifier", counted)
    return seen


def test_what_is_kept_is_what_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, data = trainings(monkeypatch), TinyDataset((1, 8, 8))
    x = data.test.batch(torch.arange(20))
    first, accuracy = classifier(data, steps=20)
    again, kept = classifier(TinyDataset((1, 8, 8)), steps=20)
    assert len(seen) == 1
    assert torch.equal(first(x), again(x))
    assert accuracy == kept
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())


def test_one_set_is_divided_and_few_images_are_not(caplog: pytest.LogCaptureFixture) -> None:
    data = TinyDataset((1, 8, 8))
    n = len(data.train)
    assert module.division(data).words == f"{len(data.test):,} held-out images"
    data.test = data.train
    d = module.division(data)
    assert sorted([*d.learned.tolist(), *d.checked.tolist()]) == list(range(n))
    assert d.words == f"{n // 5} held-out images"
    with caplog.at_level("INFO", "vaebm_toolkit"):
        classifier(data, steps=5)
        classifier(data, steps=5)
    (note,) = caplog.messages
    assert note.startswith(f"training the classifier on {n - n // 5} images, 5 steps; kept in ")
    data.train = data.test = Few(data.train, 20)
    assert module.division(data).words == "the 20 images it was trained on"


class Few(Split):
    def __init__(self, split: Split, count: int) -> None:
        self.split, self.count = split, count

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: torch.Tensor, rng: torch.Generator | None = None) -> torch.Tensor:
        return self.split.batch(indices)


def test_other_data_and_settings_are_trained_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = trainings(monkeypatch)
    classifier(TinyDataset((1, 8, 8)), steps=5)
    classifier(TinyDataset((1, 8, 8)), steps=6)
    classifier(TinyDataset((1, 8, 8), seed=1), steps=5)
    assert len(seen) == 3


def test_a_damaged_or_forbidden_cache_costs_a_training_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen, data = trainings(monkeypatch), TinyDataset((1, 8, 8))
    classifier(data, steps=5)
    (file,) = (cache_folder() / "classifiers").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    classifier(data, steps=5)
    classifier(data, steps=5)
    assert len(seen) == 2
    (tmp_path / "no folder").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no folder"))
    classifier(data, steps=5)
    assert len(seen) == 3
