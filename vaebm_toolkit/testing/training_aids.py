"""Claims about what a generator offers beside its map and its bounds: diagnostics, statistics, weights."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebm_toolkit.core import Autoencoder, Generator
from vaebm_toolkit.testing.autoencoders import draws, examples, repeated, with_encoder
from vaebm_toolkit.testing.claims import Claims, Fault, Skip
from vaebm_toolkit.testing.maps import GeneratorSubject
from vaebm_toolkit.testing.measure import (
    EQUAL,
    SIGMAS,
    difference,
    mean_and_error,
    no_global_randomness,
    same_bits,
    states_differ,
)
from vaebm_toolkit.testing.networks import per_shape, reaches_every_weight
from vaebm_toolkit.testing.subject import Shape

AIDS = Claims()


@AIDS.add
@with_encoder
def units_add_up_to_their_group(s: GeneratorSubject, shape: Shape, module: Autoencoder) -> str | None:
    """`kl_units`, where it is given, sums to the mean of elbo's kl in each group."""
    x = examples(s, shape, module, 6)
    if not module.kl_units(x, s.rng("units")):
        raise Skip("It gives no KL of units.")
    with torch.no_grad():
        units = module.kl_units(repeated(s, shape, module), s.rng("units"))
    kl = draws(s, shape)["kl"].flatten(0, 1)
    latents = [name for name in module.groups if name != "x"]
    for name, found in units.items():
        if name not in latents or found.dim() != 1:
            raise Fault(
                f'kl_units has "{name}" of shape {tuple(found.shape)}',
                f"(L,) for names among {latents}",
                "Sum over space, mean over the batch: k.sum((2, 3)).mean(0).",
            )
        mean, error = mean_and_error(kl[:, latents.index(name)])
        # both are noisy where KL is a sample, and the same where it is in closed form
        if abs(float(found.sum()) - mean) > 2 * SIGMAS * error + EQUAL:
            raise Fault(
                f'the units of group "{name}" sum to {float(found.sum()):.5g} nats, its kl is {mean:.5g}',
                "the same",
                "Sum over what is left of a unit (its pixels), mean over the batch alone.",
            )
    return None


@AIDS.add
@with_encoder
def pictures_of_latents(s: GeneratorSubject, shape: Shape, module: Autoencoder) -> str | None:
    """reconstruct is (B, *data shape); interpolate (B, steps, *data shape), its start a reconstruction."""
    a, b = examples(s, shape, module, 6).chunk(2)
    found = module.reconstruct(a, s.rng("picture"))
    path = module.interpolate(a, b, 4, s.rng("picture"))
    for words, value, form in (("reconstruct", found, (3, *shape)), ("interpolate", path, (3, 4, *shape))):
        if value.shape != form or not torch.isfinite(value).all():
            raise Fault(
                f"{words} gives {tuple(value.shape)}", f"finite values of shape {form}", "Stack along dim 1."
            )
    if type(module).interpolate is Autoencoder.interpolate and difference(path[:, 0], found) > EQUAL:
        raise Fault(
            "an interpolation does not start at the reconstruction",
            "the ends included",
            "reconstruct(x, rng) is mean(encode(x, rng)): look at what they draw first.",
        )
    return None


@AIDS.add
@with_encoder
def recalibration_is_sound(s: GeneratorSubject, shape: Shape, module: Autoencoder) -> str | None:
    """`recalibrate` follows from `rng`, leaves weights and mode as they are, and all statistics finite."""
    weights = {name: p.detach().clone() for name, p in module.named_parameters()}
    modes = [m.training for m in module.modules()]
    found = []
    start = {k: v.clone() for k, v in module.state_dict().items()}
    for _ in range(2):
        module.load_state_dict(start)
        with no_global_randomness("recalibrate"):
            module.recalibrate(2, 4, s.rng("recalibrate"), 0.8)
        found.append({k: v.clone() for k, v in module.state_dict().items()})
    moved = states_differ(weights, dict(module.named_parameters()))
    if moved:
        raise Fault(f"recalibrate changes the weight {moved}", "statistics alone", "Train no weight there.")
    if [m.training for m in module.modules()] != modes:
        raise Fault(
            "recalibrate leaves another mode", "train or eval as before", "self.train(before) at the end."
        )
    if name := states_differ(*found):
        raise Fault(f"{name} differs with the same stream", "the same statistics", "Draw from `rng`.")
    bad = [k for k, v in found[0].items() if v.is_floating_point() and not v.isfinite().all()]
    if bad:
        raise Fault(f"after recalibrate {bad[0]} is not finite", "finite statistics", "Divide by std + 1e-5.")
    if not states_differ(start, found[0]):
        return "changes nothing"
    return None


@AIDS.add
@with_encoder
def initialise_is_sound(s: GeneratorSubject, shape: Shape, module: Autoencoder) -> str | None:
    """`initialise(x)` leaves x and the global generators alone, and finite weights."""
    module = s.build(shape=shape).train()
    x = examples(s, shape, module, 16)
    x[:4] = 0
    kept = x.clone()
    with no_global_randomness("initialise"):
        module.initialise(x)
    if not same_bits(x, kept):
        raise Fault("initialise writes into its data", "the data as they were", "Work on a copy: x.clone().")
    bad = [k for k, v in module.state_dict().items() if v.is_floating_point() and not v.isfinite().all()]
    if bad:
        raise Fault(f"after initialise {bad[0]} is not finite", "finite weights", "Divide by std + 1e-5.")
    return None


@AIDS.add
@per_shape
def gradient_reaches_every_weight(s: GeneratorSubject, shape: Shape) -> str | None:
    """The ELBO, or decode where there is none, moves each weight that says it can learn."""

    def loss(module: Generator) -> Tensor:
        if not isinstance(module, Autoencoder):
            return s.output(module, s.rows(shape, 16)).square().sum()
        elbo = module.elbo(examples(s, shape, module, 16), s.rng("learn"))
        return (elbo.kl.sum(1) - elbo.log_px).sum()

    return reaches_every_weight(s, shape, loss)
