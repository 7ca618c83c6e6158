"""The toolkit's own small networks as components, neither of them broken."""

from vaebm_toolkit.testing.tiny_networks import TinyEnergy, TinyGenerator


def energy(options, shape):
    return TinyEnergy(shape)


def generator(options, shape):
    return TinyGenerator(shape)
