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
class Chain:
    steps: int = opt(5, "steps per chain", check=ge(0))
    step_size: float = opt(0.1, "step size η", check=gt(0))


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


def sampler(factory: str, claim: str, words: str, options: type = Chain) -> Mutant:
    return Mutant("sampler", f"samplers:{factory}", claim, words, options)


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

VARIANCE = "stationary variance is as claimed"
BALANCE = "keeps its density reversibly"
OWN_NOISE = "every value has noise of its own"
SAMPLERS = {
    "√(2η) of noise": sampler("TwiceTheNoise", VARIANCE, "variance of long chains is"),
    "uniform noise": sampler("UniformNoise", VARIANCE, "mean of long chains is"),
    "claims what needs a Metropolis test": sampler("ClaimsTooMuch", VARIANCE, "variance of long chains is"),
    "gradient of the mean": sampler(
        "GradientOfTheMean", "rows are independent", "in a batch of 1 instead of"
    ),
    "downhill": sampler("Downhill", "climbs", "mind the sign"),
    "one noise for all rows": sampler("OneNoiseForAllRows", OWN_NOISE, "two rows get the same noise"),
    "global noise": sampler("GlobalNoise", "same stream same chain", "global generator of torch"),
    "noise of the batch": sampler("BatchNoise", "rows are independent", "core.randn_like"),
    "a stream of its own": sampler("OwnStream", "same stream same chain", "different streams are the same"),
    "in place": sampler("InPlace", "old states stay", "writes into"),
    "leaves a graph": sampler("LeavesGraph", "leaves no graph and no gradients", "carries a graph"),
    "backward": sampler("Backward", "leaves no graph and no gradients", "weights have a gradient"),
    "sorts the groups": sampler("Sorted", "positions keep their form", "in their order"),
    "moves x alone": sampler("MovesXAlone", "moves", 'group "z1" never change'),
    "casts": sampler("Casts", "positions keep their form", "in torch.float64"),
    "numbers for diagnostics": sampler(
        "PlainDiagnostics", "diagnostics are numbers on the device", "a float"
    ),
    "momentum in the sampler": sampler("Momentum", "same stream same chain", "lives in the state"),
    "one step size for all": sampler("OneStepSizeForAll", "rows are independent", "adapt each row by itself"),
    "density of what is kept": sampler("DensityOfAll", "moves", "calls the log density with"),
    "leaves the bounds": sampler("LeavesBounds", "stays within bounds", "with bounds (0, 1) a chain has"),
    "no bounds keyword": sampler("NoBoundsKeyword", "builds", "Take (options, bounds)"),
    "Metropolis without the proposal": sampler("Uncorrected", BALANCE, "standard errors"),
    "accepts all": sampler("AcceptsAll", BALANCE, "standard errors"),
    "accepts by group": sampler("AcceptsByGroup", BALANCE, "a banana"),
    "one test for all rows": sampler("OneTestForAll", "rows are independent", "a batch of 1"),
    "inverted test": sampler("InvertedTest", BALANCE, "standard errors"),
}

MUTANTS = {
    **{f"energy: {name}": m for name, m in ENERGIES.items()},
    **{f"sampler: {name}": m for name, m in SAMPLERS.items()},
}
HEALTHY = {
    "energy": energy("Healthy", "", ""),
    "sampler": sampler("Langevin", "", ""),
    "sampler with a test": sampler("Mala", "", ""),
}
