"""log h of examples, on a model whose h is a Gaussian in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vaebm_toolkit.core import Split, stream
from vaebm_toolkit.evaluation.annealing import sigmoidal
from vaebm_toolkit.evaluation.likelihood import bits_per_dim, importance_weighted
from vaebm_toolkit.evaluation.partition import Bounds, LogZ, by_samples, from_above, from_below
from vaebm_toolkit.evaluation.paths import latent_path
from vaebm_toolkit.evaluation.pilot import tuned
from vaebm_toolkit.evaluation.product import Parts, parts, product_likelihood

from .test_density import OFFSET, Linear, Quadratic, tilted

CPU = torch.device("cpu")


class Points(Split):
    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> Tensor:
        return self.x[indices]


@pytest.fixture
def data() -> Points:
    torch.manual_seed(5)
    return Points(tilted(Linear(), Quadratic())[0].sample((1000,)))


def known(value: float, error: float) -> LogZ:
    return LogZ(value, error, 100.0, 100, 0, 100)


def test_with_the_exact_posterior_the_parts_are_exact(data: Points) -> None:
    model, energy = Linear(wide=1.0), Quadratic()
    h, log_z = tilted(model, energy)
    found = parts(model, energy, data, examples=300, draws=2, seed=0, batch_size=70, device=CPU)
    torch.testing.assert_close(found.log_px, model.exact.log_prob(data.x[:300]))
    torch.testing.assert_close(found.log_px - found.energy - log_z, h.log_prob(data.x[:300]))
    assert found.density == model.density
    result = product_likelihood(found, Bounds(known(log_z, 0), known(log_z, 0)))
    truth = h.log_prob(data.x[:300])
    assert result.lower is not None
    assert result.lower.nats == pytest.approx(float(truth.mean()))
    assert result.upper == result.lower
    assert result.upper.error == pytest.approx(float(truth.std()) / 300**0.5)
    assert result.bits(2) == pytest.approx([bits_per_dim(float(truth.mean()), 2)] * 2)


def test_bounds_and_errors_combine() -> None:
    torch.manual_seed(0)
    log_px = torch.randn(500)
    found = Parts(log_px, log_px + 3, "density of x")
    result = product_likelihood(found, Bounds(known(1.0, 0.3), known(1.5, 0.4)))
    assert result.lower is not None
    assert result.lower[:2] == pytest.approx((-4.5, 0.4)), "log p and E move together: no spread is left"
    assert result.upper[:2] == pytest.approx((-4.0, 0.3))
    assert result.upper.examples == 500
    assert result.bits(4) == pytest.approx((4.0 / (4 * math.log(2)), 4.5 / (4 * math.log(2))))
    spread = product_likelihood(
        Parts(log_px, torch.zeros(500), "density of x"), Bounds(known(1.0, 0.3), None)
    )
    assert spread.lower is None
    assert spread.upper.error == pytest.approx(math.hypot(0.3, float(log_px.std()) / 500**0.5))
    assert spread.bits(4)[1] == math.inf


def test_the_truth_lies_between(data: Points) -> None:
    """From weights and chains alone; what 200 weights an example lack of log p_θ is below 0.01."""
    model, energy = Linear(), Quadratic()
    h, log_z = tilted(model, energy)
    path = latent_path(model, energy, OFFSET)
    plan = tuned(path, sigmoidal(50), stream(0))
    torch.manual_seed(6)
    x = h.sample((400,))
    with torch.no_grad():
        starts = encoded(model, x)
    log_zs = Bounds(
        from_below(path, plan, 400, seed=0, batch_size=400),
        from_above(path, plan, starts, seed=0, batch_size=400),
    )
    found = parts(model, energy, data, examples=1000, draws=200, seed=0, batch_size=1000, device=CPU)
    result = product_likelihood(found, log_zs)
    truth = float(h.log_prob(data.x).mean())
    assert result.lower is not None
    assert log_zs.upper is not None
    assert result.lower.nats - 4 * log_zs.upper.error - 0.01 < truth
    assert truth < result.upper.nats + 4 * log_zs.lower.error + 0.01
    assert result.upper.nats - result.lower.nats == pytest.approx(log_zs.gap)
    assert abs(log_zs.gap) < 0.2
    naive = by_samples(path, 20_000, seed=0, batch_size=20_000)
    assert abs(naive.value - log_z) < 4 * naive.error


def encoded(model: Linear, x: Tensor) -> dict[str, Tensor]:
    """Exact samples of ε given x under p_θ; for x ~ h(x) they are samples of h(ε)."""
    exact = Linear(wide=1.0)
    z = (x - OFFSET) @ exact.gain.T + torch.randn(len(x), 2, generator=stream(9)) @ exact.root.T
    residual = x - model.decode({"z0": z, "x": torch.zeros_like(x)}).x
    unit = model.decode({"z0": z, "x": torch.ones_like(x)}).x - model.mean(
        {"z0": z, "x": torch.zeros_like(x)}
    )
    return {"z0": z, "x": residual / unit}


def test_fewer_weights_are_a_looser_bound_of_each_example(data: Points) -> None:
    model = Linear(wide=2.0)
    exact = model.exact.log_prob(data.x)
    gaps = [
        float((exact - importance_weighted(
            model, data, examples=1000, draws=k, seed=0, batch_size=300, device=CPU
        )).mean())
        for k in (1, 8, 64)
    ]  # fmt: skip
    assert gaps[0] > gaps[1] > gaps[2] > -0.01
