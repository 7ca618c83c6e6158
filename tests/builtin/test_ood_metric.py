"""The metric ood: AUROCs that are known, the same images from any file, and what it refuses."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vaebm_langevin.kernel import DataLangevin, LatentLangevin
from vaebm_langevin.options import DataOptions, LatentOptions
from vaebm_toolkit import DataError, RecipeError
from vaebm_toolkit.builtin import ood
from vaebm_toolkit.builtin.data.digits import build as build_digits
from vaebm_toolkit.builtin.data.memory import ImageDataset, MemorySplit
from vaebm_toolkit.builtin.datasets import DigitsOptions
from vaebm_toolkit.builtin.metrics import OodOptions
from vaebm_toolkit.builtin.mlp import build_generator
from vaebm_toolkit.builtin.networks import GeneratorOptions
from vaebm_toolkit.core import Dataset, EnergyFunction, Generator, Metric, Model
from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.testing.tiny import TinyDataset

GREY, COLOUR = (1, 8, 8), (3, 8, 8)


class Distance(EnergyFunction):
    """‖x − the nearest pattern‖² / (2 · 0.1²), times `scale`."""

    def __init__(self, patterns: Tensor, scale: float = 1.0) -> None:
        super().__init__()
        self.patterns, self.scale = torch.nn.Parameter(patterns.to(torch.get_default_dtype())), scale

    def forward(self, x: Tensor) -> Tensor:
        near = torch.cdist(x.flatten(1), self.patterns.flatten(1)).amin(1)
        return self.scale * near.square() / (2 * 0.1**2)


class Mean(EnergyFunction):
    """E(x) = the mean of x: where other data lie can be read off its AUROC."""

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.one * x.flatten(1).mean(1)


def model_of(generator: Generator | None, energy: EnergyFunction | None, data: Dataset) -> Model:
    """In data space where there is no generator."""
    chains = LatentLangevin(LatentOptions(), None), DataLangevin(DataOptions(), None)
    sampler = None if energy is None else chains[generator is None]
    return Model(generator, energy, sampler, data.shape, data.bounds, mean=True)


def metric_of(model: Model, **options: object) -> Metric:
    metric = ood.Ood(OodOptions(**{"examples": 100, "draws": 3, **options}))  # type: ignore[arg-type]
    metric.see(model)
    return metric


def mlp(shape: tuple[int, ...]) -> Generator:
    return build_generator(GeneratorOptions(width=8, depth=1, min_sigma=0.3), shape=shape)


def energy_alone(data: TinyDataset, scale: float = 1.0) -> Model:
    return model_of(None, Distance(data.patterns, scale), data)


@pytest.mark.parametrize("shape", [GREY, COLOUR, (5,)])
def test_distance_to_the_patterns_tells_noise_from_data(shape: tuple[int, ...]) -> None:
    data = TinyDataset(shape)
    found = metric_of(energy_alone(data)).compute([], data)
    made = ["noise", "interpolated"] if len(shape) == 1 else ["constant", "noise", "interpolated"]
    assert list(found) == [f"AUROC −E, {name}" for name in made]
    noise = found["AUROC −E, noise"]
    assert noise > (0.99 if len(shape) == 3 else 0.9)
    assert noise.low < noise <= noise.high  # type: ignore[attr-defined]
    # pairs of one pattern, a quarter of them, are nearer to it than data are, and the others far
    between = found["AUROC −E, interpolated"]
    assert between == pytest.approx(0.75, abs=3 * (0.75 * 0.25 / 100) ** 0.5)


def test_a_constant_energy_tells_nothing() -> None:
    data = TinyDataset(GREY)
    found = metric_of(energy_alone(data, scale=0.0)).compute([], data)
    assert set(found.values()) == {0.5}


def test_scores_are_those_that_the_model_has() -> None:
    data = TinyDataset(GREY)
    generator, energy = mlp(GREY), Distance(data.patterns)

    def scores(a: Generator | None, b: EnergyFunction | None) -> set[str]:
        found = metric_of(model_of(a, b, data)).compute([], data)
        return {name.removeprefix("AUROC ").split(",")[0] for name in found}

    assert scores(generator, None) == {"ELBO"}
    assert scores(None, energy) == {"−E"}
    assert scores(generator, energy) == {"log p − E", "−E", "ELBO"}
    assert scores(generator.tempered([0.7], 1.0), energy) == {"−E"}
    assert scores(generator.tempered([0.7], 1.0), None) == set()


def test_log_p_joins_the_energy() -> None:
    """With E = 0, and with one weight, log p − E is the ELBO; with a large E it is −E."""
    data, generator = TinyDataset(GREY), mlp(GREY)

    def figures(scale: float) -> list[list[float]]:
        model = model_of(generator, Distance(data.patterns, scale), data)
        found = metric_of(model, draws=1).compute([], data)
        return [[v for k, v in found.items() if f" {s}," in k] for s in ("log p − E", "−E", "ELBO")]

    joined, _, elbo = figures(0.0)
    assert joined == elbo
    joined, energy, elbo = figures(1e9)
    assert joined == energy != elbo


def test_other_data_are_where_they_are_said_to_be() -> None:
    data = TinyDataset(GREY, test=400)
    data.test.x = torch.rand(data.test.x.shape, dtype=torch.float32)
    found = metric_of(model_of(None, Mean(), data), examples=400).compute([], data)
    error = (2 / (12 * 400)) ** 0.5  # of an AUROC of 0.5 from 400 and 400
    for name in ("constant", "noise", "interpolated"):
        assert found[f"AUROC −E, {name}"] == pytest.approx(0.5, abs=4 * error), name
    made = ood.made(data, 400)
    x = {name: split.batch(torch.arange(400)) for name, split in made.items()}
    assert all(v.min() >= 0 and v.max() <= 1 for v in x.values())
    assert (x["constant"] == x["constant"][:, :, :1, :1]).all()
    for name, variance in {"constant": 1 / 12, "noise": 1 / 12, "interpolated": 1 / 24}.items():
        assert float(x[name].var()) == pytest.approx(variance, rel=0.15), name
    assert torch.cdist(x["interpolated"].flatten(1), data.test.x.flatten(1)).min() > 0.1  # a ≠ b


def test_noise_of_vectors_fills_twice_the_box() -> None:
    data = TinyDataset((3,))
    x = ood.made(data, 4000)["noise"].batch(torch.arange(4000))
    low, high = data.test.x.amin(0), data.test.x.amax(0)
    torch.testing.assert_close(x.amin(0), low - (high - low) / 2, rtol=0, atol=0.1)
    torch.testing.assert_close(x.amax(0), high + (high - low) / 2, rtol=0, atol=0.1)


def test_neither_batches_nor_the_global_generator_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    data = TinyDataset(GREY)
    model = model_of(mlp(GREY), Distance(data.patterns), data)
    first = metric_of(model).compute([], data)
    before = torch.get_rng_state()
    torch.manual_seed(1)
    monkeypatch.setattr(ood, "BATCH", 7)
    assert metric_of(model).compute([], data) == first
    torch.set_rng_state(before)


def files(folder: Path, name: str, x: np.ndarray) -> list[str]:
    """The same images (N, H, W[, 3]) as a folder, a zip and an npz."""
    (folder / name).mkdir()
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as z:
        for i, image in enumerate(x):
            file = folder / name / f"{i:03}.png"
            Image.fromarray(image).save(file)
            z.write(file, file.name)
    np.savez(folder / f"{name}.npz", images=x)
    return [str(folder / n) for n in (name, f"{name}.zip", f"{name}.npz")]


@pytest.mark.parametrize(("shape", "stored"), [(GREY, (16, 12, 3)), (COLOUR, (16, 12)), (GREY, (8, 8))])
def test_sets_of_every_form_are_the_same_images(
    tmp_path: Path, shape: tuple[int, ...], stored: tuple[int, ...]
) -> None:
    data = TinyDataset(shape)
    x = np.random.default_rng(0).integers(0, 160, (30, *stored), dtype=np.uint8)
    found = set()
    for path in files(tmp_path, "other", x):
        metric = metric_of(model_of(None, Mean(), data), sets=(f"other={path}",))
        metric.check(data)
        found.add(metric.compute([], data)["AUROC −E, other"])
        assert f"other 30 of {path}" in metric.protocol["against"]
        says = f"shorter side to 8, centre cut, {'grey' if shape == GREY else 'rgb'}"
        assert metric.protocol["images of sets"] == says
    assert len(found) == 1
    assert found.pop() < 0.2  # darker than the patterns: of lower energy


def test_a_data_set_by_its_name(tmp_path: Path) -> None:
    """The package's digits are the same as their images in a file, at another size and in colour."""
    digits = build_digits(DigitsOptions()).test
    stored = (255 * digits.batch(torch.arange(len(digits)))).round().to(torch.uint8)[:, 0]
    np.savez(tmp_path / "x.npz", images=stored.numpy())
    data = TinyDataset((3, 6, 6))
    metric = metric_of(model_of(None, Mean(), data), sets=("digits", f"file={tmp_path / 'x.npz'}"))
    found = metric.compute([], data)
    assert found["AUROC −E, digits"] == found["AUROC −E, file"]
    assert "digits 100, file 100 of" in metric.protocol["against"]


