"""The spectrally normalised convolution: its norm, its gradient, and when its vectors move."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vaebm_igebm.spectral_norm import SpectralNormConv2d
from vaebm_toolkit.core import SpectralPenalty, frozen


def conv(inputs: int = 3, outputs: int = 6, **options: object) -> SpectralNormConv2d:
    return SpectralNormConv2d(inputs, outputs, 3, padding=1, **{"iterations": 200, **options})


def top(weight: Tensor) -> Tensor:
    """The largest singular value as a (C_out, C_in·k²) matrix."""
    return torch.linalg.svdvals(weight.flatten(1)).max()


def test_normalised_weights_have_norm_1():
    for std in (1e-10, 0.1, 30.0):
        torch.testing.assert_close(
            top(conv(std=std).normalised_weight()), torch.tensor(1.0), rtol=1e-9, atol=0
        )


@pytest.mark.parametrize(("scale", "expected"), [(0.25, 0.25 / (0.25 + 1e-6) * 0.25), (4.0, 4 / (4 + 1e-6))])
def test_bounded_weights_have_norm_at_most_1(scale, expected):
    """σ²/(σ + 1e-6) for σ < 1, which is σ but for 4e-6 of it; σ/(σ + 1e-6) beyond."""
    layer = conv(bound=True)
    with torch.no_grad():
        layer.weight_orig.mul_(scale / top(layer.weight_orig))
    torch.testing.assert_close(top(layer.normalised_weight()), torch.tensor(expected), rtol=1e-9, atol=0)


def test_a_bounded_convolution_of_the_initial_size_is_next_to_nothing():
    assert top(conv(bound=True, std=1e-10).normalised_weight()) < 1e-10


@pytest.mark.parametrize("bound", [False, True])
def test_gradient_flows_through_the_norm(bound):
    """That of W/σ(W) with σ from a dense singular value decomposition."""
    layer = conv(bound=bound, std=0.1)
    direction = torch.randn_like(layer.weight_orig)
    (found,) = torch.autograd.grad((direction * layer.normalised_weight()).sum(), layer.weight_orig)
    w = layer.weight_orig
    dense = w / (top(w) + 1e-6) * top(w).clamp(max=1) if bound else w / top(w)
    (expected,) = torch.autograd.grad((direction * dense).sum(), layer.weight_orig)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
    constant = direction / top(w).detach()
    assert (found - constant).norm() > 0.1 * constant.norm()


def test_gradient_with_held_vectors_is_that_of_the_quotient():
    """Finite differences of W / (uᵀWv), u and v fixed, after one power iteration only."""
    layer = conv(iterations=1)
    u, v = layer.singular_vectors()
    assert torch.autograd.gradcheck(
        lambda w: w / (u @ w.flatten(1) @ v), (layer.weight_orig.detach().requires_grad_(),)
    )
    (found,) = torch.autograd.grad(layer.normalised_weight().square().sum(), layer.weight_orig)
    w = layer.weight_orig
    (expected,) = torch.autograd.grad((w / (u @ w.flatten(1) @ v)).square().sum(), w)
    torch.testing.assert_close(found, expected)


def test_one_forward_pass_is_one_power_iteration():
    """v = Wᵀu/‖·‖, u ← Wv/‖·‖, σ = uᵀWv."""
    layer, x = conv(iterations=1), torch.rand(2, 3, 5, 5)
    w, u = layer.weight_orig.detach().flatten(1), layer.weight_u.clone()
    v = w.T @ u / (w.T @ u).norm()
    u = w @ v / (w @ v).norm()
    out = layer(x)
    torch.testing.assert_close(layer.weight_u, u)
    expected = torch.nn.functional.conv2d(x, layer.weight_orig / (u @ w @ v), padding=1)
    torch.testing.assert_close(out, expected)


def test_vectors_converge_to_the_singular_vectors():
    layer, x = conv(iterations=1), torch.rand(1, 3, 5, 5)
    for _ in range(300):
        layer(x)
    left, values, _ = torch.linalg.svd(layer.weight_orig.detach().flatten(1))
    assert abs(left[:, 0] @ layer.weight_u) == pytest.approx(1, abs=1e-9)
    torch.testing.assert_close(
        layer.normalised_weight(), layer.weight_orig / values[0], rtol=1e-7, atol=1e-10
    )


@pytest.mark.parametrize(
    ("always", "training", "moves"),
    [(False, True, True), (False, False, False), (True, True, True), (True, False, True)],
)
def test_when_the_vectors_move(always, training, moves):
    layer = conv(always=always, iterations=1).train(training)
    before = layer.weight_u.clone()
    layer(torch.rand(1, 3, 5, 5))
    assert torch.equal(before, layer.weight_u) != moves


@pytest.mark.parametrize("always", [False, True])
def test_reading_the_weight_moves_nothing(always):
    layer = conv(always=always, iterations=1)
    before = layer.weight_u.clone()
    layer.normalised_weight()
    SpectralPenalty(layer)()
    assert torch.equal(before, layer.weight_u)


def test_the_weight_is_held_in_a_chain_unless_it_always_moves():
    x = torch.rand(2, 3, 5, 5)
    for always in (False, True):
        layer = conv(always=always, iterations=1)
        free = layer.eval()(x) if not always else None
        with frozen(layer):
            first, second = layer(x), layer(x)
            assert (layer.held_weight is None) == always
        assert torch.equal(first, second) != always
        if free is not None:
            assert torch.equal(free, first)


def test_a_chain_sees_the_function_of_the_next_training_step():
    """The weight held while a chain runs is the one that the step after it computes with."""
    layer, x = conv(iterations=1), torch.rand(2, 3, 5, 5)
    with frozen(layer):
        held = layer(x)
    assert torch.equal(held, layer(x))


def test_bf16_autocast_leaves_the_norm_in_full_precision():
    layer = conv(iterations=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        weight = layer.normalised_weight()
    assert torch.equal(weight, layer.normalised_weight())
