"""The replay buffer: where rows come from, where they go, and that nothing is lost on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

import pytest
import torch
from safetensors.torch import load, save

from vaebm_replay.buffer import ReplayBuffer, build, host_stream
from vaebm_replay.options import ReplayOptions
from vaebm_toolkit import RecipeError, RunError
from vaebm_toolkit.core import RowStreams, State, stream


def buffer(**options: object) -> ReplayBuffer:
    return build(ReplayOptions(**{"capacity": 100, "reuse": 0.6, "anneal_steps": 0, **options}))


def rows(first: float, n: int, device: torch.device | str = "cpu") -> State:
    """n rows that carry their number, first, first + 1, …, in both groups."""
    number = torch.arange(first, first + n, device=device)
    return {"z0": number.view(n, 1).repeat(1, 2), "x": number.view(n, 1, 1).repeat(1, 3, 2) + 0.5}


def numbers(state: State) -> list[float]:
    """The row numbers, after checking that groups have not been mixed."""
    number = state["z0"][:, 0]
    assert torch.equal(state["z0"], number.view(-1, 1).expand(-1, 2))
    assert torch.equal(state["x"], (number + 0.5).view(-1, 1, 1).expand(-1, 3, 2))
    return number.tolist()


def stored(b: ReplayBuffer) -> list[float]:
    return numbers({k: v[: b.fill] for k, v in b.chains.items()})


def test_first_draw_is_all_fresh(rng, device):
    b, fresh = buffer(reuse=1.0), rows(0, 8, device)
    assert numbers(b.draw(fresh, 10_000, rng)) == numbers(fresh)
    assert b.metrics() == {"reused": 0.0, "fill": 0.0}


def test_reused_rows_come_first_and_are_distinct_stored_ones(rng, device):
    b = buffer()
    b.push(rows(0, 50, device))
    for step in range(20):
        drawn = numbers(b.draw(rows(1000, 30, device), step, rng))
        n = round(b.metrics()["reused"] * 30)
        assert 0 < n < 30
        assert set(drawn[:n]) <= set(range(50))
        assert len(set(drawn[:n])) == n
        assert drawn[n:] == [1000 + i for i in range(n, 30)]


def test_number_of_reused_rows_is_binomial(rng, device):
    """Mean Bp and variance Bp(1 − p), within 4 standard errors, at p half-way through annealing."""
    b = buffer(anneal_steps=100, capacity=500)
    b.push(rows(0, 500, device))
    batch, p, draws = 40, 0.3, 3000
    counts = []
    for _ in range(draws):
        b.draw(rows(1000, batch, device), 50, rng)
        counts.append(batch * b.metrics()["reused"])
    counts = torch.tensor(counts)
    variance = batch * p * (1 - p)
    assert abs(counts.mean().item() - batch * p) < 4 * (variance / draws) ** 0.5
    # Var of a sample variance, near enough normal: 2 v² / n
    assert abs(counts.var().item() - variance) < 4 * variance * (2 / draws) ** 0.5


def test_probability_rises_linearly():
    options = ReplayOptions(reuse=0.6, anneal_steps=5000)
    assert [options.probability(k) for k in (0, 2500, 5000, 50_000)] == [0, 0.3, 0.6, 0.6]
    assert ReplayOptions(reuse=0.95, anneal_steps=0).probability(0) == 0.95


def test_every_stored_chain_is_equally_likely(rng, device):
    b = buffer(capacity=20)
    b.push(rows(0, 20, device))
    hits, draws = torch.zeros(20), 4000
    for _ in range(draws):
        drawn = numbers(b.draw(rows(1000, 10, device), 1, rng))
        hits += torch.bincount(torch.tensor([int(i) for i in drawn if i < 1000]), minlength=20)
    share = hits.sum().item() / draws / 20
    standard_error = (draws * share * (1 - share)) ** 0.5
    assert ((hits - draws * share).abs() < 4 * standard_error).all()


def test_never_more_rows_than_are_stored(rng, device):
    b = buffer(reuse=1.0)
    b.push(rows(0, 3, device))
    drawn = numbers(b.draw(rows(1000, 8, device), 1, rng))
    assert sorted(drawn[:3]) == [0, 1, 2]
    assert drawn[3:] == [1000 + i for i in range(3, 8)]


def test_write_back_continues_chains_in_their_slots(rng, device):
    b = buffer(capacity=50)
    b.push(rows(0, 20, device))
    drawn = b.draw(rows(1000, 10, device), 1, rng)
    n = round(b.metrics()["reused"] * 10)
    continued = numbers(drawn)[:n]
    b.push({k: v + 100 for k, v in drawn.items()})
    expected = [i + 100 if i in continued else i for i in range(20)] + [1100 + i for i in range(n, 10)]
    assert stored(b) == expected
    assert b.metrics()["fill"] == len(expected) / 50


def test_a_push_without_a_draw_appends(rng, device):
    b = buffer(reuse=1.0)
    b.push(rows(0, 8, device))
    b.push(b.draw(rows(1000, 8, device), 1, rng))
    b.push(rows(2000, 8, device))
    assert stored(b) == [*range(8), *range(2000, 2008)]


def test_fifo_appends_every_chain_end(rng, device):
    b = buffer(capacity=50, mode="fifo")
    b.push(rows(0, 20, device))
    drawn = b.draw(rows(1000, 10, device), 1, rng)
    b.push({k: v + 100 for k, v in drawn.items()})
    assert stored(b) == [*range(20), *(i + 100 for i in numbers(drawn))]


@pytest.mark.parametrize("mode", ["write-back", "fifo"])
def test_a_full_ring_forgets_its_oldest_rows(mode, device):
    b = buffer(capacity=10, mode=mode)
    for first in range(0, 24, 6):
        b.push(rows(first, 6, device))
    assert sorted(stored(b)) == list(range(14, 24))


def test_a_batch_larger_than_the_ring_keeps_its_last_rows(device):
    b = buffer(capacity=5)
    b.push(rows(0, 3, device))
    b.push(rows(10, 12, device))
    assert sorted(stored(b)) == [17, 18, 19, 20, 21]
    b.push(rows(30, 2, device))
    assert sorted(stored(b)) == [19, 20, 21, 30, 31]


def test_a_chain_lives_on_in_a_full_ring(rng, device):
    """No row is ever lost or doubled: capacity rows, all distinct, through many steps."""
    b = buffer(capacity=16)
    for step in range(60):
        b.push(b.draw(rows(100.0 * step, 8, device), step, rng))
        assert len(set(stored(b))) == b.fill == min(16, b.fill)


def test_keep_z_redraws_the_data_noise(rng, device):
    b = buffer(keep="z", reuse=1.0)
    b.push(rows(0, 8, device))
    drawn = b.draw(rows(1000, 8, device), 1, rng)
    assert sorted(drawn["z0"][:, 0].tolist()) == list(range(8))
    assert torch.equal(drawn["x"], rows(1000, 8, device)["x"])


def test_data_space_chains_are_kept_in_either_mode(rng, device):
    b = buffer(keep="z", reuse=1.0)
    b.push({"x": torch.ones(4, 2, device=device)})
    assert torch.equal(b.draw({"x": torch.zeros(4, 2, device=device)}, 1, rng)["x"].cpu(), torch.ones(4, 2))


def test_what_is_stored_is_a_copy(rng, device):
    b, state = buffer(reuse=1.0), rows(0, 4, device)
    b.push(state)
    for v in state.values():
        v.zero_()
    drawn = b.draw(rows(1000, 4, device), 1, rng)
    assert sorted(numbers(drawn)) == [0, 1, 2, 3]
    for v in drawn.values():
        v.zero_()
    assert stored(b) == [0, 1, 2, 3]


def test_memory_is_allocated_once(device):
    b = buffer()
    b.push(rows(0, 4, device))
    before = {k: v.data_ptr() for k, v in b.chains.items()}
    for first in range(10):
        b.push(rows(first, 40, device))
    assert {k: v.data_ptr() for k, v in b.chains.items()} == before
    assert all(len(v) == 100 for v in b.chains.values())


def test_same_stream_same_rows(device):
    draws = []
    for _ in range(2):
        b = buffer()
        b.push(rows(0, 50, device))
        draws.append(
            [
                numbers(b.draw(rows(1000, 9, device), 1, stream(0, "chain", k, device=device)))
                for k in range(5)
            ]
        )
    assert draws[0] == draws[1]
    assert len({tuple(d) for d in draws[0]}) == 5


def test_streams_per_row_are_accepted(device):
    b = buffer()
    b.push(rows(0, 50, device))
    numbers(b.draw(rows(1000, 9, device), 1, RowStreams([stream(0, i, device=device) for i in range(9)])))


def test_host_stream_advances(rng):
    """Two draws from one stream differ, on any device."""
    first, second = (torch.rand(3, generator=host_stream(rng)) for _ in range(2))
    assert not torch.equal(first, second)


def through_files(state: Mapping[str, object]) -> dict[str, object]:
    """As a checkpoint stores it: tensors in safetensors, the rest in JSON."""
    chains = state["chains"]
    rest = json.loads(json.dumps({k: v for k, v in state.items() if k != "chains"}))
    return {**rest, "chains": None if chains is None else load(save(dict(chains)))}


@pytest.mark.parametrize("mode", ["write-back", "fifo"])
@pytest.mark.parametrize("warm", [0, 3, 30])
@pytest.mark.parametrize("between", [False, True])
def test_a_restored_buffer_continues_exactly(mode, warm, between, rng, device):
    """Empty, partly filled and full; also when saved between a draw and its push."""
    b = buffer(mode=mode, capacity=60)
    for step in range(warm):
        b.push(b.draw(rows(100.0 * step, 8, device), step, rng))
    drawn = b.draw(rows(1e6, 8, device), warm, rng)
    restored = buffer(mode=mode, capacity=60)
    if not between:
        b.push(drawn)
    state = {k: v for k, v in b.state_dict().items() if k != "chains"}
    chains = b.state_dict()["chains"]
    state["chains"] = None if chains is None else {k: v.cpu() for k, v in chains.items()}
    restored.load_state_dict(through_files(state))
    assert restored.metrics() == b.metrics()
    one, two = stream(1, "x", device=device), stream(1, "x", device=device)
    if between:
        b.push(drawn)
        restored.push(drawn)
    for step in range(warm, warm + 20):
        a, c = b.draw(rows(step, 8, device), step, one), restored.draw(rows(step, 8, device), step, two)
        assert numbers(a) == numbers(c)
        b.push(a)
        restored.push(c)
    assert stored(b) == stored(restored)


def test_a_restored_buffer_shares_no_memory(rng):
    b, restored = buffer(capacity=4), buffer(capacity=4)
    b.push(rows(0, 4))
    restored.load_state_dict(b.state_dict())
    restored.push(rows(10, 4))
    assert stored(b) == [0, 1, 2, 3]


def test_chains_of_another_generator_are_refused(rng):
    b = buffer()
    b.push(rows(0, 4))
    with pytest.raises(RunError, match=r"shape \(2,\) for group 'z0', this generator's have \(5,\)"):
        b.push({"z0": torch.zeros(4, 5), "x": torch.zeros(4, 3, 2)})


def test_another_capacity_is_refused():
    with pytest.raises(RunError, match=r"--buffer\.capacity 100"):
        buffer(capacity=7).load_state_dict(buffer().state_dict())


def test_listing_the_plugin_does_not_import_torch():
    code = "import sys, vaebm_replay; list(vaebm_replay.vaebm_components()); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_shards_are_dealt_out_oldest_first(device):
    whole = buffer(capacity=12)
    shards = [whole.shard(rank, 2) for rank in range(2)]
    for shard, first in zip(shards, (0, 100), strict=True):
        assert shard.capacity == 6
        shard.push(rows(first, 9, device))  # the ring keeps the last six
    three = whole.redistributed([shard.state_dict() for shard in shards], 3)
    held = []
    for rank, state in enumerate(three):
        new = whole.shard(rank, 3)
        new.load_state_dict(state)
        held.append(stored(new))
    assert held == [[3, 104, 6, 107], [103, 5, 106, 8], [4, 105, 7, 108]]
    whole.load_state_dict(whole.redistributed(three, 1)[0])
    assert sorted(stored(whole)) == [*range(3, 9), *range(103, 109)]


def test_a_ring_that_cannot_be_divided():
    with pytest.raises(RecipeError, match="12 chains cannot be shared evenly by 5") as e:
        buffer(capacity=12).shard(0, 5)
    assert "--buffer.capacity 10" in str(e.value)
