"""Parts that are wrong in one way each, and what a contract test has to say about them. Torch-free."""

from __future__ import annotations

from typing import Any

from vaebm_toolkit import Component, frozen, ge, gt, opt


@frozen
class Width:
    width: int = opt(8, "hidden units", check=ge(1))


@frozen
class Idle:
    width: int = opt(8, "hidden units", check=ge(1))
    slope: float = opt(0.2, "of the activation", check=gt(0))


@frozen
class Mutant:
    """`claim` must fail, with `words` in what is said about it."""

    kind: str
    factory: str
    claim: str
    words: str
    options: type | None = None
    example: dict[str, Any] = {}  # noqa: RUF012

    def component(self, name: str = "mutant") -> Component:
        return Component(
            kind=self.kind,
            name=name,
            factory=f"mutants.{self.factory}",
            options=self.options,
            summary="wrong in one way",
            example=self.example,
        )


def energy(factory: str, claim: str, words: str, options: type = Width) -> Mutant:
    return Mutant("energy", f"energies:{factory}", claim, words, options)


ENERGIES = {
    "centred by the batch": energy("BatchCentred", "rows are independent", "the other rows change"),
    "centred by the batch in training": energy(
        "CentredInTraining", "rows are independent in training", "in training mode"
    ),
    "detached": energy("Detached", "gradients are true", "not connected with its input"),
    "rounded": energy("Rounded", "gradients are true", "differs from finite differences"),
    "unused layer": energy(
        "UnusedLayer", "gradient reaches every weight", "no gradient reaches spare.weight"
    ),
    "noise in forward": energy("NoisyForward", "same input same output", "global generator of torch"),
    "dropout": energy("Dropout", "same input same output", "in training mode draws from"),
    "remembers in eval mode": energy("Remembers", "same input same output", "from call to call"),
    "writes into its input": energy("WritesInput", "input is left alone", "writes into its input"),
    "unregistered tensor": energy("PlainTensor", "tensors are registered", "scale, a tensor of shape"),
    "tensor made on the CPU": energy("MadeOnCpu", "tensors are registered", "a tensor on the CPU"),
    "layers in a list": energy("PlainList", "tensors are registered", "hidden holds a layer"),
    "asks for values": energy("AsksValues", "tensors are registered", "asks for values"),
    "random constant that is not saved": energy("NotSaved", "saves and loads", "after saving and loading"),
    "√0": energy("RootOfZero", "is finite everywhere", "gradient is nan where x is zeros"),
    "(B, 1)": energy("Column", "builds", "has shape (2, 1)"),
    "sum over the batch": energy("OneNumber", "builds", "has shape ()"),
    "float32 inside": energy("CastInside", "follows the dtype", "torch.float64 give torch.float32"),
    "held weight is another": energy("HeldWrongly", "is the same while frozen", "inside core.frozen"),
    "for images alone, unsaid": energy("ImagesAlone", "builds", "shape (2,)"),
    "initialises with 1 / std": energy("DividesByStd", "initialise is sound", "is not finite"),
    "copies share weights": energy("SharedByCopies", "copies", "when the weights of the original do"),
    "option that does nothing": energy(
        "Healthy", "options change something", 'option "slope" changes nothing', Idle
    ),
    "another keyword": energy("other_keyword", "builds", "unexpected keyword"),
}

MUTANTS = {f"energy: {name}": m for name, m in ENERGIES.items()}
HEALTHY = {"energy": energy("Healthy", "", "")}
