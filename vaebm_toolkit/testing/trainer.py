"""Claims about trainers: each loss moves its own player, and a stage that stops goes on bit for bit.

The parts of its slots are small: networks and data of this package, the sampler that the slot names with two
steps, a buffer of sixteen rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vaebm_toolkit.core import Trainer, Update
from vaebm_toolkit.errors import RecipeError
from vaebm_toolkit.testing.claims import Claims, Fault, Skip
from vaebm_toolkit.testing.measure import no_global_randomness, same_bits, states_differ
from vaebm_toolkit.testing.stages import STEPS, TrainerSubject
from vaebm_toolkit.testing.subject import settings
from vaebm_toolkit.training.checkpoint import pack, unpack

CLAIMS = Claims()
SUBJECT = TrainerSubject


@CLAIMS.add
def builds(s: TrainerSubject) -> str | None:
    """The factory takes the horizon and the parts of its slots, and returns a core.Trainer with players."""
    try:
        trainer = s.trainer()
    except RecipeError as e:
        raise Skip(f"It refuses the parts that were tried: {e.message}") from e
    except TypeError as e:
        raise Fault(
            f"building it: {e}", "a core.Trainer", "Take (options, horizon, …), a keyword for each slot."
        ) from e
    if not isinstance(trainer, Trainer):
        raise Fault(
            f"the factory returns a {type(trainer).__name__}", "a core.Trainer", "class Mine(Trainer)."
        )
    players = getattr(trainer, "players", None)
    if not players or not all(isinstance(m, nn.Module) for m in players.values()):
        raise Fault(
            f"its players are {players!r}",
            "the networks that learn, by name",
            'self.players = {"energy": energy}',
        )
    return ", ".join(players)


@CLAIMS.add
def each_player_has_its_optimiser(s: TrainerSubject) -> str | None:
    """optimizers() has one for each player, of its own weights, the same objects at every call."""
    trainer = s.trainer()
    first, second = trainer.optimizers(), trainer.optimizers()
    if set(first) != set(trainer.players):
        raise Fault(
            f"optimisers for {sorted(first)}",
            f"one for each of {sorted(trainer.players)}",
            "Name them alike.",
        )
    for name, optimizer in first.items():
        if second[name] is not optimizer:
            raise Fault(
                f'the optimiser of "{name}" is a new one at each call',
                "the same object: its moments are lost otherwise",
                "Make it in __init__.",
            )
        own = {id(p) for p in trainer.players[name].parameters()}
        if any(id(p) not in own for group in optimizer.param_groups for p in group["params"]):
            raise Fault(
                f'the optimiser of "{name}" has weights that are not those of "{name}"',
                "a player's own weights",
                f'Adam(self.players["{name}"].parameters(), …)',
            )
    return None


@CLAIMS.add
def losses_are_sound(s: TrainerSubject) -> str | None:
    """Each update is a core.Update for a player, its loss finite, 0-d and with a graph; metrics are 0-d."""
    trainer, count = s.begun(), 0
    for step, update in s.steps(trainer, 0, STEPS):
        count += 1
        if not isinstance(update, Update) or update.player not in trainer.players:
            raise Fault(
                f"step {step} yields {type(update).__name__} for {getattr(update, 'player', None)!r}",
                f"core.Update(player, loss, metrics) for one of {sorted(trainer.players)}",
                'yield core.Update("energy", loss, {})',
            )
        loss = update.loss
        if loss.dim() or not torch.isfinite(loss) or not loss.requires_grad:
            raise Fault(
                f"the loss of step {step} is {loss}", "one finite number with a graph", "End with .mean()."
            )
        for name, value in update.metrics.items():
            if not isinstance(value, Tensor) or value.dim():
                raise Fault(
                    f'metric "{name}" of step {step} is a {type(value).__name__}',
                    "a tensor of one number, so that nothing waits for the device",
                    "Leave out .item(); torch.as_tensor(…) for a number.",
                )
    if not count:
        raise Fault(f"{STEPS} steps yield no update", "at least one a step", "yield core.Update(…)")
    return f"{count / STEPS:g} a step"


@CLAIMS.add
def each_loss_moves_its_own_player(s: TrainerSubject) -> str | None:
    """Stepping a loss moves its player and nothing else; each player moves, other parts stay."""
    parts = s.parts()
    trainer = s.begun(parts)
    modules = {**{k: m for k, m in parts.items() if isinstance(m, nn.Module)}, **trainer.players}
    start = {k: weights(m) for k, m in modules.items()}
    before, last = start, ""
    for _, update in s.steps(trainer, 0, STEPS):
        now = {k: weights(m) for k, m in modules.items()}
        for name in modules:
            shares = modules[name] is modules.get(last)
            if name != last and last and not shares and (moved := states_differ(before[name], now[name])):
                raise Fault(
                    f'the loss of "{last}" moves {moved} of "{name}"',
                    "the weights of its own player alone",
                    "Hold the others: core.frozen(module), or .detach() what comes from them.",
                )
        before, last = now, update.player
    for name, player in trainer.players.items():
        if states_differ(start[name], weights(player)) is None:
            raise Fault(
                f'"{name}" does not move in {STEPS} steps',
                "a player that learns",
                "Look at its loss and optimiser.",
            )
    return None


def weights(module: nn.Module) -> dict[str, Tensor]:
    """Weights and statistics."""
    return {k: v.detach().clone() for k, v in module.state_dict().items()}


@CLAIMS.add
def same_stream_same_steps(s: TrainerSubject) -> str | None:
    """Steps follow from the data, the step and `rng`: nothing global is drawn from."""
    first = [update.loss.detach().clone() for _, update in s.steps(s.begun(), 0, 3)]
    second = [update.loss.detach().clone() for _, update in s.steps(s.begun(), 0, 3)]
    for k, (a, b) in enumerate(zip(first, second, strict=True)):
        if not same_bits(a, b):
            raise Fault(
                f"update {k} of two trainers with the same streams has the losses {a:.9g} and {b:.9g}",
                "the same bits",
                "Draw all noise from `rng`: core.randn(shape, rng, like=x).",
            )
    x = s.batch(0)
    kept = x.clone()
    with settings(torch.float32):
        for _ in s.begun().updates(x, 0, s.rng("noise", 0)):
            pass
    if not same_bits(x, kept):
        raise Fault("a step writes into its batch", "the data as they were", "x + …, and not x += ….")
    return None


@CLAIMS.add
def a_stopped_stage_goes_on_bit_for_bit(s: TrainerSubject) -> str | None:
    """k steps, saved, loaded into a new trainer, and the rest: the same as all at once."""
    whole = s.begun()
    expected = [u.loss.detach().clone() for _, u in s.steps(whole, 0, STEPS)]
    for stop in (1, STEPS // 2):
        trainer = s.begun()
        losses = [u.loss.detach().clone() for _, u in s.steps(trainer, 0, stop)]
        new = s.trainer()
        new.load_state_dict(through_a_checkpoint(trainer.state_dict()))
        losses += [u.loss.detach().clone() for _, u in s.steps(new, stop, STEPS)]
        for k, (a, b) in enumerate(zip(expected, losses, strict=False)):
            if not same_bits(a, b):
                raise Fault(
                    f"stopped after {stop} steps, update {k} has the loss {float(b):.9g}, not {float(a):.9g}",
                    "the same bits: runs are stopped, killed and resumed",
                    "Keep in extra_state all that the next step looks at: buffers, averages, vectors.",
                )
        for name in whole.networks():
            moved = states_differ(whole.networks()[name].state_dict(), new.networks()[name].state_dict())
            if moved is not None:
                raise Fault(
                    f'stopped after {stop} steps, {moved} of the network "{name}" ends elsewhere',
                    "the same bits",
                    "Keep what networks() returns in extra_state, e.g. a moving average.",
                )
    return f"{len(expected)} updates"


def through_a_checkpoint(state: dict[str, Any]) -> Any:
    """The state as it comes back from a checkpoint's files: JSON, and tensors by name."""
    tensors: dict[str, Tensor] = {}
    try:
        tree = json.loads(json.dumps(pack(state, tensors)))
    except TypeError as e:
        raise Fault(
            f"its state cannot be saved: {e}",
            "nested dictionaries and lists of tensors, numbers and texts",
            "Return the state_dict of what you keep, and not the object.",
        ) from e
    return unpack(tree, tensors)


