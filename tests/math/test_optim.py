"""The elementwise clip, the schedule and the moving average."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from vaebm_toolkit.core import MomentClippedAdam, adam, set_lr, update_average, warmup_cosine

SETTINGS = {"lr": 0.01, "betas": (0.99, 0.999), "weight_decay": 3e-5}


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(2)
    return [nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(5))]


def gradients(steps: int, scale: float) -> list[list[torch.Tensor]]:
    rng = torch.Generator().manual_seed(5)
    return [[scale * torch.randn(p.shape, generator=rng) for p in parameters()] for _ in range(steps)]


def descend(optimizer: torch.optim.Optimizer, params: list[nn.Parameter], steps) -> list[nn.Parameter]:
    for grads in steps:
        for p, g in zip(params, grads, strict=True):
            p.grad = g.clone()
        optimizer.step()
    return params


def test_equals_adam_where_nothing_is_clipped():
    """Gradients below 0.1 are below every bound."""
    small = gradients(20, 0.01)
    ours, theirs = parameters(), parameters()
    descend(MomentClippedAdam(ours, **SETTINGS), ours, small)
    descend(torch.optim.Adam(theirs, **SETTINGS), theirs, small)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)


def test_clips_to_three_standard_deviations_plus_a_tenth():
    """|g| ≤ 3 √(v / (1 − β₂ᵗ)) + 0.1, v and t before this step; the first step is not clipped."""
    params = parameters()
    optimizer = MomentClippedAdam(params, **SETTINGS)
    first, *rest = gradients(4, 1.0)
    descend(optimizer, params, [first])
    assert all(torch.equal(p.grad, g) for p, g in zip(params, first, strict=True))
    for t, grads in enumerate(rest, start=1):
        bounds = [3 * (optimizer.state[p]["exp_avg_sq"] / (1 - 0.999**t)).sqrt() + 0.1 for p in params]
        grads = [10 * g for g in grads]
        descend(optimizer, params, [grads])
        for p, g, bound in zip(params, grads, bounds, strict=True):
            torch.testing.assert_close(p.grad, g.clamp(-bound, bound), rtol=1e-14, atol=0)
            assert (g.abs() > bound).any()


def test_parameters_without_gradient_are_left_alone():
    params = parameters()
    optimizer = MomentClippedAdam(params, **SETTINGS)
    before = params[1].detach().clone()
    params[0].grad = torch.ones_like(params[0])
    optimizer.step()
    optimizer.step()
    assert torch.equal(params[1], before)


def test_state_survives_saving():
    """A restored optimiser clips and steps as the original does."""
    steps = gradients(6, 3.0)
    a = parameters()
    one = MomentClippedAdam(a, **SETTINGS)
    descend(one, a, steps[:3])
    b = [nn.Parameter(p.detach().clone()) for p in a]
    two = MomentClippedAdam(b, **SETTINGS)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    descend(one, a, steps[3:])
    descend(two, b, steps[3:])
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def test_closure_is_evaluated_before_the_clip():
    params = parameters()
    optimizer = MomentClippedAdam(params, lr=0.01)

    def closure() -> float:
        for p in params:
            p.grad = 100 ** len(optimizer.state[p]) * torch.ones_like(p)
        return 1.5

    assert optimizer.step(closure) == 1.5
    optimizer.step(closure)
    bound = 3 * 1.0 + 0.1  # v̂ of the first step's gradient of 1
    torch.testing.assert_close(params[0].grad, torch.full_like(params[0], bound))


def test_set_lr_reaches_every_group():
    first, second = parameters()
    optimizer = torch.optim.SGD([{"params": [first]}, {"params": [second]}], lr=1.0)
    set_lr(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_warmup_cosine_end_points():
    schedule = {"peak": 1e-2, "floor": 1e-4, "warmup": 10, "total": 110}
    assert warmup_cosine(0, **schedule) == 0
    assert warmup_cosine(5, **schedule) == pytest.approx(5e-3)
    assert warmup_cosine(10, **schedule) == pytest.approx(1e-2)
    assert warmup_cosine(60, **schedule) == pytest.approx((1e-2 + 1e-4) / 2)
    assert warmup_cosine(110, **schedule) == pytest.approx(1e-4)
    assert warmup_cosine(10_000, **schedule) == pytest.approx(1e-4)
    assert warmup_cosine(0, peak=1.0, floor=0.1, warmup=0, total=5) == 1.0


def test_update_average_moves_parameters_and_copies_buffers():
    average, module = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    with torch.no_grad():
        module.weight.fill_(2.0)
        module.running_mean.fill_(7.0)
        module.num_batches_tracked.fill_(4)
    update_average(average, module, 0.9)
    torch.testing.assert_close(average.weight, torch.full((3,), 0.9 * 1 + 0.1 * 2))
    assert torch.equal(average.running_mean, module.running_mean)
    assert average.num_batches_tracked == 4
    update_average(average, module, 0.0)
    assert torch.equal(average.weight, module.weight)


def test_fused_clips_and_steps_alike():
    """To float32's rounding, which is what a fused Adam counts its steps in."""
    steps = [[10 * g for g in grads] for grads in gradients(6, 1.0)]
    a, b = parameters(), parameters()
    descend(MomentClippedAdam(a, **SETTINGS), a, [[g.clone() for g in grads] for grads in steps])
    descend(MomentClippedAdam(b, fused=True, **SETTINGS), b, [[g.clone() for g in grads] for grads in steps])
    for p, q in zip(a, b, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("fused", [True, False])
def test_state_of_the_other_kind_is_loaded(fused: bool):
    """An optimiser stays fused or not, whatever wrote the state; without `fused`, as `adam` is on the CPU."""
    steps = gradients(6, 3.0)
    a = parameters()
    one = MomentClippedAdam(a, fused=fused, **SETTINGS)
    descend(one, a, steps[:3])
    b = [nn.Parameter(p.detach().clone()) for p in a]
    two = adam(b, MomentClippedAdam, **SETTINGS)
    assert two.param_groups[0]["fused"] is None
    two.param_groups[0]["fused"] = not fused
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    assert two.param_groups[0]["fused"] is not fused
    assert all(s["step"].dtype == torch.float32 and s["step"] == 3 for s in two.state.values())
    descend(one, a, steps[3:])
    descend(two, b, steps[3:])
    for p, q in zip(a, b, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)
