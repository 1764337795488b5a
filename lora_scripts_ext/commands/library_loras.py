"""What ``library`` does with LoRAs, at once and in this process: ``list``, ``merge``, ``resize``, ``into-checkpoint``,
``rename``, ``retire``, ``restore``, and ``import`` of a folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import file_name, terminal
from ..errors import Conflict, NotFound, UserError
from ..jobs.environment import Standalone
from ..library.model import KINDS, Model, Version
from ..library.models import RUNS, Models
from ..time_text import iso
from . import data_dir

_LORA = "a LoRA file, or a model of the library: its name or id, with @N for its version N"
_TO_LIBRARY = "write a file, instead of a version in the library"


class _Library:
    """The library in the data folder, opened (and made) when it is first needed."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._folder: Path = options.data_dir

    @cached_property
    def models(self) -> Models:
        return Models(data_dir.opened(self._folder))

    @cached_property
    def environment(self) -> Standalone:
        return Standalone(self._folder.absolute())

    def model(self, text: str) -> Model:
        """The model of this name or id.

        Raises:
            NotFound: there is none.
        """
        wanted = file_name.alike(text)
        for model in self.models.page(retired=None, limit=1_000_000).models:
            if model.id == text or file_name.alike(model.name) == wanted:
                return model
        raise NotFound(f"{text}: there is neither a file nor a model of this name; `library list` lists the models.")

    def version(self, text: str) -> tuple[Model, Version] | None:
        """A version of a model; None where ``text`` is a file.

        Raises:
            NotFound: it is neither.
            UserError: the model has no version.
        """
        if Path(text).exists() or text.lower().endswith(".safetensors"):
            return None
        name, _, number = text.rpartition("@")
        if not name or not number.isdigit():
            name, number = text, ""
        model = self.model(name)
        if number:
            return model, self.models.version(model.id, int(number))
        versions = self.models.versions(model.id)
        if not versions:
            raise UserError(f"{model.name}: it has no version yet; train it first.")
        return model, versions[0]

    def file(self, text: str) -> Path:
        """Where a LoRA is, a file or one of the library."""
        from ..jobs.of_library import file_of

        found = self.version(text)
        return Path(text) if found is None else file_of(*found)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands but for ``import``."""
    _add_list(commands)
    merge = _sub(commands, "merge", _merge, "add up LoRAs to one")
    merge.add_argument("loras", nargs="+", metavar="LORA", help=_LORA)
    _add_weights(merge)
    merge.add_argument("--rank", type=int, help="the nearest LoRA of this rank (SVD); without it the merge is exact")
    _add_target(merge, "--name", "the new model that it is the first version of")
    merge.add_argument("--kind", choices=KINDS, help="of the new model")
    resize = _sub(commands, "resize", _resize, "bring a LoRA to another rank (SVD)")
    resize.add_argument("lora", metavar="LORA", help=_LORA)
    resize.add_argument("--rank", type=int, required=True)
    _add_target(resize)
    into = _sub(commands, "into-checkpoint", _into_checkpoint, "merge LoRAs into a checkpoint, as a new file")
    into.add_argument(
        "checkpoint", type=terminal.path, metavar="CHECKPOINT", help="a .safetensors file, or a diffusers folder"
    )
    into.add_argument("loras", nargs="+", metavar="LORA", help=_LORA)
    _add_weights(into)
    into.add_argument("--out", type=terminal.path, required=True, metavar="FILE.safetensors|FOLDER")
    rename = _sub(commands, "rename", _rename, "rename a model, with its LoRA, card and preview in use")
    rename.add_argument("model", metavar="MODEL", help="name or id")
    rename.add_argument("name", metavar="NAME")
    rename.add_argument("--replace", action="store_true", help="rename what is in the way to .bak")
    for name, function, help in (
        ("retire", _retire, "put a model aside: its files leave the folder where LoRAs are used"),
        ("restore", _restore, "bring a retired model back"),
    ):
        _sub(commands, name, function, help).add_argument("model", metavar="MODEL", help="name or id")


def import_folder(options: argparse.Namespace) -> int:
    """List the LoRA files of a folder in the library; they stay where and as they are."""
    from ..jobs.importing import import_folder

    imported = import_folder(
        _Library(options).models,
        options.file.absolute(),
        kind=options.kind or "",
        tags=options.tag,
        progress=terminal.count,
    )
    for one in imported.skipped:
        terminal.print_message(f"skipped {one['name']}: {one['reason']}")
    terminal.print_json(vars(imported))
    return terminal.DONE


def _add_list(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = data_dir.subcommand(commands, "list", _list, "list the models")
    parser.add_argument("--search", default="", help="words in name, trigger word, tags, kind or base model")
    parser.add_argument("--kind", choices=KINDS, default="")
    parser.add_argument("--tag", default="")
    parser.add_argument("--retired", action="store_true", help="the retired ones instead")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _sub(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, function: Callable[..., int], help: str
) -> argparse.ArgumentParser:
    parser = data_dir.subcommand(commands, name, function, help)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", default="", metavar="W,W", help="one for each LoRA; without it 1")


def _add_target(parser: argparse.ArgumentParser, name: str = "", help: str = "") -> None:
    target = parser.add_mutually_exclusive_group(required=bool(name))
    target.add_argument("--out", type=terminal.path, metavar="FILE.safetensors", help=_TO_LIBRARY)
    if name:
        target.add_argument(name, help=help)
    parser.add_argument("--precision", choices=("fp32", "fp16", "bf16"), default="", help="without it that of the LoRA")


def _list(options: argparse.Namespace) -> int:
    models = _Library(options).models
    found, cursor = list[Model](), ""
    while True:
        page = models.page(
            search=options.search, kind=options.kind, tag=options.tag, retired=options.retired, limit=500, cursor=cursor
        )
        found += page.models
        if page.next is None:
            break
        cursor = page.next
    states = models.states(found)
    rows: list[dict[str, Any]] = [
        {
            "id": model.id, "name": model.name, "kind": model.kind, "trigger_word": model.trigger_word,
            "tags": model.tags, "versions": states[model.id].versions, "state": states[model.id].standing,
            "file": newest.file if (newest := states[model.id].newest) else None, "changed": iso(model.changed),
            "retired": iso(model.retired),
        }
        for model in found
    ]  # fmt: skip
    if options.json:
        terminal.print_json(rows)
        return terminal.DONE
    for row in rows:
        tags = f"  [{', '.join(row['tags'])}]" if row["tags"] else ""
        count = f"{row['versions']} version{'' if row['versions'] == 1 else 's'}"
        terminal.print_line(f"{row['id']}  {row['name']}  {row['kind']}  {count}  {row['state']}{tags}")
    return terminal.DONE


def _merge(options: argparse.Namespace) -> int:
    from ..adapters.merge import merge

    library = _Library(options)
    loras = _weighted(library, options)
    if options.out is not None:
        made = merge(loras, options.out, rank=options.rank, precision=options.precision, progress=terminal.count)
        return _made(options, made.to_dict())
    models = library.models
    first = next((found[0] for one in options.loras if (found := library.version(one))), None)
    model = models.create(options.name, options.kind or (first.kind if first else KINDS[0]))
    out = models.home(model.id) / RUNS / "1" / f"{options.name}.safetensors"
    try:
        made = merge(loras, out, rank=options.rank, precision=options.precision, progress=terminal.count)
    except BaseException:
        models.delete(model.id)
        raise
    parts = [{"file": str(path.absolute()), "weight": weight} for path, weight in loras]
    version = models.add_version(model.id, out, "merge", facts={**made.to_dict(), "lineage": {"parts": parts}})
    return _made(options, {**made.to_dict(), "model": model.id, "version": version.number})


def _resize(options: argparse.Namespace) -> int:
    from ..adapters.merge import resize

    library = _Library(options)
    path = library.file(options.lora)
    if options.out is not None:
        made = resize(path, options.out, options.rank, precision=options.precision, progress=terminal.count)
        return _made(options, made.to_dict())
    found = library.version(options.lora)
    if found is None:
        raise UserError(f"{options.lora}: this is a file; name the new one with --out FILE.safetensors.")
    models, (model, old) = library.models, found
    runs = models.home(model.id) / RUNS
    number = next(number for number in range(1, 100_000) if not (runs / str(number)).exists())
    out = runs / str(number) / f"{model.name}.safetensors"
    made = resize(path, out, options.rank, precision=options.precision, progress=terminal.count)
    version = models.add_version(model.id, out, "resize", facts=made.to_dict(), parent=old.id)
    return _made(options, {**made.to_dict(), "model": model.id, "version": version.number})


def _into_checkpoint(options: argparse.Namespace) -> int:
    from ..adapters.into_checkpoint import into_checkpoint

    loras = _weighted(_Library(options), options)
    merged = into_checkpoint(options.checkpoint, loras, options.out, progress=terminal.count)
    if options.json:
        terminal.print_json(merged.to_dict())
    else:
        terminal.print_line(
            f"{merged.path}: {merged.layers} layers of {merged.family} changed; rounding took {merged.rounding:.2g} of "
            "the change."
        )
    return terminal.DONE


def _rename(options: argparse.Namespace) -> int:
    from ..jobs import published_files

    library = _Library(options)
    model = library.model(options.model)
    try:
        renamed = published_files.rename(
            library.models, library.environment, model.id, options.name, replace=options.replace
        )
    except Conflict as error:
        raise Conflict(str(error).replace("send replace: true", "add --replace")) from error
    return _changed(options, library, renamed)


def _retire(options: argparse.Namespace) -> int:
    from ..jobs import published_files

    library = _Library(options)
    model = library.model(options.model)
    return _changed(options, library, published_files.retire(library.models, library.environment, model.id))


def _restore(options: argparse.Namespace) -> int:
    from ..jobs import published_files

    library = _Library(options)
    model = library.model(options.model)
    return _changed(options, library, published_files.restore(library.models, library.environment, model.id))


def _weighted(library: _Library, options: argparse.Namespace) -> list[tuple[Path, float]]:
    """The LoRAs with their weights.

    Raises:
        UserError: there are more or fewer weights, or one is no number.
    """
    texts = [text.strip() for text in options.weights.split(",")] if options.weights else ["1"] * len(options.loras)
    if len(texts) != len(options.loras):
        raise UserError(f"--weights has {len(texts)} numbers for {len(options.loras)} LoRAs; give one for each.")
    try:
        weights = [float(text) for text in texts]
    except ValueError as error:
        raise UserError(f"--weights {options.weights[:80]}: this is no list of numbers such as 0.7,0.5.") from error
    return [(library.file(lora), weight) for lora, weight in zip(options.loras, weights, strict=True)]


def _made(options: argparse.Namespace, facts: dict[str, Any]) -> int:
    if options.json:
        terminal.print_json(facts)
        return terminal.DONE
    low, high = facts["ranks"]
    ranks = f"rank {high}" if low == high else f"ranks {low} to {high}"
    terminal.print_line(
        f"{facts['path']}: {facts['layers']} layers of {ranks} in {facts['precision']}; the relative error is "
        f"{facts['error']:.2g}, in the worst layer {facts['worst_error']:.2g}."
    )
    return terminal.DONE


def _changed(options: argparse.Namespace, library: _Library, model: Model) -> int:
    published = [version.published for version in library.models.versions(model.id) if version.published]
    if options.json:
        terminal.print_json({"id": model.id, "name": model.name, "retired": iso(model.retired), "published": published})
    else:
        terminal.print_line(f"{model.name}: {'retired' if model.retired else 'in use'}")
    return terminal.DONE
