"""Parts that are wrong in one way each, and what a contract test has to say about them. Torch-free."""

from __future__ import annotations

from typing import Any

from vaebm_toolkit import Component, frozen, ge, gt, opt, slot


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


@frozen
class Seeded:
    seed: int = opt(0, "of what is drawn", check=ge(0))


@frozen
class Contrast:
    generator: str = slot("generator", "mlp")
    energy: str = slot("energy", "mlp")
    sampler: str = slot("sampler", "latent-ld")
    buffer: str = slot("buffer", "replay")
    lr: float = opt(1e-3, "learning rate", check=gt(0))


@frozen
class IdleContrast(Contrast):
    momentum: float = opt(0.9, "of the optimiser", check=gt(0))


@frozen
class Capacity:
    capacity: int = opt(64, "rows", check=ge(1))


def energy(factory: str, claim: str, words: str, options: type = Width) -> Mutant:
    return Mutant("energy", f"energies:{factory}", claim, words, options)


def sampler(factory: str, claim: str, words: str, options: type = Chain) -> Mutant:
    return Mutant("sampler", f"samplers:{factory}", claim, words, options)


def generator(factory: str, claim: str, words: str) -> Mutant:
    return Mutant("generator", f"generators:{factory}", claim, words, Width)


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


def dataset(factory: str, claim: str, words: str) -> Mutant:
    return Mutant("dataset", f"datasets:{factory}", claim, words, Seeded)


def features(factory: str, claim: str, words: str) -> Mutant:
    return Mutant("features", f"features:{factory}", claim, words)


def metric(factory: str, claim: str, words: str) -> Mutant:
    return Mutant("metric", f"metrics:{factory}", claim, words)


def buffer(factory: str, claim: str, words: str) -> Mutant:
    return Mutant("buffer", f"buffers:{factory}", claim, words, Capacity)