@CLAIMS.add
def networks_fit_the_parts(s: TrainerSubject) -> str | None:
    """networks() are those to sample with: their weights load into new parts of that name."""
    trainer, parts = s.begun(), s.parts()
    list(s.steps(trainer, 0, 1))
    with settings(torch.float32), no_global_randomness("finish"):
        trainer.finish(s.rng("finish"))
    for name, network in trainer.networks().items():
        part = parts.get(name)
        if not isinstance(part, nn.Module):
            raise Fault(
                f'networks() has "{name}", which is none of its slots {sorted(parts)}',
                "networks by the names of the parts: generator, energy",
                'return {"energy": …}',
            )
        try:
            part.load_state_dict(network.state_dict())
        except RuntimeError as e:
            raise Fault(
                f'the network "{name}" does not load into a new {name}: {str(e).splitlines()[0]}',
                "weights by the part's own names",
                "Return the module itself, or a deep copy of it, and no wrapper.",
            ) from e
        bad = [k for k, v in network.state_dict().items() if v.is_floating_point() and not v.isfinite().all()]
        if bad:
            raise Fault(
                f'{bad[0]} of the network "{name}" is not finite after finish',
                "finite weights",
                "Look there.",
            )
    return ", ".join(trainer.networks())


@CLAIMS.add
def bears_autocast(s: TrainerSubject) -> str | None:
    """Under bf16 autocast, which `--run.precision bf16` is, losses are finite and can be stepped."""
    trainer = s.begun()
    with settings(torch.float32):
        updates = trainer.updates(s.batch(0), 0, s.rng("noise", 0))
        while True:
            with torch.autocast("cpu", torch.bfloat16):
                update = next(updates, None)
            if update is None:
                return None
            if not torch.isfinite(update.loss):
                raise Fault(
                    f'the loss of "{update.player}" is {float(update.loss)} under bf16 autocast',
                    "a finite number",
                    "Compute logs, norms and sums in float32: x.float().",
                )
            optimizer = trainer.optimizers()[update.player]
            optimizer.zero_grad(set_to_none=True)
            update.loss.backward()
            optimizer.step()


def places(s: TrainerSubject) -> list[Any]:
    """Where options are looked at: one way to fill the slots."""
    return [None]


def fingerprint(s: TrainerSubject, table: Mapping[str, Any], place: Any) -> Iterator[Any]:
    """What can be observed of a stage with these options."""
    trainer = s.begun(table=table)
    yield trainer.state_dict()
    for step in range(STEPS):
        yield [(u.player, u.loss.detach(), dict(u.metrics)) for _, u in s.steps(trainer, step, step + 1)]
        yield trainer.state_dict(), trainer.networks()
    trainer.finish(s.rng("finish"))
    yield trainer.networks()
