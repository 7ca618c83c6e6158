"""Recipes: TOML files with one table per slot, resolved into one that can be run again.

Precedence: component defaults < recipe < flags. Torch-free.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from attrs import frozen

from vaebm_toolkit.errors import RecipeError, nearest
from vaebm_toolkit.options import SlotInfo, between, fields, ge, gt, opt, parse, slots, to_toml
from vaebm_toolkit.registry import Registered, Registry

Table = dict[str, Any]

DEFAULT_DATASET = "digits"
SLOTS = {  # table -> kind, in the order of a recipe
    "dataset": "dataset",
    "generator": "generator",
    "pretrain": "trainer",
    "energy": "energy",
    "sampler": "sampler",
    "buffer": "buffer",
    "trainer": "trainer",
    "sampling": "sampler",
}
FIRST_STAGE = ("generator", "pretrain")
SECOND_STAGE = ("energy", "sampler", "buffer", "trainer", "sampling")
DEFAULT_PRETRAIN, DEFAULT_TRAINER = "vae", "vaebm"
ABSENT = "none"


@frozen
class RunOptions:
    seed: int = opt(0, "seed of every random stream of the run", check=ge(0))
    precision: Literal["fp32", "bf16"] = opt("fp32", "bf16: autocast, with float32 state and weights")
    compile: Literal["auto", "on", "off"] = opt(
        "auto", "torch.compile of chains in training; auto: where more than an hour of training is left"
    )
    threads: int | None = opt(None, "CPU threads; small networks are quicker on one", check=gt(0))


@frozen
class StageOptions:
    """How long a training stage is and how often it reports; beside the trainer's own options."""

    steps: int | None = opt(None, "training steps; or give epochs", check=ge(0))
    epochs: int | None = opt(None, "passes over the training split; or give steps", check=ge(0))
    batch_size: int = opt(32, "examples per step", check=gt(0))
    log_every: int = opt(25, "steps between log lines", unit="steps", check=gt(0))
    checkpoint_every: int = opt(200, "steps between checkpoints", unit="steps", check=gt(0))
    keep: int = opt(3, "checkpoints kept per stage", check=gt(0))


@frozen
class EvaluateOptions:
    samples: int = opt(1000, "samples per model for the final table; 0: no table", check=ge(0))
    batch_size: int = opt(100, "samples made at a time", check=gt(0))
    split: Literal["test", "train"] = opt("test", "the data that samples are compared with")
    metrics: tuple[str, ...] = opt(("frechet",), "metric components to compute")
    features: tuple[str, ...] = opt(
        ("pixels",), "features components that samples are compared in, by metrics that do so"
    )
    decoder: Literal["mean", "sample"] = opt(
        "mean", "x is the decoder's mean at the final ε, as the released code saves it, or its sample"
    )
    temperature: tuple[float, ...] = opt(
        (1.0,),
        "of the latent groups: their σ times this; one for all, or one each, coarse to fine",
        check=ge(0),
    )
    head_temperature: float = opt(1.0, "of the decoder's own noise", check=gt(0))
    stretch: bool = opt(
        False, "stretch each sample to its own minimum and maximum, as the released code saves images"
    )
    grid: int = opt(64, "images in each picture", check=between(1, 4096))


@frozen
class HealthOptions:
    """Limits beyond which a stage stops and goes back to its last healthy checkpoint."""

    max_loss: float = opt(1e9, "largest |loss|", check=gt(0))
    max_energy_gap: float = opt(1e3, "largest |mean E(data) − mean E(samples)|", check=gt(0))
    max_grad_norm: float = opt(1e6, "largest gradient norm of a player's weights", check=gt(0))


@frozen
class LogOptions:
    tensorboard: bool = opt(False, "also write TensorBoard event files")
    report: bool = opt(True, "at the end of vaebm run, write RUN/report.html")


PLAIN = {"run": RunOptions, "evaluate": EvaluateOptions, "health": HealthOptions, "log": LogOptions}
ORDER = ("run", *SLOTS, "evaluate", "health", "log")


@frozen
class Part:
    """A chosen component with its options (and, for a trainer, its stage's)."""

    registered: Registered
    options: Any
    stage: StageOptions | None = None

    @property
    def name(self) -> str:
        return self.registered.component.name


