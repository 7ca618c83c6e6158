"""Options in a module that imports torch."""

import torch  # noqa: F401

from vaebm_toolkit import frozen, ge, opt


@frozen
class Options:
    width: int = opt(8, "hidden units", check=ge(1))