def test_others_have_the_levels_of_the_data(tmp_path: Path) -> None:
    """Values between k/16 do not tell, and binary data are compared with binary ones."""
    x = torch.randint(0, 17, (40, *GREY), dtype=torch.uint8)
    for levels in (16, 1):
        split = MemorySplit(x.clamp(max=levels), levels=levels)
        data = ImageDataset(GREY, split, split, levels=levels)

        class Between(EnergyFunction):
            """The distance from multiples of 1/levels."""

            def __init__(self, levels: int) -> None:
                super().__init__()
                self.levels = torch.nn.Parameter(torch.tensor(float(levels)))

            def forward(self, x: Tensor) -> Tensor:
                return (x * self.levels - (x * self.levels).round()).abs().flatten(1).sum(1) > 1e-4

        path = files(tmp_path, f"x{levels}", np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8))[
            2
        ]
        metric = metric_of(model_of(None, Between(levels), data), sets=(f"x={path}",))
        assert set(metric.compute([], data).values()) == {0.5}
        assert metric.protocol["values of others"] == f"rounded to k/{levels}"


def test_a_set_sorted_by_class_is_not_cut_to_its_first_class() -> None:
    data = TinyDataset(GREY)
    x = ood.spread(data.test, 50).batch(torch.arange(50))
    assert torch.equal(x, data.test.x[::4])


