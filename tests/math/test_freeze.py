"""Holding a network fixed, and letting it go exactly as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vaebm_toolkit.core import NormalisedConv2d, SpectralPenalty, WeightNormConv2d, buffers_restored, frozen


def network() -> nn.Sequential:
    """Partly in eval mode and partly without gradients, as a caller may have left it."""
    torch.manual_seed(4)
    net = nn.Sequential(
        WeightNormConv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), WeightNormConv2d(4, 1, 1, bias=False)
    ).train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    return net


def condition(net: nn.Module) -> tuple:
    return (
        [m.training for m in net.modules()],
        [p.requires_grad for p in net.parameters()],
        [m.held_weight is None for m in net.modules() if isinstance(m, WeightNormConv2d)],
    )


def test_inside_it_is_constant():
    net = network()
    with frozen(net) as held:
        assert held is net
        training, gradients, not_held = condition(net)
        assert not any(training)
        assert not any(gradients)
        assert not any(not_held)


def test_everything_is_restored():
    net = network()
    before = condition(net)
    with frozen(net):
        pass
    assert condition(net) == before


def test_everything_is_restored_after_an_exception():
    net = network()
    before = condition(net)
    with pytest.raises(ZeroDivisionError), frozen(net):
        _ = 1 / 0
    assert condition(net) == before


def test_nested_use_keeps_the_outer_hold():
    net = network()
    before = condition(net)
    with frozen(net):
        inside = condition(net)
        with frozen(net):
            pass
        assert condition(net) == inside
    assert condition(net) == before


def test_held_weights_give_equal_outputs_and_input_gradients():
    net = network().eval()
    x = torch.randn(3, 2, 5, 5, requires_grad=True)
    free = net(x)
    (slope,) = torch.autograd.grad(free.sum(), x)
    with frozen(net):
        held = net(x)
        (held_slope,) = torch.autograd.grad(held.sum(), x)
    assert torch.equal(free, held)
    assert torch.equal(slope, held_slope)


def test_weights_trained_after_a_chain_are_seen_by_the_next():
    net = network().eval()
    x = torch.randn(3, 2, 5, 5)
    with frozen(net):
        before = net(x)
    with torch.no_grad():
        net[0].log_weight_norm.add_(1.0)
    with frozen(net):
        assert not torch.equal(before, net(x))


def test_weight_norm_is_the_formula():
    """exp(log scale) · w / (‖w‖ + 1e-5) per output channel, and the initial scale keeps w's norm."""
    conv = WeightNormConv2d(3, 5, 3)
    norm = conv.weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(conv.log_weight_norm.flatten(), torch.log(norm + 0.01))
    weight = conv.normalised_weight()
    expected = conv.log_weight_norm.exp() * conv.weight / (norm.view(-1, 1, 1, 1) + 1e-5)
    torch.testing.assert_close(weight, expected, rtol=1e-14, atol=1e-16)


def test_data_dependent_initialisation():
    """Pre-activations get mean 0 and standard deviation 0.2 per channel."""
    conv = WeightNormConv2d(3, 5, 3)
    x = 3 + 2 * torch.randn(16, 3, 8, 8)
    conv.initialise(x)
    out = conv(x).transpose(0, 1).flatten(1)
    torch.testing.assert_close(out.mean(1), torch.zeros(5), atol=1e-12, rtol=0)
    torch.testing.assert_close(out.std(1), torch.full((5,), 0.2), rtol=1e-4, atol=0)


class Doubled(NormalisedConv2d):
    """Somebody else's effective weight; `moving` ones must not be held."""

    moving = False

    @property
    def holdable(self) -> bool:
        return not self.moving

    def normalised_weight(self) -> torch.Tensor:
        return 2 * self.weight


def test_any_normalised_convolution_is_held_and_penalised():
    conv, x = Doubled(2, 3, 3), torch.randn(1, 2, 5, 5)
    torch.testing.assert_close(conv(x), nn.functional.conv2d(x, 2 * conv.weight, conv.bias))
    with frozen(conv):
        assert torch.equal(conv.held_weight, 2 * conv.weight)
    top = torch.linalg.svdvals(2 * conv.weight.flatten(1)).max()
    torch.testing.assert_close(SpectralPenalty(conv, warmup=500)(), top)


def test_a_convolution_can_say_that_its_weight_must_not_be_held():
    conv = Doubled(2, 3, 3)
    conv.moving = True
    with frozen(conv):
        assert conv.held_weight is None
        assert not conv.weight.requires_grad
    assert conv.weight.requires_grad


def test_buffers_are_put_back_also_after_an_exception():
    net = nn.BatchNorm2d(3)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with buffers_restored(net):
        net(torch.randn(4, 3, 2, 2))
        assert not torch.equal(net.running_mean, before["running_mean"])
    with pytest.raises(ZeroDivisionError), buffers_restored(net):
        _ = net(torch.randn(4, 3, 2, 2)) / (1 // 0)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
