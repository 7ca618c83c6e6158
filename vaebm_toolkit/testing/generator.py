"""Claims about generators: as networks, as maps of noise, and with an encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vaebm_toolkit.core import Autoencoder, Generator, standard_normal
from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.testing.autoencoders import ENCODER
from vaebm_toolkit.testing.claims import Claims
from vaebm_toolkit.testing.maps import MAP, GeneratorSubject
from vaebm_toolkit.testing.measure import stirred
from vaebm_toolkit.testing.networks import NETWORK
from vaebm_toolkit.testing.storage import STORAGE
from vaebm_toolkit.testing.subject import Shape
from vaebm_toolkit.testing.training_aids import AIDS

SUBJECT = GeneratorSubject
CLAIMS = Claims([*NETWORK[:1], *MAP[:1], *NETWORK[1:], *MAP[1:], *ENCODER, *AIDS, *STORAGE])


def places(s: GeneratorSubject) -> list[Shape]:
    """Where options are looked at."""
    return s.tried


def fingerprint(s: GeneratorSubject, table: Mapping[str, Any], shape: Shape) -> Iterator[Any]:
    """What can be observed of a generator with these options, cheapest first."""
    module: Generator = s.build(table, shape=shape)
    yield dict(module.groups), module.state_dict()
    stirred(module, s.rng("weights")).eval()
    eps = standard_normal(module.groups, 4, s.rng("options"))
    yield from decoding(module, eps)
    if isinstance(module, Autoencoder):
        yield from encoding(s, module, shape)
    else:
        yield module.train().decode(eps)


def decoding(module: Generator, eps: Any) -> Iterator[Any]:
    yield module.decode(eps)
    yield module.mean(eps)
    yield attempt(module.check_reparametrised)
    yield attempt(lambda: module.official_log_joint(eps, (0.0, 1.0)))
    # wide enough apart that floors and clamps of scales act somewhere
    for p in module.parameters():
        p.data.mul_(3)
    yield attempt(lambda: module.official_log_joint(eps, (0.0, 1.0)))
    for p in module.parameters():
        p.data.div_(3)
    yield module.frozen().decode(eps)
    yield module.tempered([0.5], 0.5).decode(eps)


def encoding(s: GeneratorSubject, module: Autoencoder, shape: Shape) -> Iterator[Any]:
    x = s.data(shape, 4)
    for data in (x, (x > 0.5).to(x)):
        yield module.density, attempt(lambda data=data: module.check_data(data))
        yield module.elbo(data, s.rng("elbo")), module.log_weight(data, s.rng("weight"))
        yield module.encode(data, s.rng("encode")), module.kl_units(data, s.rng("units"))
        yield module.train().elbo(data, s.rng("elbo"))
        module.eval()
    module.initialise(x)
    yield module.state_dict()
    module.recalibrate(1, 4, s.rng("recalibrate"))
    yield module.state_dict()


def attempt(function: Callable[[], Any]) -> Any:
    """The result, or the words of a refusal."""
    try:
        return function()
    except (ToolkitError, ValueError, NotImplementedError) as e:
        return str(e)