BY_INDEX = "examples go by index"
DATASETS = {
    "bytes": dataset("Bytes", "values are within bounds", "values from 0 to 25"),
    "divided twice": dataset("DividedTwice", "values are within bounds", "Divide by 255 once"),
    "float64": dataset("Doubles", "examples have the shape", "torch.float64"),
    "channels last": dataset("ChannelsLast", "examples have the shape", "permute(0, 3, 1, 2)"),
    "augments without a stream": dataset("AlwaysAugments", BY_INDEX, "global generator of torch"),
    "a stream of its own": dataset("OwnStream", "augmentation follows the stream", "two streams of one seed"),
    "sorts the indices": dataset("Sorted", BY_INDEX, "the order it is asked for in"),
    "normalised by the batch": dataset("NormalisedByBatch", BY_INDEX, "depends on the batch"),
    "views": dataset("Views", "batches are copies", "changes the data set"),
    "test is train": dataset("TestIsTrain", "splits are apart", "100% of the test examples"),
    "shuffled anew": dataset("ShuffledAnew", "is the same when built again", "other examples"),
    "labels as floats": dataset("LabelsAsFloats", "labels fit", "torch.float32"),
    "labels from -1": dataset("LabelsFromOne", "labels fit", "from -1"),
    "NaN": dataset("NotFinite", "examples have the shape", "not finite"),
}
FEATURES = {
    "normalised by the batch": features("NormalisedByBatch", "examples are independent", "when"),
    "others each time": features("OtherEachTime", "same examples same features", "is built again"),
    "noise": features("Noisy", "same examples same features", "global generator of torch"),
    "not flat": features("Unflattened", "gives a point for each example", "End with .flatten(1)"),
    "in place": features("InPlace", "same examples same features", "writes into its input"),
    "constant": features("Constant", "examples are told apart", "the same features"),
    "whole numbers": features("Whole", "gives a point for each example", "torch.int64"),
    "silent": features("Silent", "says what it is", "about is {}"),
}
METRICS = {
    "mean of batches": metric("MeanOfBatches", "batches do not matter", "in batches of 7"),
    "tensors": metric("Tensors", "figures are numbers", "is a Tensor"),
    "NaN": metric("NotANumber", "figures are numbers", "is nan"),
    "reads twice": metric("ReadsTwice", "batches do not matter", "as a generator"),
    "remembers": metric("Remembers", "keeps nothing of other samples", "after other samples"),
    "global draws": metric("GlobalDraws", "batches do not matter", "global generator of torch"),
    "ignores the samples": metric("IgnoresSamples", "tells data from noise", "noise gets"),
    "writes": metric("Writes", "leaves samples alone", "writes into the samples"),
    "no protocol": metric("NoProtocol", "says how it measured", "protocol is {}"),
    "crashes on vectors, unsaid": metric("CrashesOnVectors", "figures are numbers", "IndexError"),
}
BUFFERS = {
    "references": buffer("References", "stores copies", "written into"),
    "graphs": buffer("Graphs", "leaves no graph", "carries a graph"),
    "views": buffer("DrawsViews", "stores copies", "written into"),
    "an index per group": buffer("IndexPerGroup", "rows come back whole", "all groups of a row"),
    "never draws": buffer("NeverDraws", "rows come back whole", "no stored row was ever drawn"),
    "global draws": buffer("GlobalDraws", "same stream same draws", "global generator of torch"),
    "forgets": buffer("Forgets", "resumes", "after 1 rounds"),
    "forgets the order": buffer("ForgetsOrder", "resumes", "differs in group"),
    "grows": buffer("Grows", "does not grow for ever", "bytes after"),
    "float32": buffer("Singles", "draws keep the form", "torch.float64"),
    "rounds": buffer("Rounds", "rows come back whole", "never pushed"),
    "shuffles": buffer("Shuffles", "builds", "not the fresh one"),
    "sorts the groups": buffer("Sorted", "draws keep the form", "Return all groups, in order"),
    "copies for all ranks": buffer("Copies", "shards hold the same chains", "two shards hold"),
    "tensor metrics": buffer("TensorMetrics", "metrics are numbers", "tensor(0.5"),
    "option that does nothing": buffer("StepIsCapacity", "options change something", "changes nothing"),
}
JACOBIAN = "log det is the jacobians"
BOUNDS = "both bounds agree"
INVERSE = "noise is the inverse of values"
BACK = "data come back from their noise"
ROWS = "encoding is row by row"
GENERATORS = {
    "log_det negated": generator("Negated", JACOBIAN, "autograd's log |det d(z, x)/dε|"),
    "log_det without a group": generator("ForgetsGroup", JACOBIAN, "of every group"),
    "log_det averaged": generator("MeanLogDet", JACOBIAN, "Σ log σ over all values"),
    "clamps": generator("Clamps", JACOBIAN, "before any clamp"),
    "mean with noise": generator("NoisyMean", "mean is at no noise", "mean(ε) differs from decode"),
    "mean without temperature": generator("ColdMean", "temperature scales the noise", "mean at temperatures"),
    "KL of the batch": generator("KlOfTheBatch", ROWS, "average nothing over the batch"),
    "mean over pixels": generator("MeanLogPx", BOUNDS, "average neither over batch nor dimensions"),
    "KL without entropy": generator("KlWithoutEntropy", "elbo has a term for each group", "0 or more"),
    "one KL for all groups": generator(
        "OneKl", "elbo has a term for each group", "kl of 6 examples has shape"
    ),
    "KL turned": generator("Turned", "elbo has a term for each group", "0 or more"),
    "residual drawn anew": generator("FreshResidual", BACK, "decode(encode(x)).x differs from x"),
    "encodes z and not ε": generator("EncodesLatents", BACK, "ε_g = (z_g − μ_g) / σ_g"),
    "weight without prior": generator("WeightWithoutPrior", BOUNDS, "that of log_weight"),
    "dead group": generator("DeadGroup", "gives data", 'does not depend on the noise group "z1"'),
    "batch statistics": generator("BatchStatistics", "rows are independent", "the other rows change"),
    "frozen is itself": generator(
        "FrozenIsItself", "frozen is the same map", "when the generator's weights do"
    ),
    "wrong inverse": generator("WrongInverse", INVERSE, 'in group "z1"'),
    "log_det of the inverse": generator("InverseLogDet", INVERSE, "noise says log_det"),
    "global posterior": generator("GlobalPosterior", ROWS, "global generator of torch"),
    "shared posterior": generator("SharedPosterior", ROWS, "with the batch it is in"),
    "mean posterior": generator("MeanPosterior", ROWS, "the same with another stream"),
    "x first": generator("XFirst", "is a generator", "latents, coarse to fine"),
    "converts in place": generator("ConvertsInPlace", BACK, "writes into its data"),
    "wrong units": generator("WrongUnits", BACK, "differs from x"),
    "stays in training mode": generator("StaysInTraining", "recalibration is sound", "leaves another mode"),
    "units averaged": generator("UnitsAveraged", "units add up to their group", "the same"),
    "detached noise": generator("DetachedNoise", "gradients are true", "not connected with its input z0"),
    "half the KL": generator("HalfTheKl", "weights give the density", "the KL with coefficient 1"),
}


