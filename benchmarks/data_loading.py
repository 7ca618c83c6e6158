"""Whether reading images keeps a device waiting: images a second, the share of time waited, memory.

    python benchmarks/data_loading.py --images FOLDER_OR_ZIP_OR_NPZ

Brings the images (or random ones) to 64 × 64, writes them as a folder, a zip, an LMDB, tar shards and an npz,
and reads each with one and with two cores in a process of its own: first as fast as it can, then for a device
that works for `--step` milliseconds on a batch, with batches made in turn and with batches made ahead.
"Waits" is the share of time in which that device has nothing to do. The npz is held in memory. Memory is the
largest above that of the imports.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SOURCES = {
    "folder": "image-folder",
    "zip": "image-folder",
    "lmdb": "lmdb",
    "tars": "webdataset",
    "npz": "npz",
}
SIZE = 64


def write_sources(images: str | None, count: int, root: Path) -> list[str]:
    """Every source with the same JPEG files, and the npz of their pixels; those that can be written here."""
    if images is None:
        smooth = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        pictures = [Image.fromarray(s).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for s in smooth]
    else:
        import torch

        from vaebm_toolkit.builtin.data.whole import images as read

        split = read(images, SIZE, "rgb").train
        rows = np.linspace(0, len(split) - 1, min(count, len(split))).astype(int)
        pixels = (255 * split.batch(torch.from_numpy(rows))).round().byte().permute(0, 2, 3, 1)
        pictures = [Image.fromarray(p) for p in pixels.numpy()]
    files = []
    for picture in pictures:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    (root / "folder").mkdir()
    for i, data in enumerate(files):
        (root / "folder" / f"{i:07}.jpg").write_bytes(data)
    with zipfile.ZipFile(root / "zip", "w") as archive:
        for i, data in enumerate(files):
            archive.writestr(f"{i:07}.jpg", data)
    (root / "tars").mkdir()
    for number, first in enumerate(range(0, len(files), 1000)):
        with tarfile.open(root / "tars" / f"shard-{number:04}.tar", "w") as shard:
            for i, data in enumerate(files[first : first + 1000], first):
                member = tarfile.TarInfo(f"{i:07}.jpg")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))
    np.savez(root / "npz", images=np.stack([np.asarray(p) for p in pictures]))
    os.rename(root / "npz.npz", root / "npz")
    try:
        import lmdb
    except ImportError:
        print("no lmdb: the package is not installed", file=sys.stderr)
        return [name for name in SOURCES if name != "lmdb"]
    with lmdb.open(str(root / "lmdb"), map_size=2**34) as env, env.begin(write=True) as out:
        for i, data in enumerate(files):
            out.put(str(i).encode(), data)
    return list(SOURCES)


def measure(
    name: str, path: str, cores: int, batch_size: int, steps: list[float], number: int
) -> dict[str, Any]:
    """In a process of its own, on that many cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    import torch

    from vaebm_toolkit.registry import installed, load_factory
    from vaebm_toolkit.training.batches import Batches
    from vaebm_toolkit.training.prefetch import Prefetched

    torch.set_num_threads(1)
    part = installed().find("dataset", SOURCES[name])
    given = {"path": path} if name == "npz" else {"path": path, "memory": 0.0, "verify": False}
    memory()
    before = memory()
    split = load_factory(part)(part.component.options(**given)).train

    def batches() -> Batches:
        return Batches(split, batch_size, 0, "train")

    batches()(0)
    begun = time.perf_counter()
    in_turn = batches()
    for step in range(number):
        in_turn(step)
    found: dict[str, Any] = {
        "source": name, "cores": cores,
        "images_per_second": number * batch_size / (time.perf_counter() - begun),
    }  # fmt: skip
    for seconds in steps:
        prefetched = Prefetched(batches(), number)
        found[f"waits_in_turn_{1000 * seconds:g}_ms"] = waits(batches(), seconds, number)
        found[f"waits_ahead_{1000 * seconds:g}_ms"] = waits(prefetched, seconds, number)
        prefetched.close()
    return {**found, "memory_mb": memory() - before}


def waits(batches: Callable[[int], Any], seconds: float, number: int) -> float:
    """Share of time that a device waits for batches, which takes `seconds` for each; without the first."""
    batches(0)
    time.sleep(seconds)
    begun, waited = time.perf_counter(), 0.0
    for step in range(1, number):
        asked = time.perf_counter()
        batches(step)
        waited += time.perf_counter() - asked
        time.sleep(seconds)
    return waited / (time.perf_counter() - begun)


def memory() -> float:
    """The largest since the last call, in MB; where Linux does not tell it, the largest so far."""
    try:
        status = Path("/proc/self/status").read_text()
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", help="folder, zip or npz; default: random ones")
    parser.add_argument("--count", type=int, default=2000, help="images (default 2000)")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=60, help="for each figure (default 60)")
    parser.add_argument("--step", type=float, nargs="+", default=[20.0, 100.0], help="ms (default 20 100)")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", action="store_true", help="one JSON line for each row, and no table")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    steps = [ms / 1000 for ms in given.step]
    if given.one:
        name, path, cores = given.one
        print("FOUND " + json.dumps(measure(name, path, int(cores), given.batch_size, steps, given.batches)))
        return
    if not given.json:
        columns = [f"waits at {s:g} ms: in turn | ahead" for s in given.step]
        print(f"| source | cores | images/s | {' | '.join(columns)} | memory, MB |")
        print("|" + "---|" * (4 + 2 * len(steps)))
    with tempfile.TemporaryDirectory() as folder:
        for name in write_sources(given.images, given.count, Path(folder)):
            for cores in given.cores:
                command = [
                    sys.executable, __file__, "--one", name, str(Path(folder, name)), str(cores),
                    "--batch-size", str(given.batch_size), "--batches", str(given.batches),
                    "--step", *map(str, given.step),
                ]  # fmt: skip
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found = json.loads(out.split("FOUND ")[1])
                if given.json:
                    print(json.dumps(found), flush=True)
                    continue
                shares = [f"{found[key]:.1%}" for key in found if key.startswith("waits")]
                row = [
                    name,
                    cores,
                    f"{found['images_per_second']:,.0f}",
                    *shares,
                    f"{found['memory_mb']:.0f}",
                ]
                print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
