"""Random draws of other people's code, made as the toolkit makes its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vaebm_toolkit.core import rand, randn, randn_like


class Draws(TorchFunctionMode):
    """Inside, every draw with the generator `rng` is one of `core.randn` or `core.rand`.

    So code that passes on the generator it is given respects one stream per row, and draws on the
    stream's device for tensors on any. A kind of draw that is not known here is an error.
    """

    def __init__(self, rng: torch.Generator) -> None:
        super().__init__()
        self.rng = rng

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if given.get("generator") is not self.rng:
            return func(*args, **given)
        if func is torch.randn_like:
            return randn_like(args[0], self.rng)
        if func is Tensor.normal_ and len(args) == 1 and given.keys() == {"generator"}:
            return args[0].copy_(randn_like(args[0], self.rng))
        if func in (torch.rand, torch.randn):
            shape = args[0] if isinstance(args[0], Sequence) else args
            like = torch.empty((), dtype=given.get("dtype"), device=given.get("device"))
            return (rand if func is torch.rand else randn)(shape, self.rng, like=like)
        raise NotImplementedError(f"{getattr(func, '__name__', func)} with a generator")
