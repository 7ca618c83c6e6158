"""Options: one declaration, strict values, errors that name the path."""

from __future__ import annotations

import tomllib
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaebm_toolkit import frozen, ge, gt, opt, slot
from vaebm_toolkit.errors import RecipeError
from vaebm_toolkit.options import derived_values, fields, from_text, parse, slots, to_toml
from vaebm_toolkit.recipe import dumps


@frozen
class Options:
    steps: int = opt(10, "steps", check=ge(0))
    step_size: float = opt(1e-3, "η", check=gt(0))
    clamp: bool = opt(False, "clamp")
    noise: float | None = opt(None, "noise", check=ge(0))
    target: Literal["exact", "official"] = opt("exact", "target")
    widths: tuple[int, ...] = opt((1, 2), "widths", check=gt(0))
    name_: str = opt("a", "text")
    energy: str = slot("energy", "resnet", "the energy")


def test_fields_and_slots_are_told_apart() -> None:
    assert list(fields(Options)) == ["steps", "step_size", "clamp", "noise", "target", "widths", "name_"]
    assert slots(Options)["energy"].default == "resnet"


@frozen
class Conditional:
    start: Literal["noise", "generator"] = opt("noise", "start")
    generator: str = slot("generator", "none", when=("start", "generator"))
    energy: str = slot("energy", "resnet")


def test_a_slot_can_depend_on_an_option() -> None:
    generator, energy = slots(Conditional)["generator"], slots(Conditional)["energy"]
    assert energy.used(Conditional, {"start": "generator"})
    assert energy.used(Conditional, {})
    assert generator.used(Conditional, {"start": "generator"})
    assert not generator.used(Conditional, {"start": "noise"})
    assert not generator.used(Conditional, {})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"steps": 1.0}, "whole number"),
        ({"steps": True}, "whole number"),
        ({"steps": "3"}, "whole number"),
        ({"steps": -1}, "at least 0"),
        ({"step_size": True}, "number"),
        ({"step_size": 0}, "greater than 0"),
        ({"step_size": float("nan")}, "finite"),
        ({"step_size": float("inf")}, "finite"),
        ({"steps": 10**30}, "too large"),
        ({"clamp": 1}, "true"),
        ({"clamp": "no"}, "true"),
        ({"target": "papers"}, "exact | official"),
        ({"widths": [1, "2"]}, "whole number"),
        ({"widths": [1, 0]}, "greater than 0"),
        ({"widths": 3}, "list"),
        ({"stepsize": 1}, 'Did you mean "step_size"'),
        ({"energy": "x"}, "no such option"),
    ],
)
def test_wrong_values_name_the_path(table: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError) as e:
        parse(Options, table, "sampler")
    assert f"sampler.{next(iter(table))}" in str(e.value)
    assert words in str(e.value)


options = st.builds(
    Options,
    steps=st.integers(0, 10**9),
    step_size=st.floats(1e-12, 1e6),
    clamp=st.booleans(),
    noise=st.none() | st.floats(0, 1e3),
    target=st.sampled_from(["exact", "official"]),
    widths=st.lists(st.integers(1, 99)).map(tuple),
    name_=st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20).filter(
        lambda s: s != "none"
    ),
)


@given(options)
def test_toml_round_trip(o: Options) -> None:
    text = dumps({"sampler": to_toml(o)})
    assert parse(Options, tomllib.loads(text)["sampler"], "sampler") == o


@given(options)
def test_flag_round_trip(o: Options) -> None:
    for key, field in fields(Options).items():
        value = getattr(o, key)
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        text = {"None": "none", "True": "true", "False": "false"}.get(text, text) if key != "name_" else text
        assert from_text(text, field.type, key) == value


def test_derived_values_follow_the_options() -> None:
    from vaebm_langevin.options import DataOptions, LatentOptions

    assert derived_values(LatentOptions(step_size=0.04, noise_scale=0.1))["temperature"][0] == pytest.approx(
        0.25
    )
    assert derived_values(DataOptions())["temperature"][0] == pytest.approx(1.25e-6)
