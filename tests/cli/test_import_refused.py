"""`vaebm import` of anything else: one clear message, nothing run, nothing left behind."""

from __future__ import annotations

import argparse
import builtins
import collections
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from .conftest import Vaebm
from .released import energy_file, igebm_file, nvae_file


@pytest.fixture
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """After the test, no run and nothing half-written is there."""
    yield
    left = [p for p in tmp_path.rglob("*") if p.name in ("out", "recipe.toml") or ".writing" in p.name]
    assert not left


# code in the pickle


class Calls:
    """Pickles as a call of `function(*args)`, as an attacker would."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


class Stranger:
    """A class that is not argparse.Namespace."""


TOUCH, WRITE = "touch RAN", "open('RAN', 'w').close()"
CODE = {
    "system": (lambda c: {**c, "epoch": Calls(os.system, TOUCH)}, ["system"]),
    "eval": (lambda c: {**c, "scheduler": {"x": [Calls(builtins.eval, WRITE)]}}, ["eval"]),
    "in-args": (lambda c: {**c, "args": argparse.Namespace(x=[Calls(exec, WRITE)])}, ["exec"]),
    "in-state": (lambda c: {**c, "state_dict": {"x": Calls(os.system, TOUCH)}}, ["system"]),
    "class": (lambda c: {**c, "args": Stranger()}, ["Stranger"]),
    "getattr": (lambda c: {**c, "x": Calls(getattr, "x", "upper")}, ["getattr"]),
    "whole": (lambda c: Calls(os.system, TOUCH), ["system"]),
    "two": (lambda c: [Stranger(), Calls(builtins.eval, WRITE)], ["Stranger", "eval"]),
    "path": (lambda c: {**c, "args": argparse.Namespace(data=Path("/tmp"))}, ["PosixPath"]),
    "default-dict": (lambda c: {**c, "scheduler": collections.defaultdict(list)}, ["defaultdict"]),
}


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("how", ["zip", "legacy", "protocol-4", "pickle"])
@pytest.mark.parametrize("name", CODE)
def test_code_is_named_and_never_run(
    vaebm: Vaebm, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # a user's habit must not open the door
    change, offenders = CODE[name]
    content = change(nvae_file())
    if how == "pickle":
        Path("bad.pt").write_bytes(pickle.dumps(content, 2))
    else:
        protocol = 4 if how == "protocol-4" else 2
        zipped = how != "legacy"
        torch.save(content, "bad.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    assert not Path("RAN").exists()
    for importer in ("nvae", "energy", "igebm"):
        called = vaebm("import", importer, "bad.pt", "--out", "out")
        assert called.code == 1
        assert "nothing in it was run" in called.err, called.err
        for offender in offenders:
            assert offender in called.err
        assert "Warning" not in called.err
        for advice in ("weights_only", "safe_globals", "trust"):
            assert advice not in called.err
    assert not Path("RAN").exists()
    torch.load("bad.pt", weights_only=False) if how != "pickle" else pickle.loads(Path("bad.pt").read_bytes())
    assert Path("RAN").exists() == (name not in ("class", "getattr", "path", "default-dict")), "it was live"


def test_what_others_allowed_does_not_count(vaebm: Vaebm) -> None:
    torch.save({**nvae_file(), "args": Stranger()}, "bad.pt")
    with torch.serialization.safe_globals([Stranger]):
        called = vaebm("import", "nvae", "bad.pt", "--out", "out")
        assert Stranger in torch.serialization.get_safe_globals()
    assert "Stranger" in called.err
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
    nvae_file()
    assert vaebm("import", "nvae", "checkpoint.pt", "--out", "r").code == 0
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


# arguments and tensors


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arch_instance": "res_mbconv9"}, ["res_mbconv9", "lacks"]),
        ({"arch_instance": "resnet\x1b[2J"}, ["resnet\\x1b[2J", "no cell type"]),
        ({"dataset": "lsun_church"}, ["'lsun_church'", "lsun_CATEGORY_SIZE"]),
        ({"dataset": "cats"}, ["'cats'", "cifar10"]),
        ({"dataset": "celeba_64"}, ["64 × 64", "32 × 32"]),
        ({"dataset": ["cifar10"]}, ["dataset", "a list", "not a text"]),
        ({"num_x_bits": 4}, ["num_x_bits is 4", "5 to 8"]),
        ({"num_latent_scales": "1"}, ["num_latent_scales is '1'", "whole number"]),
        ({"num_groups_per_scale": True}, ["num_groups_per_scale is True", "whole number"]),
        ({"num_groups_per_scale": 10**9}, ["num_groups_per_scale"]),
        ({"num_cell_per_cond_dec": 100}, ["cells and flows"]),
        ({"use_se": 1}, ["use_se is 1", "True or False"]),
        ({"use_se": torch.ones(1)}, ["use_se is a Tensor"]),
        ({"learning_rate": float("nan")}, ["pretrain.lr", "finite"]),
        ({"learning_rate": -1.0}, ["pretrain.lr", "greater than 0"]),
        ({"num_postprocess_blocks": 2}, ["2 postprocess blocks", "1 preprocess"]),
        ({"num_channels_dec": 8}, ["mis-shaped", "prior_ftr0"]),
        ({"use_se": False}, ["unexpected", "se.se.0.weight"]),
        ({"num_nf": 1}, ["missing", "nf_cells.0.cell1.conv.convz.0.weight"]),
    ],
    ids=lambda v: ",".join(v) if isinstance(v, dict) else "",
)
def test_arguments_are_not_trusted(vaebm: Vaebm, changes: dict[str, Any], words: list[str]) -> None:
    checkpoint = nvae_file()
    vars(checkpoint["args"]).update(changes)
    torch.save(checkpoint, "checkpoint.pt")
    called = vaebm("import", "nvae", "checkpoint.pt", "--out", "out")
    assert called.code != 0
    for word in words:
        assert word in called.err, called.err
    assert "\x1b" not in called.err


@pytest.mark.usefixtures("nothing_left")
def test_arguments_that_are_missing(vaebm: Vaebm) -> None:
    checkpoint = nvae_file()
    del checkpoint["args"].num_channels_enc
    torch.save(checkpoint, "a.pt")
    assert "no num_channels_enc" in vaebm("import", "nvae", "a.pt", "--out", "out").err
    torch.save({**checkpoint, "args": {"dataset": "cifar10"}}, "b.pt")
    assert "not an argparse.Namespace" in vaebm("import", "nvae", "b.pt", "--out", "out").err
    torch.save({"epoch": 3, "model_state": {}}, "c.pt")
    assert "has no args" in vaebm("import", "nvae", "c.pt", "--out", "out").err
    torch.save({**nvae_file(), "state_dict": None}, "d.pt")
    assert "no state_dict" in vaebm("import", "nvae", "d.pt", "--out", "out").err


@pytest.mark.usefixtures("nothing_left")
def test_tensors_that_do_not_fit_are_listed_by_name(vaebm: Vaebm) -> None:
    checkpoint = nvae_file()
    state = checkpoint["state_dict"]
    del state["stem.weight"]
    state["enc0.1.bias"] = torch.zeros(3)
    state["extra\x1b[31m"] = torch.zeros(1)
    torch.save(checkpoint, "checkpoint.pt")
    err = vaebm("import", "nvae", "checkpoint.pt", "--out", "out").err
    assert "1 missing, 1 unexpected, 1 mis-shaped tensors" in err
    assert "missing: stem.weight\n" in err
    assert "unexpected: extra\\x1b[31m\n" in err
    assert "mis-shaped: enc0.1.bias (3,), not (8,)\n" in err
    for name in list(state)[:30]:
        del state[name]
    torch.save(checkpoint, "checkpoint.pt")
    assert " more\n" in vaebm("import", "nvae", "checkpoint.pt", "--out", "out").err


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.full((8,), torch.nan), "not finite: enc0.1.bias"),
        (torch.zeros(1).expand(8), "not plain tensors: enc0.1.bias"),
        (torch.zeros(8, dtype=torch.complex64), "not plain tensors: enc0.1.bias"),
        (torch.zeros(8).to_sparse(), "not plain tensors: enc0.1.bias"),
    ],
    ids=["nan", "expanded", "complex", "sparse"],
)
def test_values_that_cannot_be_weights(vaebm: Vaebm, value: Tensor, words: str) -> None:
    checkpoint = nvae_file()
    checkpoint["state_dict"]["enc0.1.bias"] = value
    torch.save(checkpoint, "checkpoint.pt")
    assert words in vaebm("import", "nvae", "checkpoint.pt", "--out", "out").err


@pytest.mark.usefixtures("nothing_left")
def test_energies_that_do_not_fit(vaebm: Vaebm) -> None:
    state = energy_file()["model"]
    torch.save({k: v for k, v in state.items() if k != "blocks.2.conv1.weight"}, "a.pt")
    assert "missing: blocks.2.conv1.weight" in vaebm("import", "energy", "a.pt", "--out", "out").err
    torch.save({k: v for k, v in state.items() if not k.startswith("blocks.5")}, "b.pt")
    assert "5 blocks" in vaebm("import", "energy", "b.pt", "--out", "out").err
    torch.save({"fc.weight": torch.zeros(3, 3)}, "c.pt")
    assert "not a checkpoint of VAEBM's energy" in vaebm("import", "energy", "c.pt", "--out", "out").err
    assert "not a checkpoint of IGEBM's" in vaebm("import", "igebm", "c.pt", "--out", "out").err


# files that are not what they should be


def test_another_kind_of_file_is_named_with_its_command(vaebm: Vaebm) -> None:
    nvae_file("nvae")
    energy_file("energy")
    igebm_file("igebm")
    for importer in ("nvae", "energy", "igebm"):
        for file in {"nvae", "energy", "igebm"} - {importer}:
            called = vaebm("import", importer, file, "--out", "out")
            assert called.code != 0
            assert f'{file} is for the importer "{file}"' in called.err
            assert f"vaebm import {file} {file}" in called.err
    assert not Path("out").exists()


@pytest.mark.usefixtures("nothing_left")
def test_damaged_and_foreign_files(vaebm: Vaebm, finished: Path) -> None:
    def refused(words: str, file: str | Path = "bad") -> None:
        called = vaebm("import", "nvae", file, "--out", "out")
        assert called.code != 0
        assert words in called.err, called.err
        assert "weights_only" not in called.err
        assert "safe_globals" not in called.err

    for legacy in (False, True):
        nvae_file(legacy=legacy)
        whole = Path("checkpoint.pt").read_bytes()
        for length in (len(whole) - 20, len(whole) // 2, 1000, 10):
            Path("bad").write_bytes(whole[:length])
            refused("damaged or cut off")
    nvae_file()
    whole = Path("checkpoint.pt").read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 255
    Path("bad").write_bytes(changed)
    refused("damaged")
    for content, words in (
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"just some text, no checkpoint", "not a file that torch.save wrote"),
        (bytes(1000), "not a file that torch.save wrote"),
        (b"\x1f\x8b" + bytes(100), "gzip"),
        ((finished / "pretrain/networks.safetensors").read_bytes(), "safetensors"),
    ):
        Path("bad").write_bytes(content)
        refused(words)
    refused("There is no file", "gone.pt")
    refused("is a run of this toolkit", finished)
    Path("folder").mkdir()
    refused("is a folder", "folder")


def test_a_temperature_without_recalibration_would_do_nothing(vaebm: Vaebm) -> None:
    nvae_file()
    result = vaebm("import", "nvae", "checkpoint.pt", "--bn-temperature", "0.7", "--out", "r")
    assert result.code == 2
    assert "Add --bn-passes" in result.err
    assert not Path("r").exists()
