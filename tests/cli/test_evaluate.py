"""`vaebm evaluate`: runs and files, protocols, what is kept, and what is refused."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaebm_toolkit.evaluation import store
from vaebm_toolkit.evaluation.frechet import frechet_distance

from .conftest import Called, Vaebm


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> str:
    shutil.copytree(finished, tmp_path / "run")
    return "run"


def table(called: Called) -> dict[str, dict[str, str]]:
    """model -> figure -> its cell."""
    rows = [line.split("\t") for line in called.out.splitlines() if "\t" in line]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]}


def images(name: str, n: int, seed: int, shape: tuple[int, ...] = (8, 8, 3)) -> np.ndarray:
    x = np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)
    np.savez(name, images=x)
    return x


def test_figures_stand_with_their_protocol(vaebm: Vaebm, run: str) -> None:
    called = vaebm("evaluate", run, "-m", "frechet", "-m", "kernel", "-n", "12", "--kernel.subsets", "7")
    assert called.code == 0, called.err
    found = table(called)
    assert set(found) == {"generator", "vaebm"}
    assert "[" in found["vaebm"]["frechet"]
    for words in ("samples 12", "split test", "decoder", "BatchNorm", "seed 0", "device cpu", "torch",
                  "features pixels", "subsets 7 of 12", "latent-ld, steps 2", "target exact"):  # fmt: skip
        assert words in called.out, words
    kept = json.loads(Path("run/evaluation.json").read_text())
    kernel = [r for r in kept if r["metric"] == "kernel"]
    assert [r["model"] for r in kernel] == ["generator", "vaebm"]
    assert kernel[1]["protocol"]["sampler"]["name"] == "latent-ld"
    assert len(kernel[1]["intervals"]["kernel"]) == 2


def test_a_second_evaluation_adds_to_what_is_kept(vaebm: Vaebm, run: str) -> None:
    vaebm("evaluate", run, "-m", "frechet", "-n", "12")
    first = json.loads(Path("run/evaluation.json").read_text())
    vaebm("evaluate", run, "-m", "frechet", "-n", "12")
    assert json.loads(Path("run/evaluation.json").read_text()) == first
    vaebm("evaluate", run, "-m", "frechet", "-n", "15", "--split", "train", "--out", "copy.json")
    assert len(json.loads(Path("run/evaluation.json").read_text())) > len(first)
    assert {r["protocol"]["samples"] for r in json.loads(Path("copy.json").read_text())} == {15}


def test_what_was_interrupted_goes_on(vaebm: Vaebm, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARD", 8)
    shutil.rmtree("run/evaluation", ignore_errors=True)
    from vaebm_toolkit import results

    asked: list[range] = []
    whole = results.samples

    def counted(model, indices, *rest):  # type: ignore[no-untyped-def]
        if len(asked) == 2:
            asked.append(indices)
            raise KeyboardInterrupt
        asked.append(indices)
        return whole(model, indices, *rest)

    monkeypatch.setattr(results, "samples", counted)
    stopped = vaebm("evaluate", run, "-m", "frechet", "-n", "24")
    assert stopped.code == 130
    assert "Go on with the same command" in stopped.err
    made, asked[:] = asked[:2], [range(0)] * 3
    assert vaebm("evaluate", run, "-m", "frechet", "-n", "24").code == 0
    assert not set(made) & set(asked[3:][:1])  # the generator's first two shards are read
    assert len(asked[3:]) == 6 - 2


def test_more_samples_are_added_to_those_that_are_there(
    vaebm: Vaebm, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vaebm_toolkit import results

    shutil.rmtree("run/evaluation", ignore_errors=True)
    asked: list[range] = []
    whole = results.samples
    monkeypatch.setattr(
        results,
        "samples",
        lambda model, indices, *rest: asked.append(indices) or whole(model, indices, *rest),
    )
    for count in ("12", "30", "20"):
        assert vaebm("evaluate", run, "-m", "frechet", "-n", count).code == 0
    assert asked == [range(12), range(12), range(12, 30), range(12, 30)]


def test_other_data_are_named_and_kept_apart(vaebm: Vaebm, run: str) -> None:
    from vaebm_toolkit.evaluation.records import differences, read

    images("other.npz", 30, 0, (8, 8))
    vaebm("evaluate", run, "-m", "frechet", "-n", "12")
    own = vaebm("evaluate", run, "run/", "-m", "frechet", "-n", "12")
    assert set(table(own)) == {"generator", "vaebm"}  # a run given twice is one
    other = vaebm("evaluate", run, "-m", "frechet", "-n", "12", "--dataset", "npz",
                  "--dataset.path", "other.npz")  # fmt: skip
    assert other.code == 0, other.err
    assert "data npz, path other.npz" in other.out
    kept = [r for r in read(Path(run)) if r.metric == "frechet" and r.protocol["samples"] == 12]
    assert [(r.model, "data" in r.protocol) for r in kept] == [
        ("generator", False), ("vaebm", False), ("generator", True), ("vaebm", True),
    ]  # fmt: skip
    assert set(differences(kept)) == {"data", "reference"}


def test_no_interval_where_none_is_known(vaebm: Vaebm, run: str) -> None:
    called = vaebm("evaluate", run, "-m", "kernel", "-m", "frechet", "-n", "2")
    assert called.code == 0, called.err
    assert "nan" not in called.out
    assert "NaN" not in Path("run/evaluation.json").read_text()


def test_a_damaged_file_of_figures_is_set_aside(vaebm: Vaebm, run: str) -> None:
    Path("run/evaluation.json").write_text("[{")
    called = vaebm("evaluate", run, "-m", "frechet", "-n", "12")
    assert called.code == 0, called.err
    assert "evaluation.damaged.json" in called.err
    assert Path("run/evaluation.damaged.json").read_text() == "[{"
    assert len(json.loads(Path("run/evaluation.json").read_text())) == 2


def test_a_set_is_no_distance_from_itself(vaebm: Vaebm) -> None:
    images("a.npz", 40, 0)
    called = vaebm("evaluate", "--samples", "a.npz", "--reference", "a.npz", "-m", "frechet",
                   "-m", "precision-recall", "--out", "found.json")  # fmt: skip
    assert called.code == 0, called.err
    distance, shares = json.loads(Path("found.json").read_text())
    assert distance["figures"]["frechet"] == 0
    assert distance["intervals"]["frechet"][0] == 0
    assert all(0 <= low <= high <= 1 for k, (low, high) in shares["intervals"].items() if k != "density")


def test_splits_of_a_score_are_not_too_small(vaebm: Vaebm, run: str) -> None:
    called = vaebm("evaluate", run, "-m", "inception-score", "--classifier.steps", "20", "-n", "12")
    assert "score: 1 split in place of 10" in called.out
    assert "[" not in table(called)["vaebm"]["score-classifier"]


def test_a_file_that_is_no_image_is_not_said_to_be_the_only_one(vaebm: Vaebm) -> None:
    Path("folder").mkdir()
    for i, x in enumerate(images("a.npz", 6, 0)):
        Image.fromarray(x).save(f"folder/{i}.png")
    for name in ("3", "4"):
        Path(f"folder/{name}.png").write_bytes(b"")
    called = vaebm("evaluate", "--samples", "folder", "--reference", "a.npz")
    assert "At least 1 of 6 images" in called.err
    assert "vaebm data check --dataset image-folder --dataset.path folder" in called.err


def test_two_runs_of_different_protocols_are_told_apart(vaebm: Vaebm, run: str, tmp_path: Path) -> None:
    shutil.copytree("run", "other")
    recipe = Path("other/recipe.toml")
    assert 'decoder = "sample"' in recipe.read_text()
    recipe.write_text(recipe.read_text().replace('decoder = "sample"', 'decoder = "mean"'))
    called = vaebm("evaluate", "run", "other", "-m", "frechet", "-n", "12")
    assert called.code == 0, called.err
    assert set(table(called)) == {"run: generator", "run: vaebm", "other: generator", "other: vaebm"}
    assert "warning: frechet, pixels was measured in different ways (decoder)" in called.err
    assert "warning" not in vaebm("evaluate", "run", "-m", "frechet", "-n", "12").err


def test_files_of_every_form_are_the_same_images(vaebm: Vaebm) -> None:
    a, b = images("a.npz", 40, 0), images("b.npz", 30, 1)
    Path("folder").mkdir()
    with zipfile.ZipFile("a.zip", "w") as z:
        for i, x in enumerate(a):
            Image.fromarray(x).save(f"folder/{i:03}.png")
            z.write(f"folder/{i:03}.png", f"{i:03}.png")
    found = set()
    for samples in ("a.npz", "folder", "a.zip"):
        called = vaebm(
            "evaluate", "--samples", samples, "--reference", "b.npz", "-m", "frechet", "-f", "pixels"
        )
        assert called.code == 0, called.err
        found.add(table(called)["samples"]["frechet"].split()[0])
        assert "samples 40, reference 30" in called.out
    flat = [torch.from_numpy(x).flatten(1).double().reshape(len(x), 8, 8, 3) / 255 for x in (a, b)]
    expected = frechet_distance(*(x.permute(0, 3, 1, 2).flatten(1) for x in flat))
    assert {float(f) for f in found} == {float(f"{expected:.4g}")}


def test_files_against_a_data_set(vaebm: Vaebm, run: str) -> None:
    vaebm("sample", run, "-n", "20", "--out", "samples.npz")
    called = vaebm(
        "evaluate", "--samples", "samples.npz", "--dataset", "digits", "-m", "frechet",
        "-m", "inception-score", "-f", "pixels", "-f", "classifier", "--classifier.steps", "20",
    )  # fmt: skip
    assert called.code == 0, called.err
    assert "classifier accuracy" in called.out
    assert set(table(called)["samples"]) == {"frechet", "frechet-classifier", "score-classifier"}


def test_other_images_are_told_from_the_data(vaebm: Vaebm, run: str) -> None:
    images("other.npz", 30, 3, (16, 16, 3))
    called = vaebm("evaluate", run, "-m", "ood", "--ood", "other=other.npz", "--ood.examples", "20",
                   "--ood.draws", "2")  # fmt: skip
    assert called.code == 0, called.err
    rows = {row.split("\t")[0]: row.split("\t")[1:] for row in called.out.splitlines() if "\t" in row}
    assert rows["figure"] == ["generator", "vaebm"]
    assert {k for k in rows if k.startswith("AUROC")} == {
        f"AUROC {score}, {name}"
        for score in ("log p − E", "−E", "ELBO")
        for name in ("constant", "noise", "interpolated", "other")
    }
    assert "[" in rows["AUROC ELBO, other"][0]
    assert "[" in rows["AUROC log p − E, other"][1]
    assert rows["AUROC −E, other"][0] == ""  # a generator has no energy
    assert "other 20 of other.npz" in called.out
    assert "shorter side to 8, centre cut, grey" in called.out
    assert "warning" not in called.err
    assert {r["metric"] for r in json.loads(Path("run/evaluation.json").read_text())} >= {"ood"}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "vaebm evaluate RUN, or vaebm evaluate --samples"),
        (["run", "--samples", "a.npz"], "Give either runs, or --samples"),
        (["--samples", "a.npz"], "--reference FOLDER"),
        (["--samples", "a.npz", "--reference", "big.npz"], "--size N"),
        (["--samples", "a.npz", "--reference", "grey.npz"], "--channels grey"),
        (["--samples", "run", "--reference", "a.npz"], "vaebm evaluate run"),
        (["--samples", "gone", "--reference", "a.npz"], "gone does not exist"),
        (["--samples", "a.npz", "--reference", "a.npz", "-f", "classifier"], "-f pixels"),
        (["--samples", "a.npz", "--reference", "b.npz", "-m", "density"], "data of two values"),
        (["--samples", "a.npz", "--reference", "few.npz", "-m", "precision-recall"], "at least 6"),
        (["--samples", "a.npz", "--reference", "b.npz", "-m", "memorisation"], "train/ and test/"),
        (["--samples", "a.npz", "--reference", "b.npz", "-m", "modes"], "-m frechet"),
        (["--samples", "one.npz", "--reference", "b.npz"], "frechet needs at least 2"),
        (["--samples", "text", "--reference", "b.npz"], "Point --samples at the folder"),
        (["--samples", "a.npz", "--reference", "b.npz", "--out", "gone/f.json"], "mkdir -p gone"),
        (["--samples", "a.npz", "--reference", "b.npz", "--out", "f.txt"], "--out f.json"),
        (["a.npz"], "--samples a.npz"),
        (["run", "-m", "frechte"], 'Did you mean "frechet"'),
        (["run", "-m", "frechet", "-f", "pixel"], 'Did you mean "pixels"'),
        (["run", "-m", "frechet", "--kernel.subsets", "5"], "evaluate.kernel"),
        (["run", "-m", "kernel", "--kernel.subset-size", "5"], "--kernel.subset"),
        (["run", "-m", "kernel", "--kernel.subsets", "1"], "kernel.subsets"),
        (["run", "--reference", "a.npz"], "--dataset NAME"),
        (["run", "--dataset", "gaussians25"], "is for data of shape"),
        (["run", "-m", "ood", "--ood", "svhn"], "--ood svhn=PATH"),
        (["run", "-m", "ood", "--ood", "svhn=gone.zip"], "gone.zip does not exist"),
        (["nowhere"], "nowhere"),
    ],
)  # fmt: skip
def test_what_is_refused(vaebm: Vaebm, run: str, args: list[str], says: str) -> None:
    images("a.npz", 20, 0)
    images("b.npz", 20, 1)
    images("few.npz", 4, 1)
    images("one.npz", 1, 1)
    Path("text").mkdir()
    Path("text/a.txt").write_text("")
    images("big.npz", 20, 2, (16, 16, 3))
    images("grey.npz", 20, 2, (8, 8))
    called = vaebm("evaluate", *args)
    assert called.code != 0
    assert says in called.err


def test_brought_to_one_size(vaebm: Vaebm) -> None:
    images("a.npz", 20, 0)
    images("big.npz", 20, 2, (16, 16))
    called = vaebm(
        "evaluate", "--samples", "a.npz", "--reference", "big.npz", "--size", "8", "--channels", "grey"
    )
    assert called.code == 0, called.err


def test_help_names_the_options_of_what_is_chosen(vaebm: Vaebm) -> None:
    called = vaebm("evaluate", "--metric", "kernel", "--help")
    assert called.code == 0
    assert "--kernel.subsets" in called.out


def test_a_recipe_holds_options_of_metrics(vaebm: Vaebm) -> None:
    Path("mine.toml").write_text('[evaluate]\nmetrics = ["kernel"]\n[evaluate.kernel]\nsubsets = 7\n')
    shown = vaebm("run", "--recipe", "mine.toml", "--dry-run")
    assert shown.code == 0, shown.err
    assert "[evaluate.kernel]\nsubsets = 7" in shown.out
    Path("again.toml").write_text(shown.out)
    assert vaebm("run", "--recipe", "again.toml", "--dry-run").out == shown.out
    assert "subsets = 9" in vaebm("run", "--recipe", "mine.toml", "--kernel.subsets", "9", "--dry-run").out
