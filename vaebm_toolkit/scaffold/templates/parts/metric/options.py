from typing import Literal

from vaebm_toolkit import frozen, opt


@frozen
class Options:
    split: Literal["test", "train"] = opt("test", "the data that samples are compared with")
