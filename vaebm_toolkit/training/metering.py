"""Arithmetic and memory of whatever runs, counted operation by operation.

On torch's meta device, which knows shapes and holds no data, networks of any size can be metered.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

Known = dict[Any, Any]
"""(operation, shapes, constants) -> what comes out and its arithmetic."""


class Meter(TorchDispatchMode):
    """Floating-point operations, and the bytes that are alive at once, within the block.

    `flops` are those of matrix products and convolutions. `peak` is the largest total size of tensors
    that came into being within the block and were not gone yet, without gradients of `weights`.
    """

    def __init__(self, known: Known | None = None, weights: Iterable[nn.Parameter] = ()) -> None:
        super().__init__()
        self.flops = self.live = self.peak = 0
        self.known = {} if known is None else known
        self.held: dict[int, tuple[int, Any]] = {}
        self.weights = list(weights)
        self.hooks: list[Any] = []

    def __enter__(self) -> Meter:
        self.hooks = [p.register_post_accumulate_grad_hook(self.leave_out) for p in self.weights]
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for hook in self.hooks:
            hook.remove()
        super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        try:
            key = (func, outline(args), outline(tuple(kwargs.items())))
            found = self.known.get(key)
        except TypeError:  # something that has no hash
            key = found = None
        if found is None:
            out, flops, recipe = first_time(func, args, kwargs)
            if key is not None and recipe is not None:
                self.known[key] = recipe, flops
            given = {t.untyped_storage()._cdata for t in tensors((args, kwargs))}
            fresh = [t for t in tensors(out) if t.untyped_storage()._cdata not in given]
        else:
            recipe, flops = found
            if recipe == "in place":
                self.flops += flops
                return args[0]
            fresh = [torch.empty_strided(s, st, dtype=d, device="meta") for s, st, d in recipe[1]]
            out = fresh[0] if recipe[0] is Tensor else recipe[0](fresh)
        self.flops += flops
        for tensor in fresh:
            self.hold(tensor.untyped_storage())
        return out

    def hold(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.held:
            self.held[key] = size, weakref.ref(storage, lambda _: self.release(key))
            self.live += size
            self.peak = max(self.peak, self.live)

    def release(self, key: int) -> None:
        size, _ = self.held.pop(key, (0, None))
        self.live -= size

    def leave_out(self, weight: nn.Parameter) -> None:
        if weight.grad is not None:
            self.release(weight.grad.untyped_storage()._cdata)


def tensors(value: Any) -> Iterable[Tensor]:
    """Every tensor in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from tensors(v)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


def outline(value: Any) -> Any:
    """What the result's shape depends on, as something with a hash."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device
    if isinstance(value, (tuple, list)):
        return tuple(map(outline, value))
    return type(value), value


def first_time(func: Any, args: Any, kwargs: Any) -> tuple[Any, int, Any]:
    """(result, operations, how to make its like again on the meta device; None where that is not sure)."""
    before = [(t, t.shape, t.stride()) for t in tensors((args, kwargs))]
    out = func(*args, **kwargs)
    flops = operations(func, args, kwargs, out)
    made = list(tensors(out))
    if not made or any(t.device.type != "meta" for t in made):
        return out, flops, None
    if func._schema.is_mutable:
        unchanged = all(t.shape == shape and t.stride() == stride for t, shape, stride in before)
        alone = len(made) == 1 and isinstance(args[0], Tensor) and made[0] is args[0]
        one = sum(a.alias_info is not None and a.alias_info.is_write for a in func._schema.arguments) == 1
        return out, flops, "in place" if unchanged and alone and one else None
    storages = {t.untyped_storage()._cdata for t in made}
    if len(storages) < len(made) or storages & {t.untyped_storage()._cdata for t, *_ in before}:
        return out, flops, None  # a view
    kind = Tensor if isinstance(out, Tensor) else type(out)
    if kind is not Tensor and (kind not in (tuple, list) or len(out) != len(made)):
        return out, flops, None
    return out, flops, (kind, [(t.shape, t.stride(), t.dtype) for t in made])


def operations(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    if func is torch.ops.aten.convolution_backward.default:
        # torch's own count takes a grouped convolution's weight gradient for a dense one
        gradient, _, weight, *_, wanted = args
        return int(2 * gradient.numel() * weight[0].numel() * (wanted[0] + wanted[1]))
    counter = flop_registry.get(func._overloadpacket)
    return 0 if counter is None else int(counter(*args, **kwargs, out_val=out))
