"""The mathematics. Imports torch and nothing of the toolkit outside `core`."""

from vaebm_toolkit.core.chain import run_chain, value_and_grad
from vaebm_toolkit.core.densities import (
    data_density,
    latent_density,
    official_latent_density,
    target_density,
)
from vaebm_toolkit.core.freeze import frozen
from vaebm_toolkit.core.interfaces import (
    Autoencoder,
    Buffer,
    Dataset,
    Decoded,
    Elbo,
    EnergyFunction,
    Generator,
    Horizon,
    LogDensity,
    Metric,
    Sampler,
    Split,
    State,
    Trainer,
    Update,
    square_norm,
)
from vaebm_toolkit.core.layers import WeightNormConv2d
from vaebm_toolkit.core.optim import MomentClippedAdam, set_lr, update_average, warmup_cosine
from vaebm_toolkit.core.rng import RowStreams, randn, randn_like, stream
from vaebm_toolkit.core.spectral import BatchNormPenalty, SpectralPenalty
from vaebm_toolkit.core.state import is_finite, standard_normal, without_data_noise

__all__ = [
    "Autoencoder",
    "BatchNormPenalty",
    "Buffer",
    "Dataset",
    "Decoded",
    "Elbo",
    "EnergyFunction",
    "Generator",
    "Horizon",
    "LogDensity",
    "Metric",
    "MomentClippedAdam",
    "RowStreams",
    "Sampler",
    "SpectralPenalty",
    "Split",
    "State",
    "Trainer",
    "Update",
    "WeightNormConv2d",
    "data_density",
    "frozen",
    "is_finite",
    "latent_density",
    "official_latent_density",
    "randn",
    "randn_like",
    "run_chain",
    "set_lr",
    "square_norm",
    "standard_normal",
    "stream",
    "target_density",
    "update_average",
    "value_and_grad",
    "warmup_cosine",
    "without_data_noise",
]
