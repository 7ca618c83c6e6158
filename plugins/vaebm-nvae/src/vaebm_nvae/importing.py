"""Options of `vaebm import nvae`. Torch-free, so that its help is quick."""

from __future__ import annotations

from vaebm_toolkit import frozen, ge, gt, opt


@frozen
class ImportOptions:
    """Defaults: the stored BatchNorm statistics, as VAEBM uses them."""

    bn_passes: int = opt(
        0, "batches of own samples to re-calibrate BatchNorm with, once, stored with the model; 0: none",
        check=ge(0),
    )  # fmt: skip
    bn_temperature: float = opt(1.0, "temperature of those samples", check=gt(0))
    bn_batch_size: int = opt(16, "samples per batch", check=gt(0))
