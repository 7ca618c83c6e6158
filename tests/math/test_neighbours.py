"""Nearest training examples, and the figures of memorisation where their expectation is known."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from vaebm_toolkit.evaluation.neighbours import memorisation, nearest


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_nearest(rows: int, rng: torch.Generator) -> None:
    x, among = torch.randn(20, 5, generator=rng), torch.randn(33, 5, generator=rng)
    distance, index = torch.cdist(x, among).topk(4, largest=False)
    found = nearest(x, among, 4, rows=rows)
    torch.testing.assert_close(found.distance, distance)
    assert torch.equal(found.index, index)


def test_a_copy_is_at_distance_zero_exactly(rng: torch.Generator) -> None:
    """Also far from the origin, where a product of matrices would leave 1e-5 and more."""
    among = torch.randn(30, 8, generator=rng) + 1e4
    found = nearest(among[5:9], among, 2)
    assert found.index[:, 0].tolist() == [5, 6, 7, 8]
    assert (found.distance[:, 0] == 0).all()
    assert (found.distance[:, 1] > 0).all()


def test_held_out_data_as_samples_have_the_expected_figures(rng: torch.Generator) -> None:
    """Over 200 sets: 0.5 for the distances, n/(n + m) for the shares, whose spread is `error`."""
    found = []
    for _ in range(200):
        train, held_out, samples = torch.randn(120, 3, generator=rng).split([60, 30, 30])
        found.append(memorisation(samples, train, held_out))
    nearer = torch.tensor([f.nearer.value for f in found])
    assert abs(nearer.mean() - 0.5) < 4 * nearer.std() / 200**0.5
    z = torch.tensor([(f.share - f.expected) / f.error for f in found])
    assert found[0].expected == 2 / 3
    assert abs(z.mean()) < 4 / 200**0.5
    assert abs(z.square().mean() - 1) < 4 * z.square().std() / 200**0.5


def test_expectation_and_error_are_exact_over_all_divisions(rng: torch.Generator) -> None:
    """Of samples unlike the data too: only who was trained on is exchanged. C(7, 4) = 35 divisions."""
    pool, samples = torch.randn(7, 2, generator=rng), 0.3 * torch.randn(40, 2, generator=rng) + 1
    shares, errors = [], []
    for chosen in combinations(range(7), 4):
        rest = [i for i in range(7) if i not in chosen]
        found = memorisation(samples, pool[list(chosen)], pool[rest])
        shares.append(found.share)
        errors.append(found.error)
    assert found.expected == 4 / 7
    assert sum(shares) / 35 == pytest.approx(4 / 7, rel=1e-12)
    spread = torch.tensor(shares).std(correction=0)
    assert errors == pytest.approx([float(spread)] * 35, rel=1e-10)


def test_copies_are_found(rng: torch.Generator) -> None:
    train, held_out = torch.randn(300, 5, generator=rng).split([200, 100])
    copies = train[:80] + 1e-3 * torch.randn(80, 5, generator=rng)
    found = memorisation(copies, train, held_out)
    assert found.nearer.value == 1
    assert found.share == 1
    assert found.share - found.expected > 4 * found.error
    assert found.ratio < 0.01


def test_poor_samples_are_no_copies(rng: torch.Generator) -> None:
    """Far from all data: `nearer` falls, `share` stays at its expectation."""
    train, held_out = torch.randn(400, 5, generator=rng).split([200, 200])
    found = memorisation(4 * torch.randn(300, 5, generator=rng), train, held_out)
    assert found.nearer.value < 0.1
    assert abs(found.share - 0.5) < 4 * found.error


def test_refuses_other_features() -> None:
    with pytest.raises(ValueError, match="one length"):
        memorisation(torch.randn(5, 3), torch.randn(5, 3), torch.randn(5, 4))
    with pytest.raises(ValueError, match="k is between"):
        nearest(torch.randn(5, 3), torch.randn(5, 3), 6)


def test_the_picture_shows_a_planted_copy_first() -> None:
    from vaebm_toolkit.builtin.distances import Memorisation
    from vaebm_toolkit.builtin.metrics import MemorisationOptions
    from vaebm_toolkit.builtin.spaces import Pixels
    from vaebm_toolkit.testing.tiny import TinyDataset

    data = TinyDataset((1, 8, 8))
    metric = Memorisation(MemorisationOptions(), Pixels(None, data))
    copies = data.train.batch(torch.tensor([5, 17, 300]))
    metric.compute([copies + 0.001], data)
    shown = metric.pictures["nearest training examples"]
    assert shown.shape == (3, 8, 1, 8, 8)
    assert torch.equal(shown[:, 1], copies)
