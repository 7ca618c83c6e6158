"""Steps that nothing is logged of never ask a tensor for its value: on a GPU that waits for it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vaebm_langevin.kernel import LatentLangevin
from vaebm_langevin.options import LatentOptions
from vaebm_toolkit.builtin.vae import balance
from vaebm_toolkit.core import Trainer, run_chain, stream, target_density
from vaebm_toolkit.training.fit import take_step

from .test_ebm import ebm, resnet
from .test_trainers import resnet_vaebm, vae, vaebm

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense, aten.item, aten.nonzero, aten.is_nonzero, aten.equal, aten.masked_select,
    aten.unique_dim, aten._unique2, aten.unique_consecutive, aten.allclose,
}  # fmt: skip
MASKED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class NoWaiting(TorchDispatchMode):
    """Raises where a value is asked for, other than of `spared`: what lives on the CPU in any case."""

    def __init__(self, spared: Collection[torch.Tensor] = ()) -> None:
        super().__init__()
        self.spared = {t.data_ptr() for t in spared}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        masks = packet in MASKED and any(i is not None and i.dtype == torch.bool for i in args[1])
        if (packet in WAITING and args[0].data_ptr() not in self.spared) or masks:
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


def counters(trainer: Trainer) -> list[torch.Tensor]:
    """The optimisers' step counts, which torch keeps on the CPU."""
    return [s["step"] for o in trainer.optimizers().values() for s in o.state.values()]


IMAGES = (16, 1, 8, 8)
TRAINERS: dict[str, tuple[Callable[[], Trainer], tuple[int, ...]]] = {
    "vae": (lambda: vae(kl_balance=True, grad_clip=1.0), IMAGES),
    "vaebm": (lambda: vaebm(buffer=False), (16, 2)),
    "vaebm, moment clip": (lambda: resnet_vaebm(moment_clip=True), IMAGES),
    "ebm": (lambda: ebm(resnet()), IMAGES),
}


@pytest.mark.parametrize("name", TRAINERS)
def test_unmeasured_steps_never_wait(name: str) -> None:
    build, shape = TRAINERS[name]
    trainer = build()
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    trainer.prepare(iter([x] * 5), stream(0, "prepare"))
    take_step(trainer, x, 0, stream(0, 0), nullcontext, measured=False)
    with NoWaiting(counters(trainer)):
        for step in (1, 2):
            take_step(trainer, x, step, stream(0, step), nullcontext, measured=False)


def test_chains_never_wait() -> None:
    trainer = resnet_vaebm()
    density = target_density(trainer.sampler, trainer.generator, trainer.energy)
    start = trainer.start(torch.rand(IMAGES), stream(0))
    with NoWaiting():
        run_chain(LatentLangevin(LatentOptions(steps=3, step_size=0.05)), start, density, stream(1))


@pytest.mark.parametrize(
    "ask",
    [lambda x: x.sum().item(), lambda x: bool(x.any()), lambda x: x[x > 0], lambda x: torch.equal(x, x + 0)],
)
def test_waiting_is_seen(ask: Callable[[torch.Tensor], Any]) -> None:
    x = torch.randn(4)
    with pytest.raises(AssertionError, match="waits"), NoWaiting():
        ask(x)


def test_coefficients_of_balancing_are_copied_to_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kl, sizes = torch.rand(4, 3), [1, 16, 16]
    first = balance(kl, sizes)
    monkeypatch.setattr(torch, "tensor", None)
    assert torch.equal(balance(kl, sizes), first)
