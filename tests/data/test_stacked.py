"""StackedMNIST: triples of digits, their labels, and the classifier that finds them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaebm_toolkit import DataError
from vaebm_toolkit.builtin.data import mnist, stacked
from vaebm_toolkit.builtin.datasets import MnistOptions, StackedMnistOptions
from vaebm_toolkit.core import ModalDataset
from vaebm_toolkit.evaluation.classifier import Placed

from .toy import toy_digits


def everything(split: Any) -> torch.Tensor:
    return split.batch(torch.arange(len(split)))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars are told apart sooner than digits."""
    monkeypatch.setattr(stacked, "STEPS", 60)


def build(root: Path, **options: Any) -> stacked.StackedMnist:
    return stacked.build(
        StackedMnistOptions(root=str(root), **{"train_size": 40, "test_size": 30, **options})
    )


@pytest.mark.parametrize("options", [{}, {"pad": 2}, {"size": 16}, {"bits": 5, "pad": 1}])
def test_channels_are_digits_of_the_same_split(tmp_path: Path, options: dict[str, int]) -> None:
    root = toy_digits(tmp_path)
    data, digits = build(root, **options), mnist.build(MnistOptions(root=str(root), **options))
    assert data.shape == (3, *digits.shape[1:]) == StackedMnistOptions(**options).data_shape
    assert (len(data.train), len(data.test)) == (40, 30)
    assert data.levels == digits.levels
    for split, source in ((data.train, digits.train), (data.test, digits.test)):
        x, labels = everything(split), split.labels()
        assert x.dtype == torch.float32
        for channel, place in enumerate((100, 10, 1)):
            assert torch.equal(x[:, channel], everything(source)[split.triples[:, channel], 0])
            assert torch.equal(labels // place % 10, source.labels()[split.triples[:, channel]])


def test_triples_follow_from_the_seed(tmp_path: Path) -> None:
    root = toy_digits(tmp_path)
    first, again, other = build(root), build(root), build(root, seed=1)
    assert torch.equal(first.train.triples, again.train.triples)
    assert not torch.equal(first.train.triples, other.train.triples)
    assert not torch.equal(first.train.triples[:30], first.test.triples)
    few = build(root, limit=5)
    assert (len(few.train), len(few.test)) == (5, 5)
    assert torch.equal(few.train.triples, first.train.triples[:5])
    large = build(root, train_size=6000)
    shares = large.train.triples.flatten().bincount(minlength=60) / 18_000
    assert shares.sub(1 / 60).abs().max() < 5 * (1 / 60 / 18_000) ** 0.5  # uniform over digits


@pytest.mark.parametrize("options", [{}, {"pad": 2}])
def test_modes_are_the_labels_where_the_classifier_is_right(tmp_path: Path, options: dict[str, int]) -> None:
    data = build(toy_digits(tmp_path), **options)
    assert isinstance(data, ModalDataset)
    assert data.modes == len(data.classes) == 1000
    before = torch.random.get_rng_state()
    with torch.no_grad():  # as a metric may be called
        found = data.mode_of(everything(data.test))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert found.dtype == torch.int64
    assert torch.equal(found, data.test.labels())
    assert data.about_modes() == {"digit accuracy": 1.0}
    assert torch.equal(data.mode_of(everything(data.test).double()), found)


def test_the_classifier_is_trained_when_it_is_asked_for_and_always_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, calls = toy_digits(tmp_path), []
    whole = stacked.classifier
    monkeypatch.setattr(stacked, "classifier", lambda *a, **given: calls.append(1) or whole(*a, **given))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    one = build(root)
    assert calls == []
    one.mode_of(everything(one.test))
    one.about_modes()
    assert calls == [1]
    torch.manual_seed(7)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    two = build(root, seed=3)
    for a, b in zip(one.trained[0].parameters(), two.trained[0].parameters(), strict=True):
        assert torch.equal(a, b)


def test_modes_are_refused_where_the_classifier_is_poor(tmp_path: Path) -> None:
    data = build(toy_digits(tmp_path, shuffled=True))
    for ask in (data.about_modes, lambda: data.mode_of(everything(data.test))):
        with pytest.raises(
            DataError, match=r"right on \d+\.\d% of the test digits, and 98\.5% are"
        ) as caught:
            ask()
        assert '--evaluate.metrics "frechet"' in caught.value.fix
    assert everything(data.train).shape == (40, 3, 28, 28), "training needs no classifier"


def test_digits_need_labels(tmp_path: Path) -> None:
    root = toy_digits(tmp_path)
    with np.load(root / "test.npz") as archive:
        images, labels = archive["images"], archive["labels"]
    np.savez(root / "test.npz", images=images)
    with pytest.raises(DataError, match=r"needs labels 0 to 9; the test digits under .* have none"):
        build(root)
    np.savez(root / "test.npz", images=images, labels=labels + 1)
    with pytest.raises(DataError, match="have 1 to 10"):
        build(root)


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No mnist under") as caught:
        build(tmp_path / "nowhere")
    assert "--dataset.download true" in caught.value.fix


@pytest.mark.parametrize("side", [8, 9, 10, 11, 28, 32])
def test_the_classifier_takes_every_size(side: int) -> None:
    network = Placed((1, side, side), 10).double()
    assert network(torch.rand(2, 1, side, side)).shape == (2, 10)
