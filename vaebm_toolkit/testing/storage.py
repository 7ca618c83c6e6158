"""Claims about networks as things that are stored, moved, copied and cast."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from vaebm_toolkit.testing.claims import Claims, Fault, Skip
from vaebm_toolkit.testing.measure import difference, same_bits, states_differ, stirred
from vaebm_toolkit.testing.networks import NetworkSubject, each, per_shape
from vaebm_toolkit.testing.subject import Shape, settings

STORAGE = Claims()


@STORAGE.add
@per_shape
def saves_and_loads(s: NetworkSubject, shape: Shape) -> str | None:
    """A new network with the loaded state_dict gives the same, bit for bit."""
    module, rows = s.module(shape), s.rows(shape, 4)
    state = {k: v.clone() for k, v in module.state_dict().items()}
    new = s.build(start=1, shape=shape).eval()
    new.load_state_dict(state)
    name = states_differ(state, new.state_dict())
    if name is not None:
        raise Fault(
            f"{name} is another after loading", "the tensors that were saved", "Look at load_state_dict."
        )
    if not same_bits(s.output(new, rows), s.output(module, rows)):
        moved = difference(s.output(new, rows), s.output(module, rows))
        raise Fault(
            f"{s.what} differs by {moved:.2g} of its size after saving and loading into a new network",
            "the same, bit for bit: runs are resumed, and sampled from, like that",
            "Keep all that matters in nn.Parameter or register_buffer(…), persistent; compute nothing from "
            "weights when it is built.",
        )
    return f"{len(state)} tensors"


@STORAGE.add
@per_shape
def copies(s: NetworkSubject, shape: Shape) -> str | None:
    """copy.deepcopy gives the same function with weights of its own: averages and frozen copies need it."""
    module, rows = s.module(shape), s.rows(shape, 4)
    expected = s.output(module, rows)
    twin = copy.deepcopy(module)
    if difference(s.output(twin, rows), expected) > 0:
        raise Fault("a deep copy gives other numbers", "the same function", "Look at __deepcopy__.")
    stirred(module, s.rng("more"))
    if difference(s.output(twin, rows), expected) > 0:
        raise Fault(
            "a deep copy changes when the weights of the original do",
            "weights of its own",
            "Keep no reference to weights outside the module's own attributes.",
        )
    return None


@STORAGE.add
@per_shape
def builds_without_values(s: NetworkSubject, shape: Shape) -> str | None:
    """It is built on PyTorch's meta device, where there are shapes and no values: runs check recipes so."""
    with torch.device("meta"):
        module = s.build(shape=shape)
    placed = [*module.named_parameters(), *module.named_buffers()]
    left = [name for name, v in placed if v.device.type != "meta"]
    if left:
        raise Fault(
            f"under torch.device('meta') {left[0]} is built on {dict(placed)[left[0]].device}",
            "every tensor on the device that is current when it is built",
            "Give no device when you make it, and compute nothing in numpy.",
        )
    return None


@STORAGE.add
@per_shape
def tensors_are_registered(s: NetworkSubject, shape: Shape) -> str | None:
    """All tensors are parameters or buffers, so that they move, are cast and are saved with the module."""
    module = s.module(shape)
    fix = "self.register_buffer(name, tensor), or nn.Parameter where it learns."
    for path, value in strays(module):
        if isinstance(value, nn.Module):
            raise Fault(
                f"{path} holds a layer, a {type(value).__name__}, that the network does not know of",
                "a registered layer: others are not trained, saved or moved",
                "nn.ModuleList or nn.ModuleDict for a plain list or dict.",
            )
        raise Fault(
            f"{path}, a tensor of shape {tuple(value.shape)}, is neither parameter nor buffer",
            "a registered tensor: others stay behind when the network moves to a GPU",
            fix,
        )
    module, rows = module.to("meta"), each(s.rows(shape, 2), lambda v: v.to("meta"))
    with Placed() as placed:
        try:
            s.output(module, rows)
        except (RuntimeError, NotImplementedError) as e:
            if not placed.strangers:
                raise Fault(
                    f"{s.what} asks for values on the meta device: {e}",
                    "no .item(), .tolist(), if tensor: each waits for the device",
                    "Use torch.where, or compute with Python numbers.",
                ) from e
    if placed.strangers:
        raise Fault(
            f"{s.what} uses a tensor on the CPU when network and input are elsewhere, "
            f"in {placed.strangers[0]}",
            "every tensor where the network is",
            f"{fix[:-1]}; make new ones with device=x.device or torch.zeros_like(x).",
        )
    return None


