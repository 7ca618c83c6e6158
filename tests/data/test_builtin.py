"""The data inside the package: the digits and the 25 Gaussians; and the declarations."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from importlib import resources

import pytest
import torch

from vaebm_toolkit.builtin import datasets
from vaebm_toolkit.builtin.data import digits, gaussians
from vaebm_toolkit.options import fields
from vaebm_toolkit.registry import installed, load_factory

PACKAGE = resources.files("vaebm_toolkit.builtin.data")
DIGITS_TEST = (
    "9a3ec707c73f71a5ad660b7e4e74bb7cff1b1bf21f5ff2cc0bb26577714ad317"  # of the test images, uint8, in order
)


def test_declarations_do_not_import_torch() -> None:
    code = "import sys, vaebm_toolkit.builtin.datasets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("component", datasets.COMPONENTS, ids=lambda c: c.name)
def test_every_declared_data_set_has_its_factory_and_words(component: datasets.Component) -> None:
    assert callable(load_factory(installed().find("dataset", component.name)))
    assert component.summary
    assert all(f.help and f.default is not f for f in fields(component.options).values())


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        (datasets.MnistOptions(pad=2), (1, 32, 32)),
        (datasets.MnistOptions(channels="rgb", size=14), (3, 14, 14)),
        (datasets.StackedMnistOptions(), (3, 28, 28)),
        (datasets.StackedMnistOptions(pad=2, size=12), (3, 16, 16)),
        (datasets.Cifar10Options(), (3, 32, 32)),
        (datasets.CelebaOptions(), (3, 64, 64)),
        (datasets.CelebaOptions(size=None), (3, 148, 148)),
        (datasets.LsunOptions(), (3, 64, 64)),
        (datasets.LsunOptions(size=None), None),
        (datasets.ImageFolderOptions(), None),
        (datasets.ImageFolderOptions(size=16), None),
        (datasets.ImageFolderOptions(size=16, channels="grey", pad=1), (1, 18, 18)),
        (datasets.Gaussians25Options(), (2,)),
        (datasets.DigitsOptions(), (1, 8, 8)),
    ],
)
def test_shape_from_the_options_alone(options: datasets.ImageOptions, shape: tuple[int, ...] | None) -> None:
    assert options.data_shape == shape


def test_digits_file_is_the_published_one() -> None:
    packed = PACKAGE.joinpath("digits.csv.gz").read_bytes()
    readme = PACKAGE.joinpath("README.md").read_text(encoding="utf-8")
    assert len(packed) < 100_000
    assert hashlib.sha256(packed).hexdigest() in readme
    for word in ("10.24432/C50P49", "CC BY 4.0", "scikit-learn", "Alpaydin"):
        assert word in readme


def test_digits_counts_values_and_balance() -> None:
    images, labels = digits.read()
    assert images.shape == (1797, 1, 8, 8)
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # UCI's counts
    data = digits.build(datasets.DigitsOptions())
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.test.labels().bincount().tolist() == [36] * 10
    x = data.train.batch(torch.arange(1437))
    assert x.dtype == torch.float32
    assert (x.min(), x.max()) == (0, 1)
    assert torch.equal(x * 16, (x * 16).round())
    ink = [data.train.batch(torch.arange(1437)).sum().item(), data.test.batch(torch.arange(360)).sum().item()]
    assert sum(ink) == images.sum().item() / 16  # nothing lost, nothing twice


def test_digits_split_is_fixed() -> None:
    """These rows are held out on every machine; a change would spoil comparisons of stored runs."""
    data = digits.build(datasets.DigitsOptions())
    content = hashlib.sha256(data.test.images.numpy().tobytes()).hexdigest()
    assert content == DIGITS_TEST


def test_digits_pad_and_limit() -> None:
    data = digits.build(datasets.DigitsOptions(pad=4, limit=50))
    assert data.shape == (1, 16, 16)
    assert (len(data.train), len(data.test)) == (50, 50)
    assert data.train.batch(torch.arange(50))[:, :, :4].eq(0).all()


def test_gaussians_density_integrates_to_one() -> None:
    """Trapezoid sum over ±7: the rest of the mass is below 1e-190, the rule's error below 1e-12."""
    data = gaussians.build(datasets.Gaussians25Options(std=0.3, train_size=2, test_size=2))
    axis = torch.arange(-7, 7, 0.05)
    mass = data.log_prob(torch.cartesian_prod(axis, axis)).exp().sum() * 0.05**2
    assert mass.item() == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("split", ["train", "test"])
def test_gaussians_mean_log_prob_is_the_analytic_one(split: str) -> None:
    """E log p = −log 25 − log(2π σ²) − 1 = −1.4516 nats, within 4 standard errors."""
    data = gaussians.build(datasets.Gaussians25Options())
    points = getattr(data, split)
    log_prob = data.log_prob(points.batch(torch.arange(len(points))).double())
    assert data.expected_log_prob == pytest.approx(-1.451583, abs=1e-6)
    error = log_prob.std().item() / math.sqrt(len(points))
    assert abs(log_prob.mean().item() - data.expected_log_prob) < 4 * error


def test_gaussians_points_follow_from_the_seed() -> None:
    first, again, other = (
        gaussians.build(datasets.Gaussians25Options(seed=s, train_size=100, test_size=50)) for s in (0, 0, 1)
    )
    rows = torch.arange(50)
    assert torch.equal(first.train.batch(rows), again.train.batch(rows))
    assert not torch.equal(first.train.batch(rows), other.train.batch(rows))
    assert not torch.equal(first.train.batch(rows), first.test.batch(rows))
    assert first.train.batch(rows).dtype == torch.float32
    nearest = torch.cdist(first.train.points, first.means).argmin(1)
    assert torch.equal(nearest, first.train.labels())


def test_gaussians_modes_are_what_lies_within_four_deviations() -> None:
    data = gaussians.build(datasets.Gaussians25Options(std=0.2))
    assert (data.modes, data.means.shape) == (25, (25, 2))
    aside = torch.tensor([0.0, 1.0])
    assert torch.equal(data.mode_of(data.means), torch.arange(25))
    assert torch.equal(data.mode_of(data.means + 0.79 * aside), torch.arange(25))
    assert (data.mode_of(data.means + 0.81 * aside) == -1).all()
    assert data.mode_of(torch.tensor([[float("nan"), 0.0], [1e9, 0.0]])).tolist() == [-1, -1]
    found, truth = data.mode_of(data.test.batch(torch.arange(len(data.test)))), data.test.labels()
    assert torch.equal(found[found >= 0], truth[found >= 0])
    assert (found < 0).double().mean().item() == pytest.approx(math.exp(-8), abs=5 * math.exp(-4) / 100)
