"""Claims about generators as maps from noise to data, x = T(ε)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vaebm_toolkit.core import Generator, State, randn, standard_normal
from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.testing.claims import Claims, Fault, Skip
from vaebm_toolkit.testing.measure import EQUAL, difference, stirred
from vaebm_toolkit.testing.networks import NetworkSubject, per_shape, take
from vaebm_toolkit.testing.subject import Shape

MAP = Claims()
LARGEST = 300
"""Values of (z, x) up to which a Jacobian is computed."""


class GeneratorSubject(NetworkSubject):
    what = "T(ε)"

    def __init__(self, *args: object, **keywords: object) -> None:
        super().__init__(*args, **keywords)  # type: ignore[arg-type]
        self.groups: dict[Shape, dict[str, Shape]] = {}
        self.bounds: dict[Shape, dict[str, Tensor]] = {}

    def rows(self, shape: Shape, n: int, *path: str | int) -> State:
        """ε ~ N(0, I)."""
        if shape not in self.groups:
            self.groups[shape] = dict(self.build(shape=shape).groups)
        return standard_normal(self.groups[shape], n, self.rng("rows", *path))

    def output(self, module: Generator, rows: State) -> Tensor:
        """x and log_det, (B, D + 1); or x alone."""
        x, log_det = module.decode(rows)
        n = len(next(iter(rows.values())))
        if len(x) != n or (log_det is not None and log_det.shape != (n,)):
            shapes = f"x {tuple(x.shape)}, log_det {None if log_det is None else tuple(log_det.shape)}"
            raise Fault(
                f"decode of {n} rows gives {shapes}",
                f"core.Decoded: x ({n}, …), log_det ({n},) or None",
                "Sum log σ over all but the first axis: .flatten(1).sum(1).",
            )
        x = x.flatten(1)
        return x if log_det is None else torch.cat([x, log_det[:, None].to(x.dtype)], 1)

    def differentiable(self, module: Generator) -> None:
        try:
            module.check_reparametrised()
        except ToolkitError as e:
            raise Skip(f"T is not differentiable in ε: {e.message}") from e

    def data(self, shape: Shape, n: int, *path: str | int) -> Tensor:
        """Rows of data: uniform images in [0, 1], normal vectors."""
        rng = self.rng("data", *path)
        draw = torch.rand if len(shape) == 3 else torch.randn
        return draw((n, *shape), generator=rng)


@MAP.add
def is_a_generator(s: GeneratorSubject) -> str | None:
    """The factory returns a core.Generator with named groups of noise, that of the data, "x", last."""
    shape = s.tried[0]
    found = s.build(shape=shape)
    if not isinstance(found, Generator):
        raise Fault(
            f"the factory returns a {type(found).__name__}",
            "a core.Generator",
            "class Mine(Generator), or Autoencoder, from vaebm_toolkit.core.",
        )
    groups = dict(found.groups)
    if not groups or list(groups)[-1] != "x":
        raise Fault(
            f"its groups are {list(groups)}", 'the latents, coarse to fine, then "x"', "Order the dict."
        )
    for name, form in groups.items():
        if not isinstance(form, tuple) or not all(isinstance(n, int) for n in form):
            raise Fault(
                f'group "{name}" has the shape {form!r}', "a tuple of whole numbers, without B", "(4, 8, 8)"
            )
    return ", ".join(f"{name} {form}" for name, form in groups.items())


@MAP.add
@per_shape
def gives_data(s: GeneratorSubject, shape: Shape) -> str | None:
    """x has the shape of the data, and every group of noise changes it."""
    module, eps = s.module(shape), s.rows(shape, 4)
    x = module.decode(eps).x
    if x.shape != (4, *shape):
        raise Fault(f"x has shape {tuple(x.shape)}", f"(4, {', '.join(map(str, shape))})", "Reshape it.")
    for name, v in eps.items():
        other = module.decode({**eps, name: randn(v.shape, s.rng("other"), like=v)}).x
        if difference(x, other) == 0:
            raise Fault(
                f'x does not depend on the noise group "{name}"',
                "groups that are used: chains would wander in it at random",
                "Use it, or leave it out of `groups`.",
            )
    return None


@MAP.add
@per_shape
def mean_is_at_no_noise(s: GeneratorSubject, shape: Shape) -> str | None:
    """`mean(ε)` is x at ε_x = 0, whatever ε_x is."""
    module, eps = s.module(shape), s.rows(shape, 4)
    s.differentiable(module)
    still = {**eps, "x": torch.zeros_like(eps["x"])}
    for given in (eps, still):
        off = difference(module.mean(given), module.decode(still).x)
        if off > EQUAL:
            raise Fault(
                f"mean(ε) differs from decode(ε with ε_x = 0).x by {off:.2g} of its size",
                "the decoder's mean",
                "Return μ_x(z) as decode adds noise to it, in the units of the data.",
            )
    return None


def flat(state: State) -> Tensor:
    return torch.cat([v.flatten(1) for v in state.values()], 1)


def unflat(v: Tensor, groups: dict[str, Shape]) -> State:
    parts = v.split([math.prod(form) for form in groups.values()], 1)
    return {k: p.unflatten(1, form) for (k, form), p in zip(groups.items(), parts, strict=True)}


def latents_and_data(s: GeneratorSubject, module: Generator) -> Callable[[State], State]:
    """ε -> (z, x), or Skip where the generator does not name its latents."""
    if type(module).values is not Generator.values:
        return module.values
    if list(module.groups) == ["x"]:
        return lambda eps: {"x": module.decode(eps).x}
    raise Skip("It does not name its latents (`values`), so there is no Jacobian to compare with.")


@MAP.add
@per_shape
def log_det_is_the_jacobians(s: GeneratorSubject, shape: Shape) -> str | None:
    """decode's log_det is log |det d(z, x)/dε| by autograd, in float64."""
    module, eps = s.module(shape), s.rows(shape, 2)
    log_det = module.decode(eps).log_det
    if log_det is None:
        raise Skip("It has no log-determinant in closed form.")
    groups, map_ = dict(module.groups), latents_and_data(s, module)
    size = sum(math.prod(form) for form in groups.values())
    if size > LARGEST:
        raise Skip(f"{size} values are too many for a Jacobian; try a smaller shape.")
    worst = 0.0
    for i in range(2):
        row = flat(take(eps, slice(i, i + 1)))[0]
        jacobian = torch.autograd.functional.jacobian(lambda v: flat(map_(unflat(v[None], groups)))[0], row)
        if jacobian.shape != (size, size):
            raise Fault(f"(z, x) has {len(jacobian)} values and ε has {size}", "as many", "Look at `values`.")
        true = float(torch.linalg.slogdet(jacobian).logabsdet)
        found = float(log_det[i])
        off = abs(found - true) / max(1.0, abs(true))
        worst = max(worst, off)
        if not off <= 1e-5:
            raise Fault(
                f"log_det is {found:.6g}, autograd's log |det d(z, x)/dε| is {true:.6g}",
                "the same",
                "Σ log σ over all values of every group, x included, before any clamp; with the factor of a "
                "change of units.",
            )
    return f"relative difference {worst:.1g}"


