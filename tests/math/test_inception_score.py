"""The inception score: its extremes, its definition, another implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaebm_toolkit.evaluation.inception_score import inception_score


def test_extremes() -> None:
    """1 where all answers are the same; the number of classes where each is sure and all occur equally."""
    same = torch.randn(5).expand(40, 5)
    assert inception_score(same, 4).value == pytest.approx(1.0, abs=1e-12)
    sure = torch.eye(5).repeat(8, 1).log()  # zeros among the probabilities
    found = inception_score(sure, 4)
    assert found.value == pytest.approx(5.0, rel=1e-12)
    assert found.std == pytest.approx(0.0, abs=1e-12)


def test_is_the_exponential_of_a_mean_divergence(rng: torch.Generator) -> None:
    logits = 2 * torch.randn(60, 7, generator=rng)
    p = logits.softmax(1)
    expected = (p * (p / p.mean(0)).log()).sum(1).mean().exp()
    assert inception_score(logits, 1).value == pytest.approx(float(expected), rel=1e-12)
    assert inception_score(logits.log_softmax(1), 1).value == pytest.approx(float(expected), rel=1e-12)


def test_mutual_information_of_a_binary_channel() -> None:
    """A classifier that is right with probability 0.9: I = log 2 − H(0.9)."""
    p = torch.tensor([0.9, 0.1])
    logits = torch.stack([p, p.flip(0)]).repeat(10, 1).log()
    expected = 2 * 0.9**0.9 * 0.1**0.1
    assert inception_score(logits, 2).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "splits"), [(200, 10), (203, 7)])
@pytest.mark.parametrize("shuffle", [False, True])
def test_equals_torch_fidelity(n: int, splits: int, shuffle: bool, rng: torch.Generator) -> None:
    isc = pytest.importorskip("torch_fidelity.metric_isc")
    logits = 2 * torch.randn(n, 10, generator=rng)
    theirs = isc.isc_features_to_metric(logits, splits=splits, shuffle=shuffle, rng_seed=4)
    order = np.random.RandomState(4).permutation(n) if shuffle else np.arange(n)
    found = inception_score(logits[torch.tensor(order)], splits)
    assert found.value == pytest.approx(theirs["inception_score_mean"], rel=1e-10)
    assert found.std == pytest.approx(theirs["inception_score_std"], rel=1e-8)


def test_refuses_more_splits_than_rows() -> None:
    with pytest.raises(ValueError, match="splits need logits"):
        inception_score(torch.randn(5, 3), 6)
