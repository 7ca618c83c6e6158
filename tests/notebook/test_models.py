"""Models: what they compute, what they say when they cannot, and that they leave the process as it was."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vaebm_toolkit as vt
from vaebm_toolkit.core import run_chain, stream

from .conftest import TINY


def state() -> tuple[Any, ...]:
    """What the process shares."""
    return (
        torch.random.get_rng_state().tolist(), torch.get_default_dtype(), torch.get_num_threads(),
        torch.get_default_device(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
        torch.are_deterministic_algorithms_enabled(), os.getcwd(), dict(os.environ),
        random.getstate(), np.random.get_state()[1].tolist(),
    )  # fmt: skip


def refused(function: Callable[..., object], *given: object) -> None:
    with pytest.raises(vt.ToolkitError):
        function(*given)


WORK: dict[str, Callable[[Path, Path], object]] = {
    "load": lambda run, tmp: vt.load(run),
    "sample": lambda run, tmp: vt.load(run).sample(3),
    "generator": lambda run, tmp: vt.load(run).sample(3, generator_only=True, temperature=0.5),
    "energy": lambda run, tmp: vt.load(run).energy(np.full((3, 8, 8), 0.5)),
    "latents": lambda run, tmp: vt.load(run).reconstruct(vt.load(run).examples(3)),
    "bounds": lambda run, tmp: vt.load(run).importance_bound(vt.load(run).examples(3), 2),
    "repr": lambda run, tmp: repr(vt.load(run)),
    "untrained": lambda run, tmp: vt.untrained("digits", TINY).sample(2),
    "an error": lambda run, tmp: refused(vt.load(run).energy, np.full(3, 0.5)),
    "run": lambda run, tmp: vt.run("digits", {**TINY, "evaluate": {"samples": 4}}, out=tmp / "r"),
}


@pytest.mark.parametrize("mode", ["plain", "no_grad", "inference_mode"])
@pytest.mark.parametrize("work", WORK)
def test_the_process_is_left_as_it_was(run: Path, tmp_path: Path, work: str, mode: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # the recipe says 1
    modes = {"plain": torch.enable_grad, "no_grad": torch.no_grad, "inference_mode": torch.inference_mode}
    with modes[mode]():
        before = state()
        try:
            WORK[work](run, tmp_path)
            assert state() == before
        finally:
            torch.set_num_threads(threads)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_nor_does_the_process_change_the_samples(run: Path, threads: int, dtype: torch.dtype) -> None:
    expected = vt.load(run).sample(3).tensor
    count = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    torch.rand(5)
    try:
        with torch.inference_mode():
            assert torch.equal(vt.load(str(run)).sample(3).tensor, expected)
    finally:
        torch.set_num_threads(count)


def test_energies_are_differentiable_and_the_modules_untouched(run: Path) -> None:
    for model in (vt.load(run), vt.untrained("digits", TINY)):
        energy = model.energy_function
        assert energy is not None
        x = model.examples(4).tensor.requires_grad_()
        (grad,) = torch.autograd.grad(model.energy(x, batch_size=3).sum(), x)
        flags = [(m.training, [p.requires_grad for p in m.parameters()]) for m in energy.modules()]
        energy.eval()
        (expected,) = torch.autograd.grad(energy(x).sum(), x)
        torch.testing.assert_close(grad, expected)
        assert grad.abs().max() > 0
        energy.train(flags[0][0])
        model.energy(x)
        assert flags == [(m.training, [p.requires_grad for p in m.parameters()]) for m in energy.modules()]


def test_untrained_models_are_those_that_training_starts_from() -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        model = vt.untrained("digits", {**TINY, "run": {"seed": seed}}, shape=(1, 8, 8))
        assert model.generator is not None
        assert model.energy_function is not None
        return [*model.generator.parameters(), *model.energy_function.parameters()]

    first = weights(0)
    torch.rand(3)
    assert all(torch.equal(a, b) for a, b in zip(first, weights(0), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, weights(1), strict=True))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (2,), (5,)])
def test_untrained_models_of_any_shape(shape: tuple[int, ...]) -> None:
    parts = {"generator": "mlp", "energy": "mlp"} if len(shape) == 1 else TINY
    model = vt.untrained(None, parts, shape=shape)
    assert model.path is None
    assert model.bounds == ((0.0, 1.0) if len(shape) == 3 else None)
    drawn = model.sample(3)
    assert drawn.shape == (3, *shape)
    assert model.energy(drawn).shape == (3,)
    assert model.elbo(drawn).shape == (3,)
    assert model.reconstruct(drawn).shape == (3, *shape)
    assert "untrained" in repr(model)
    with pytest.raises(vt.RecipeError, match="images"):
        vt.untrained(None, parts, shape=(8, 8))


def test_a_loop_of_ones_own_learns() -> None:
    """Contrastive training lowers the energy of data against that of the generator's samples."""
    over = {"dataset": {"name": "gaussians25", "train_size": 500, "test_size": 100}, "sampler": {"steps": 5}}
    model = vt.untrained(None, over)
    energy, sampler, generator = model.energy_function, model.training_sampler, model.generator
    assert energy is not None
    assert sampler is not None
    assert generator is not None
    x = model.dataset().train.batch(torch.arange(500))
    optimizer = torch.optim.Adam(energy.parameters(), 1e-3)
    negatives = model.sample(500, generator_only=True)
    before = float(model.energy(x).mean() - model.energy(negatives).mean())
    for step in range(20):
        end = run_chain(sampler, model.start(100, seed=1, first=100 * step), model.density(), stream(0, step))
        loss = energy(x).mean() - energy(generator.decode(end).x.detach()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = float(model.energy(x).mean() - model.energy(negatives).mean())
    assert after < before - 1


def test_what_a_model_says(model: vt.Model, run: Path) -> None:
    for text in (repr(model), model._repr_html_()):
        for part in (
            "digits",
            "1 × 8 × 8",
            "nvae, 2,784 parameters, 3 steps",
            "resnet",
            "4 steps",
            "frechet",
        ):
            assert part in text
    assert repr(model).startswith(f"Model of {run}")
    assert model.path == run
    assert model.shape == (1, 8, 8)
    assert set(model.figures) == {"generator", "vaebm"}
    assert model.metrics["protocol"]["samples"] == 20
    assert [r["step"] for r in model.log() if r["stage"] == "train"] == [2, 4]
    assert len(model.examples(500)) == 200
    assert model.to("cpu") is model
    assert model.device.type == "cpu"


def test_a_run_whose_energy_is_not_trained_is_its_generator(run: Path, tmp_path: Path) -> None:
    half = tmp_path / "half run"
    shutil.copytree(run, half)
    (half / "train" / "done.json").unlink()
    model = vt.load(half)
    assert "not trained yet" in repr(model)
    drawn = model.sample(3)
    assert drawn.energies is None
    assert torch.equal(drawn.tensor, vt.load(run).sample(3, generator_only=True).tensor)
    with pytest.raises(vt.RunError, match=r"vaebm run --resume '.*half run'"):
        model.energy(drawn)
    with pytest.raises(vt.RunError, match="--resume"):
        model.density()
    shutil.rmtree(half / "pretrain")
    with pytest.raises(vt.RunError, match="has not finished its stage pretrain"):
        vt.load(half)


def test_what_is_missing_is_said(run: Path, tmp_path: Path) -> None:
    alone = vt.run("digits", {**TINY, "trainer": None, "energy": None, "sampler": None, "sampling": None},
                   out=tmp_path / "alone")  # fmt: skip
    with pytest.raises(vt.RunError, match="--generator-from"):
        alone.energy(alone.sample(2))
    noise = vt.run("igebm-cifar10", {
        "dataset": {"name": "digits", "limit": 50}, "energy": {"width": 4}, "evaluate": {"samples": 0},
        "trainer": {"steps": 1, "batch_size": 4}, "sampler": {"steps": 1}, "sampling": {"steps": 1},
    }, out=tmp_path / "noise")  # fmt: skip
    assert noise.sample(2).shape == (2, 1, 8, 8)
    for wrong in (lambda: noise.sample(2, generator_only=True), lambda: noise.sample(2, temperature=0.5)):
        with pytest.raises(vt.RecipeError, match="an energy alone"):
            wrong()
    with pytest.raises(vt.RunError, match="no generator that can encode"):
        noise.encode(noise.sample(2))
    with pytest.raises(vt.RunError, match="does not exist"):
        vt.load(tmp_path / "nowhere")
    model = vt.load(run)
    for call in (
        lambda: model.sample(0), lambda: model.sample(2, seed=-1), lambda: model.sample(2, temperature=-1),
        lambda: model.sample(2, temperature=[0.5, 0.6]), lambda: model.sample(2, head_temperature=0),
        lambda: model.examples(2, split="validation"), lambda: model.examples(2, first=1000),
        lambda: model.interpolate(model.examples(2), model.examples(3)), lambda: model.to("nonsense"),
        lambda: model.interpolate(model.examples(2), model.examples(2), 1),
    ):  # fmt: skip
        with pytest.raises(vt.ToolkitError):
            call()
