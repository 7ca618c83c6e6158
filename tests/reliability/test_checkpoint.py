"""Checkpoints: exact, without pickle, and never half there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebm_toolkit.errors import RunError
from vaebm_toolkit.training.checkpoint import TENSORS, TREE, Checkpoints, pack, unpack
from vaebm_toolkit.training.files import write

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
tensors = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool]).map(
    lambda t: torch.arange(6).view(2, 3).to(t)
)
trees = st.recursive(
    scalars | tensors,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=10,
)


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(trees)
@settings(deadline=None)
def test_pack_and_unpack_are_inverse(tree: object) -> None:
    found: dict[str, torch.Tensor] = {}
    text = json.dumps(pack(tree, found))
    assert same(tree, unpack(json.loads(text), found))


def test_optimizer_state_survives(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, optimizer.state_dict())
    step, state, warnings = checkpoints.load()
    assert (step, warnings) == (1, [])
    assert same(optimizer.state_dict(), state)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 20, 3, 100):
        checkpoints.save(step, {"step": step})
    assert checkpoints.steps() == [20, 100]


def damage_cut(folder: Path) -> None:
    file = folder / TENSORS
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def damage_bit(folder: Path) -> None:
    data = bytearray((folder / TENSORS).read_bytes())
    data[-1] ^= 1
    (folder / TENSORS).write_bytes(bytes(data))


def damage_tree(folder: Path) -> None:
    (folder / TREE).write_text((folder / TREE).read_text()[:-20])


def damage_gone(folder: Path) -> None:
    (folder / TENSORS).unlink()


@pytest.mark.parametrize("damage", [damage_cut, damage_bit, damage_tree, damage_gone])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_used(tmp_path: Path, damage) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"weights": torch.full((4,), float(step))})
    damage(checkpoints.path(2))
    step, state, (warning,) = checkpoints.load()
    assert step == 1
    assert state["weights"].tolist() == [1.0] * 4
    assert "step-00000002" in warning
    assert "damaged-step-00000002" in warning
    assert (tmp_path / "damaged-step-00000002").is_dir()
    damage(checkpoints.path(1))
    with pytest.raises(RunError, match="No whole checkpoint is left"):
        checkpoints.load()


def test_leftovers_of_a_kill_are_swept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": 1})
    leftover = tmp_path / ".writing-step-00000002"
    leftover.mkdir()
    (leftover / TENSORS).write_bytes(b"half")
    assert checkpoints.load()[0] == 1
    assert not leftover.exists()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    write(file, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match="the disk is full"):
        write(file, "new")
    assert file.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