@pytest.mark.parametrize(
    ("sets", "error", "says"),
    [
        (("svhn",), RecipeError, "--ood svhn=PATH"),
        (("=a.npz",), RecipeError, "--ood NAME=a.npz"),
        (("a=",), RecipeError, "not NAME=PATH"),
        (("a=a.npz", "a=b.npz"), RecipeError, "the name a is used twice"),
        (("noise=a.npz",), RecipeError, "by the metric itself too"),
        (("a=gone.npz",), DataError, "gone.npz does not exist"),
        (("mnist",), DataError, "--ood mnist=PATH"),
        (("gaussians25",), DataError, "gaussians25 holds vectors"),
        (("a=one.npz",), DataError, "holds 1 image, and ood needs at least 2"),
    ],
)
def test_what_it_refuses(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sets: tuple[str, ...],
    error: type[ToolkitError],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, n in {"a": 3, "b": 3, "one": 1}.items():
        np.savez(f"{name}.npz", images=np.zeros((n, 8, 8), np.uint8))
    data = TinyDataset(GREY)
    with pytest.raises(error, match=says) as e:
        metric_of(energy_alone(data), sets=sets).check(data)
    assert e.value.fix


def test_vectors_have_no_sets() -> None:
    data = TinyDataset((2,))
    with pytest.raises(RecipeError, match="a set of images, and the data are vectors of 2 values"):
        metric_of(energy_alone(data), sets=("a=a.npz",)).check(data)


def test_too_few_held_out_examples() -> None:
    data = TinyDataset(GREY, test=1)
    with pytest.raises(DataError, match="at least 2 held-out"):
        metric_of(energy_alone(data)).check(data)


def test_the_data_themselves_are_known() -> None:
    data = build_digits(DigitsOptions())
    assert ood.same_as(data, ood.spread(ood.of_data_set("digits", data), 50))
    assert not ood.same_as(data, ood.spread(data.train, 50))