@frozen
class Recipe:
    """A resolved recipe: every slot filled, every option valued."""

    run: RunOptions
    evaluate: EvaluateOptions
    health: HealthOptions
    log: LogOptions
    parts: Mapping[str, Part]
    names: Mapping[str, str]
    measured: tuple[Part, ...] = ()
    """the metrics of [evaluate] and, if one of them compares features, its feature spaces"""

    @property
    def components(self) -> list[Registered]:
        """Everything that a run with this recipe uses, each once."""
        used = [p.registered for p in self.parts.values()]
        used += [p.registered for p in self.measured] if self.evaluate.samples else []
        return list({(r.component.kind, r.component.name, r.distribution): r for r in used}.values())

    def tables(self) -> dict[str, Table]:
        """The recipe as TOML tables; resolving them again gives the same recipe."""
        out: dict[str, Table] = {}
        for table in ORDER:
            if table in PLAIN:
                out[table] = to_toml(getattr(self, table))
                if table == "evaluate":
                    out[table].update({p.name: own for p in self.measured if (own := chosen(p))})
            elif table in self.parts:
                part = self.parts[table]
                stage = {k: v for k, v in to_toml(part.stage).items() if v != ABSENT}
                out[table] = {"name": self.names[table], **stage, **to_toml(part.options)}
            elif table in self.names:
                out[table] = {"name": ABSENT}
        return out

    @property
    def data(self) -> Table:
        """Which examples there are: the data set's name, and the options that are not as by default."""
        part = self.parts["dataset"]
        declared, values = fields(part.registered.component.options), to_toml(part.options)
        own = [k for k, f in declared.items() if not f.unseen and getattr(part.options, k) != f.default]
        return {"name": self.names["dataset"], **{k: values[k] for k in own}}

    def __str__(self) -> str:
        """The recipe as TOML."""
        return dumps(self.tables())

    def __repr__(self) -> str:
        return f"Recipe({', '.join(f'{table} {part.name}' for table, part in self.parts.items())})"


def dumps(tables: Mapping[str, Table], header: str = "") -> str:
    """The tables as TOML text."""
    import tomlkit

    document = tomlkit.document()
    for line in header.splitlines():
        document.add(tomlkit.comment(line))
    for name, table in tables.items():
        document[name] = table
    return tomlkit.dumps(document)


def read(source: str | Path) -> dict[str, Table]:
    """A recipe's tables, by file path or by the name of a shipped recipe."""
    path, known = Path(source), shipped()
    if path.suffix == ".toml" or (path.is_file() and str(source) not in known):
        if not path.is_file():
            raise RecipeError(f"There is no recipe file {path}.", "List the shipped ones: vaebm recipes list")
        text, where = path.read_text(encoding="utf-8"), str(path)
    else:
        if str(source) not in known:
            raise RecipeError(
                f'There is no recipe called "{source}".',
                f"{nearest(str(source), list(known))} List them: vaebm recipes list",
            )
        text, where = known[str(source)], f"recipe {source}"
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        start = "Mend it, or start from: vaebm recipes show digits"
        raise RecipeError(f"{where} is not TOML: {e}.", start) from e
    check_tables(tables, where)
    return tables


def check_tables(tables: Mapping[str, Any], where: str) -> None:
    for name, table in tables.items():
        if name not in ORDER:
            raise RecipeError(f"{where}: [{name}] is not a table of recipes.", nearest(name, ORDER))
        if not isinstance(table, dict):
            raise RecipeError(f"{where}: {name} must be a table.", f"Write [{name}] and its keys below it.")


def shipped() -> dict[str, str]:
    """Name -> text of the recipes inside the package."""
    folder = files("vaebm_toolkit") / "recipes"
    found = {p.name[:-5]: p.read_text(encoding="utf-8") for p in folder.iterdir() if p.name.endswith(".toml")}
    return dict(sorted(found.items()))