@MAP.add
@per_shape
def noise_is_the_inverse_of_values(s: GeneratorSubject, shape: Shape) -> str | None:
    """noise(values(ε)) is ε again, with decode's x and log_det."""
    module, eps = s.module(shape), s.rows(shape, 4)
    if not module.invertible:
        raise Skip("It has no inverse: samplers of (z, x) cannot use it.")
    s.differentiable(module)
    values, decoded = module.values(eps), module.decode(eps)
    if list(values) != list(eps):
        raise Fault(f"values has {list(values)}", f"{list(eps)}, in this order", "Use the names of `groups`.")
    if difference(values["x"], decoded.x) > EQUAL:
        raise Fault("values(ε)['x'] is not decode(ε).x", "the same x", "Compute both alike.")
    back, log_det = module.noise(values)
    for name, v in eps.items():
        off = difference(back[name], v)
        if off > EQUAL:
            raise Fault(
                f'noise(values(ε)) differs from ε by {off:.2g} of its size in group "{name}"',
                "ε",
                "(value − μ) / σ, with μ and σ as decode has them.",
            )
    if decoded.log_det is not None and difference(log_det, decoded.log_det) > EQUAL:
        raise Fault(
            f"noise says log_det {float(log_det[0]):.6g}, decode says {float(decoded.log_det[0]):.6g}",
            "log |d(z, x)/dε| in both",
            "Σ log σ, with the sign of the map from ε to (z, x).",
        )
    return None


@MAP.add
@per_shape
def temperature_scales_the_noise(s: GeneratorSubject, shape: Shape) -> str | None:
    """tempered(t, h) draws with t σ_g and h σ_x: T(t ε_z, h ε_x), its mean and log_det included."""
    module, eps = s.module(shape), s.rows(shape, 4)
    s.differentiable(module)
    warm, (t, h) = module.tempered([0.7], 0.4), (0.7, 0.4)
    scaled = {name: (h if name == "x" else t) * v for name, v in eps.items()}
    expected = module.decode(scaled)
    found = warm.decode(eps)
    fix = "Multiply every σ, in decode, mean, values and noise alike; or do not override tempered."
    for words, a, b in (
        ("decode", found.x, expected.x),
        ("mean", warm.mean(eps), module.mean(scaled)),
    ):
        off = difference(a, b)
        if off > EQUAL:
            raise Fault(f"{words} at temperatures 0.7 and 0.4 is off by {off:.2g} of its size", "T(t ε)", fix)
    if found.log_det is not None and expected.log_det is not None:
        sizes = {name: math.prod(form) for name, form in module.groups.items()}
        scale = sum(n * math.log(h if name == "x" else t) for name, n in sizes.items())
        off = difference(found.log_det, expected.log_det + scale)
        if off > EQUAL:
            raise Fault(
                f"log_det at a temperature is off by {off:.2g} of its size", "log_det + Σ d_g log t_g", fix
            )
    held = warm.frozen()
    if difference(held.decode(eps).x, found.x) > 1e-5:
        raise Fault("frozen() forgets the temperature", "the tempered map", "Copy the temperatures too.")
    return None


@MAP.add
@per_shape
def frozen_is_the_same_map(s: GeneratorSubject, shape: Shape) -> str | None:
    """frozen() has the same x, mean and log_det, no weight that learns, and shares none."""
    module, eps = s.module(shape), s.rows(shape, 4)
    expected, mean = s.output(module, eps), module.mean(eps)
    module.train()
    held = module.frozen()
    module.eval()
    learning = [name for name, p in held.named_parameters() if p.requires_grad]
    if learning:
        raise Fault(f"{learning[0]} of frozen() can still learn", "constants", ".requires_grad_(False)")
    for words, a, b in (("decode", s.output(held, eps), expected), ("mean", held.mean(eps), mean)):
        off = difference(a, b)
        if off > 1e-5:
            raise Fault(
                f"{words} of frozen() differs by {off:.2g} of its size from that in eval mode",
                "the same map",
                "Put the copy in eval mode, and fold what is folded in float64.",
            )
    stirred(module, s.rng("moved"))
    if difference(s.output(held, eps), expected) > 1e-5:
        raise Fault(
            "frozen() changes when the generator's weights do",
            "a map of its own",
            "copy.deepcopy(self).eval().requires_grad_(False)",
        )
    return None
