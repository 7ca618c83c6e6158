"""The mathematics. Imports torch and nothing of the toolkit outside `core`."""

from vaebm_toolkit.core import ranks
from vaebm_toolkit.core.chain import prior_jumps, run_chain, value_and_grad
from vaebm_toolkit.core.densities import (
    data_density,
    joint_density,
    latent_density,
    official_latent_density,
    target_density,
)
from vaebm_toolkit.core.figures import Figure, SampleStream, as_stream
from vaebm_toolkit.core.freeze import buffers_restored, frozen
from vaebm_toolkit.core.interfaces import (
    Autoencoder,
    Buffer,
    Dataset,
    Decoded,
    Elbo,
    EnergyFunction,
    Features,
    Fitted,
    Generator,
    Horizon,
    LogDensity,
    Metric,
    ModalDataset,
    Model,
    Sampler,
    Split,
    State,
    Trainer,
    Update,
    spherical,
    square_norm,
)
from vaebm_toolkit.core.layers import NormalisedConv2d, WeightNormConv2d
from vaebm_toolkit.core.optim import MomentClippedAdam, adam, set_lr, update_average, warmup_cosine
from vaebm_toolkit.core.released import Imported, adam_moments, tensors
from vaebm_toolkit.core.rng import RowStreams, rand, randn, randn_like, stream
from vaebm_toolkit.core.spectral import BatchNormPenalty, SpectralPenalty
from vaebm_toolkit.core.state import data_noise, generated, is_finite, standard_normal
from vaebm_toolkit.core.tempered import Tempered, per_group

__all__ = [
    "Autoencoder",
    "BatchNormPenalty",
    "Buffer",
    "Dataset",
    "Decoded",
    "Elbo",
    "EnergyFunction",
    "Features",
    "Figure",
    "Fitted",
    "Generator",
    "Horizon",
    "Imported",
    "LogDensity",
    "Metric",
    "ModalDataset",
    "Model",
    "MomentClippedAdam",
    "NormalisedConv2d",
    "RowStreams",
    "SampleStream",
    "Sampler",
    "SpectralPenalty",
    "Split",
    "State",
    "Tempered",
    "Trainer",
    "Update",
    "WeightNormConv2d",
    "adam",
    "adam_moments",
    "as_stream",
    "buffers_restored",
    "data_density",
    "data_noise",
    "frozen",
    "generated",
    "is_finite",
    "joint_density",
    "latent_density",
    "official_latent_density",
    "per_group",
    "prior_jumps",
    "rand",
    "randn",
    "randn_like",
    "ranks",
    "run_chain",
    "set_lr",
    "spherical",
    "square_norm",
    "standard_normal",
    "stream",
    "target_density",
    "tensors",
    "update_average",
    "value_and_grad",
    "warmup_cosine",
]