def summary(text: str) -> str:
    """The first comment line of a recipe file: what it is."""
    first = text.partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def merge(base: Mapping[str, Table], over: Mapping[str, Table]) -> dict[str, Table]:
    """`over` on top of `base`. Where it names another component, the base's options are dropped."""
    out = {name: dict(table) for name, table in base.items()}
    if over.get("trainer", {}).get("name") == ABSENT:  # the generator alone needs none of these
        out = {name: table for name, table in out.items() if name not in SECOND_STAGE}
    for name, table in over.items():
        old = out.get(name, {})
        renamed = "name" in table and name in SLOTS and table["name"] != old.get("name", table["name"])
        if renamed and SLOTS[name] == "trainer":
            old = {k: v for k, v in old.items() if k in fields(StageOptions)}
        elif renamed:
            old = {}
        length = {"steps": "epochs", "epochs": "steps"}  # the newer of the two counts
        if SLOTS.get(name) == "trainer":
            old = {k: v for k, v in old.items() if length.get(k) not in table}
        out[name] = {**old, **table}
        if name == "evaluate":  # its tables of metrics' and feature spaces' options are merged as well
            out[name].update({k: {**old.get(k, {}), **v} for k, v in table.items() if isinstance(v, dict)})
    for follower, leader in (("sampling", "sampler"),):
        chosen = over.get(leader, {}).get("name")
        if chosen is None or follower not in out or "name" in over.get(follower, {}):
            continue
        if base.get(leader, {}).get("name", chosen) != chosen or out[follower].get("name", chosen) != chosen:
            out[follower] = dict(over.get(follower, {}))  # it follows the new one
    return out


def base_recipe(registry: Registry, dataset: str) -> str:
    """The recipe that `vaebm run --dataset NAME` starts from."""
    return registry.find("dataset", dataset).component.recipe or DEFAULT_DATASET


def resolve(tables: Mapping[str, Table], registry: Registry) -> Recipe:
    """Every slot filled and every option checked. Errors name the path of the key."""
    check_tables(tables, "recipe")
    tables = used(tables, registry)
    evaluate, settings = divided(tables.get("evaluate", {}))
    tables = {**tables, "evaluate": evaluate}
    plain = {name: parse(cls, tables.get(name, {}), name) for name, cls in PLAIN.items()}
    measured = measures(plain["evaluate"], settings, registry)
    names = slot_names(tables, registry)
    parts = {}
    for table, kind in SLOTS.items():
        if table not in names or names[table] == ABSENT:
            extra = set(tables.get(table, {})) - {"name"}
            if extra:
                raise RecipeError(
                    f"{table}.{min(extra)}: there is no {table} for it.",
                    f"Choose one, e.g. --{table} NAME; list them: vaebm plugins list {kind}",
                )
            continue
        given = {k: v for k, v in tables.get(table, {}).items() if k != "name"}
        if table == "sampling" and names["sampling"] == names.get("sampler"):
            given = {**{k: v for k, v in tables.get("sampler", {}).items() if k != "name"}, **given}
        parts[table] = part(registry.find(kind, names[table]), given, table)
    return Recipe(parts=parts, names=names, measured=measured, **plain)


def divided(evaluate: Table) -> tuple[Table, dict[str, Table]]:
    """[evaluate] itself, and its tables [evaluate.NAME] of metrics and feature spaces.

    >>> divided({"samples": 100, "kernel": {"subsets": 50}})
    ({'samples': 100}, {'kernel': {'subsets': 50}})
    """
    own = {k: v for k, v in evaluate.items() if isinstance(v, dict)}
    return {k: v for k, v in evaluate.items() if k not in own}, own


def measures(o: EvaluateOptions, settings: Mapping[str, Table], registry: Registry) -> tuple[Part, ...]:
    """The metrics that [evaluate] names, and the feature spaces if one of them compares features.

    settings: options of those that are not to have their defaults, by name.
    """
    found = [registry.find("metric", name) for name in o.metrics]
    if any(map(compares_features, found)):
        found += [registry.find("features", name) for name in o.features]
    names = [r.component.name for r in found]
    for name in settings:
        if name not in names:
            raise RecipeError(
                f"evaluate.{name}: no metric and no feature space of this name is used.",
                f"{nearest(name, names)} Name it in evaluate.metrics or evaluate.features.",
            )
    return tuple(part(r, settings.get(r.component.name, {}), f"evaluate.{r.component.name}") for r in found)


