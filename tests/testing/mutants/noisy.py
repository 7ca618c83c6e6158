"""Options in a module that prints."""

from vaebm_toolkit import frozen, ge, opt

print("loading the model zoo")


@frozen
class Options:
    width: int = opt(8, "hidden units", check=ge(1))
