"""The spectral penalty against singular value decompositions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vaebm_toolkit.core import BatchNormPenalty, SpectralPenalty, WeightNormConv2d


def network() -> nn.Module:
    """Two matrices of equal shape, one of another, one without weight norm, and a linear layer."""
    torch.manual_seed(1)
    net = nn.Sequential(
        WeightNormConv2d(3, 6, 3),
        WeightNormConv2d(6, 6, 3),
        WeightNormConv2d(6, 6, 3),
        nn.Conv2d(6, 4, 1),
        nn.Linear(4, 4),
    )
    for m in net[:3]:
        nn.init.normal_(m.log_weight_norm, std=0.5)
    return net


def exact(net: nn.Module) -> Tensor:
    """Σ over convolutions of the largest singular value."""
    weights = [m.normalised_weight() for m in net[:3]] + [net[3].weight]
    return torch.stack([torch.linalg.svdvals(w.flatten(1)).max() for w in weights]).sum()


def test_equals_the_largest_singular_values_after_warm_up():
    net = network()
    penalty = SpectralPenalty(net)
    for _ in range(10):
        value = penalty()
    assert value.item() == pytest.approx(exact(net).item(), rel=1e-3)


def test_never_exceeds_them():
    """uᵀWv ≤ σ_max for unit vectors, from the first iteration on."""
    net = network()
    assert SpectralPenalty(net, warmup=1)().item() <= exact(net).item()


def test_gradient_is_that_of_the_singular_values():
    net = network()
    SpectralPenalty(net, warmup=2000)().backward()
    ours = {k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None}
    net.zero_grad(set_to_none=True)
    exact(net).backward()
    theirs = {k: p.grad for k, p in net.named_parameters() if p.grad is not None}
    assert ours.keys() == theirs.keys()
    assert "0.log_weight_norm" in ours
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-6, atol=1e-8)


def test_vectors_persist_and_follow_the_weights():
    """After a small change of weights, 4 iterations from the old vectors are enough."""
    net = network()
    penalty = SpectralPenalty(net, warmup=2000)
    penalty()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.001 * torch.randn_like(p))
    assert penalty().item() == pytest.approx(exact(net).item(), rel=1e-5)


def test_iterations_add_up_over_calls():
    """One iteration in each of 30 calls is 30 iterations in one call."""
    net = network()
    by_one, at_once = SpectralPenalty(net, iterations=1, warmup=1), SpectralPenalty(net, warmup=30)
    for _ in range(29):
        by_one()
    torch.testing.assert_close(by_one(), at_once(), rtol=1e-12, atol=0)


def test_state_continues_exactly():
    net = network()
    penalty, restored = SpectralPenalty(net), SpectralPenalty(net)
    penalty()
    restored.load_state_dict(penalty.state_dict())
    assert torch.equal(penalty(), restored())


def test_network_without_convolutions_is_not_penalised():
    assert SpectralPenalty(nn.Linear(3, 3))().item() == 0
    assert BatchNormPenalty(nn.Linear(3, 3))().item() == 0


def test_batch_norm_penalty_sums_the_largest_scales():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, -3.0, 2.0]))
        net[2].weight.copy_(torch.tensor([0.5, 0.25]))
    assert BatchNormPenalty(net)().item() == 3.5