def strays(module: nn.Module) -> Iterator[tuple[str, Tensor | nn.Module]]:
    """Tensors and layers in attributes, also inside lists and dictionaries, that are not registered."""
    registered = set(module.modules())
    for name, m in module.named_modules():
        for key, value in vars(m).items():
            if key in ("_parameters", "_buffers", "_modules"):
                continue
            for leaf in tree_leaves(value):
                tensor = isinstance(leaf, Tensor) and leaf.dim() > 0
                if tensor or (isinstance(leaf, nn.Module) and leaf not in registered):
                    yield f"{name}.{key}".lstrip("."), leaf


class Placed(TorchFunctionMode):
    """Notes operations on tensors that are not on the meta device; Python numbers in tensors are none."""

    def __init__(self) -> None:
        super().__init__()
        self.strangers: list[str] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        tensors = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, Tensor)]
        if any(t.dim() and t.device.type != "meta" for t in tensors):
            self.strangers.append(getattr(func, "__name__", str(func)))
        return func(*args, **(kwargs or {}))


@STORAGE.add
@per_shape
def follows_the_dtype(s: NetworkSubject, shape: Shape) -> str | None:
    """Results have the dtype of the network and its input, float32 or float64, whatever the default is."""
    for dtype, other in ((torch.float32, torch.float64), (torch.float64, torch.float32)):
        module = s.module(shape, other).to(dtype)
        rows = each(s.rows(shape, 2), lambda v, dtype=dtype: v.to(dtype))
        with settings(other):
            found = s.output(module, rows).dtype
        if found != dtype:
            raise Fault(
                f"a network and input in {dtype} give {found}, with the default dtype {other}",
                f"{dtype}",
                "Make tensors with x.new_zeros(…) or torch.zeros_like(x), and cast nowhere.",
            )
    return None


@STORAGE.add
@per_shape
def bears_autocast(s: NetworkSubject, shape: Shape) -> str | None:
    """Under bf16 autocast, which `--run.precision bf16` is, results are finite and near those of float32."""
    module = s.module(shape, torch.float32)
    rows = each(s.rows(shape, 6), lambda v: v.to(torch.float32))
    exact = s.output(module, rows)
    with torch.autocast("cpu", torch.bfloat16):
        half = s.output(module, rows).float()
    if not torch.isfinite(half).all():
        raise Fault(
            f"{s.what} is not finite under bf16 autocast",
            "finite numbers",
            "Compute logs, norms and sums in float32: x.float().",
        )
    off = difference(half, exact)
    if off > 0.25:
        raise Fault(
            f"{s.what} under bf16 autocast is off by {off:.2g} of its size",
            "at most 0.25",
            "Compute small differences of large numbers in float32: x.float().",
        )
    return f"off by {off:.1g} of its size"


@STORAGE.add
@per_shape
def moves_to_the_accelerator(s: NetworkSubject, shape: Shape) -> str | None:
    """On a GPU, where there is one, it gives what it gives on the CPU."""
    if not torch.cuda.is_available():
        raise Skip("There is no GPU here.")
    module, rows = s.module(shape, torch.float32), each(s.rows(shape, 4), lambda v: v.to(torch.float32))
    here = s.output(module, rows)
    there = s.output(module.cuda(), each(rows, lambda v: v.cuda())).cpu()
    off = difference(here, there)
    if off > 1e-2:
        raise Fault(
            f"results differ by {off:.2g} of their size", "at most 0.01", "Look for tensors made on the CPU."
        )
    return f"relative difference {off:.1g}"