def chosen(measured: Part) -> Table:
    """Options of a metric or feature space that are not its defaults."""
    known = fields(measured.registered.component.options)
    changed = {k for k, f in known.items() if getattr(measured.options, k) != f.default}
    return {k: v for k, v in to_toml(measured.options).items() if k in changed}


def compares_features(metric: Registered) -> bool:
    """Whether a metric is computed once per feature space: its options have a slot for one."""
    return any(s.kind == "features" for s in slots(metric.component.options).values())


def used(tables: Mapping[str, Table], registry: Registry) -> Mapping[str, Table]:
    """The tables without those of parts that the second stage's trainer does not ask for.

    So a recipe has a generator if and only if the model does: samples of a run in data space start
    from its generator's samples if there is one, else from noise. The same holds for its sampler.
    """
    unused = unused_tables(tables, registry)
    return {t: values for t, values in tables.items() if t not in unused}


def unused_tables(tables: Mapping[str, Table], registry: Registry) -> set[str]:
    """Tables of parts that the second stage's trainer, as set there, has no use for."""
    table = tables.get("trainer", {})
    name = str(table.get("name", DEFAULT_TRAINER))
    if name == ABSENT:
        return set()
    kinds = {s.kind for s in used_slots(name, table, registry)}
    followers = {"generator": FIRST_STAGE, "sampler": ("sampler", "sampling")}
    parts = ("generator", "energy", "sampler", "buffer")
    return {t for kind in parts if kind not in kinds for t in followers.get(kind, (kind,))}


def used_slots(trainer: str, table: Mapping[str, Any], registry: Registry) -> list[SlotInfo]:
    """The parts that a trainer needs with the options of its table."""
    options = registry.find("trainer", trainer).component.options
    return [s for s in slots(options).values() if options is not None and s.used(options, table)]


def slot_names(tables: Mapping[str, Table], registry: Registry) -> dict[str, str]:
    """Table -> component name: the ones given, and the ones that the trainers need."""
    names = {t: str(tables[t]["name"]) for t in SLOTS if "name" in tables.get(t, {})}
    names.setdefault("dataset", DEFAULT_DATASET)
    names.setdefault("trainer", DEFAULT_TRAINER)
    needed: dict[str, tuple[str, SlotInfo]] = {}
    for table in ("trainer", "pretrain"):
        without = names["trainer"] != ABSENT and names.get("generator", ABSENT) == ABSENT
        if table == "pretrain" and not without:
            names.setdefault("pretrain", DEFAULT_PRETRAIN)
        if names.get(table, ABSENT) == ABSENT:
            continue
        for slot in used_slots(names[table], tables.get(table, {}), registry):
            if slot.kind not in needed or needed[slot.kind][1].optional:
                needed[slot.kind] = (table, slot)
            names.setdefault(slot.kind, slot.default)
    for kind, (table, slot) in needed.items():
        if names[kind] == ABSENT and not slot.optional:
            why = f" with {table}.{slot.when[0]} = {slot.when[1]}" if slot.when is not None else ""
            raise RecipeError(
                f'{kind}: the trainer "{names[table]}" cannot do without one{why}.',
                f"Choose one with --{kind} NAME; list them: vaebm plugins list {kind}"
                + (", or train the generator alone: --trainer none" if kind in SECOND_STAGE else ""),
            )
    if "sampler" in names:
        names.setdefault("sampling", names["sampler"])
    return {t: names[t] for t in SLOTS if t in names}


def part(registered: Registered, given: Mapping[str, Any], table: str) -> Part:
    """A component with its options from the table's keys."""
    options = registered.component.options
    if registered.component.kind != "trainer":
        return Part(registered, parse(options, given, table))
    own, stage = fields(options), fields(StageOptions)
    for key in given:
        if key not in own and key not in stage:
            raise RecipeError(f"{table}.{key}: there is no such option.", nearest(key, [*own, *stage]))
    return Part(
        registered,
        parse(options, {k: v for k, v in given.items() if k in own}, table),
        parse(StageOptions, {k: v for k, v in given.items() if k in stage}, table),
    )