def trainer(factory: str, claim: str, words: str, options: type = Contrast) -> Mutant:
    return Mutant("trainer", f"trainers:{factory}", claim, words, options)


RESUMED, SOUND = "a stopped stage goes on bit for bit", "losses are sound"
TRAINERS = {
    "forgets the buffer": trainer("ForgetsBuffer", RESUMED, "stopped after"),
    "forgets the average": trainer("ForgetsAverage", RESUMED, 'of the network "energy" ends elsewhere'),
    "forgets the optimiser": trainer("ForgetsOptimiser", RESUMED, "stopped after"),
    "saves objects": trainer("SavesObjects", RESUMED, "cannot be saved"),
    "new optimiser": trainer("NewOptimiser", "each player has its optimiser", "a new one at each call"),
    "optimiser of another": trainer(
        "OptimiserOfTheGenerator", "each player has its optimiser", 'not those of "energy"'
    ),
    "moves the generator": trainer("MovesTheGenerator", "each loss moves its own player", 'of "generator"'),
    "loss without weights": trainer("StepsItself", "each loss moves its own player", "does not move"),
    "unknown player": trainer("WrongPlayer", SOUND, "'critic'"),
    "a loss per row": trainer("SumOfRows", SOUND, "one finite number"),
    "numbers for metrics": trainer("ItemMetrics", SOUND, "is a float"),
    "global noise": trainer("GlobalNoise", "same stream same steps", "global generator of torch"),
    "networks of another name": trainer("OtherName", "networks fit the parts", 'has "model"'),
    "wrapped network": trainer("Wrapped", "networks fit the parts", "does not load"),
    "no horizon": trainer("NoHorizon", "builds", "horizon"),
    "moves statistics": trainer("MovesStatistics", "each loss moves its own player", "running_mean"),
    "writes into the data": trainer("WritesData", "same stream same steps", "writes into its batch"),
    "explodes at the end": trainer("Explodes", "networks fit the parts", "is not finite after finish"),
    "forgets a count": trainer("ForgetsCount", RESUMED, "stopped after"),
    "a stream of its own": trainer("OwnStream", RESUMED, "stopped after"),
    "no updates": trainer("NoUpdates", SOUND, "yield no update"),
    "option that does nothing": trainer(
        "Healthy", "options change something", 'option "momentum" changes nothing', IdleContrast
    ),
}

MUTANTS = {
    **{f"trainer: {name}": m for name, m in TRAINERS.items()},
    **{f"energy: {name}": m for name, m in ENERGIES.items()},
    **{f"sampler: {name}": m for name, m in SAMPLERS.items()},
    **{f"dataset: {name}": m for name, m in DATASETS.items()},
    **{f"features: {name}": m for name, m in FEATURES.items()},
    **{f"metric: {name}": m for name, m in METRICS.items()},
    **{f"buffer: {name}": m for name, m in BUFFERS.items()},
    **{f"generator: {name}": m for name, m in GENERATORS.items()},
}
HEALTHY = {
    "trainer": trainer("Healthy", "", ""),
    "energy": energy("Healthy", "", ""),
    "sampler": sampler("Langevin", "", ""),
    "sampler with a test": sampler("Mala", "", ""),
    "dataset": dataset("Healthy", "", ""),
    "features": features("Healthy", "", ""),
    "metric": metric("Healthy", "", ""),
    "buffer": buffer("Healthy", "", ""),
    "generator": generator("Healthy", "", ""),
    "generator of one group": generator("Half", "", ""),
    "generator without encoder": generator("Affine", "", ""),
}
