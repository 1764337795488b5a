"""A folder that is ready to train on, made of photos with their captions."""

from __future__ import annotations

from pathlib import Path

from .. import config as configs
from ..captions.store import CaptionStore
from ..dataset.source import folder_meaning
from ..images import bucket, excluded
from ..images.bucket import check_side
from ..images.excluded import HIDDEN
from ..images.folder import SYSTEM_FOLDERS, no_images
from ..parallel import Check, Progress
from . import archive
from .prepare import PreparationOptions, Prepared, check_options, prepare

_VAE_FACTOR = 8


def ready(
    source: Path,
    out: Path,
    resolution: int,
    options: PreparationOptions,
    progress: Progress,
    check: Check = lambda: None,
    *,
    encoding: str = "",
) -> Prepared:
    """Prepare what training would read of ``source``, a folder or a zip, with its captions, in ``out``.

    A zip is unpacked beside ``out`` first. A `10_name` folder becomes one in ``out``, so that it keeps its meaning.

    Raises:
        UserError: there is no image that can be used, or a setting is wrong.
    """
    check_side(resolution)
    check_options(options, source, out)
    folder, skipped = source, []
    if source.is_file():
        folder = out.with_name(f"{out.name}_unpacked")
        skipped = archive.unpack(source, folder, progress=progress, check=check).skipped
    folder = _entered(folder)
    store = CaptionStore.open(folder, encoding=encoding, key="input")
    unwanted = excluded.read(folder)
    names = [name for name in store.names if name not in unwanted]
    skipped = [*skipped, *store.skipped]
    if not names:
        raise no_images("input", folder, skipped)
    settings = {"train_data_dir": str(folder), "base_model": "any", "output_dir": str(out), "output_name": "any"}
    grid = bucket.grid(configs.from_dict(settings), [resolution], _VAE_FACTOR)
    below = folder.resolve().name if folder_meaning(folder, "", otherwise=0)[0] else ""
    prepared = prepare(folder, names, out, grid, options, below=below, progress=progress, check=check)
    _write_captions(store, CaptionStore.open(out, encoding=encoding), prepared)
    bare = [new for old, new in prepared.copies.items() if not (store.entry(old).prompt or folder_meaning(out, new)[1])]
    return Prepared(prepared.copies, [*skipped, *prepared.skipped], len(bare), tuple(store.warnings))


def _entered(folder: Path) -> Path:
    """The folder that the images are in, where ``folder`` holds nothing but it: what a zip made of a folder gives."""
    while folder.is_dir() and not (folder / HIDDEN).exists():
        inside = [
            path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in SYSTEM_FOLDERS
        ]
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].is_symlink():
            break
        folder = inside[0]
    return folder


def _write_captions(store: CaptionStore, captions: CaptionStore, prepared: Prepared) -> None:
    """The captions of the originals for the copies."""
    for old, new in prepared.copies.items():
        entry = store.entry(old)
        if entry.prompt and new in captions.names:
            captions.put(new, entry.prompt, entry.fields, entry.by)
    captions.save()
