"""LoRA files that are there already, listed as models of the library; they stay where and as they are."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import file_name, files
from ..adapters import card, dialects
from ..adapters.origin import kind_of_inputs
from ..base_models.kinds import method_of
from ..errors import UserError
from ..library.model import KINDS, Version
from ..library.models import Models
from ..models.safetensors_file import Header, read_header

Progress = Callable[[int, int, str], None]
_CHUNK = 1 << 22
_SUFFIX = ".safetensors"
# brand-000004 (an epoch of kohya's scripts), brand-step00000100, brand-epoch3: checkpoints of one training.
_CHECKPOINT = re.compile(r"(?<=.)[-_](?:(?:step|epoch)[-_]?(\d+)|(\d{6}))$", re.I)
# brand_v2, brand-v1.5: versions of one model.
_VERSION = re.compile(r"[-_ ]v\.?(\d+(?:\.\d+)?)$", re.I)
_LONGEST_TRIGGER = 200
# Of an entry of the metadata, and how many: captions' tags and pictures are not kept twice.
_LONGEST_ENTRY, _MOST_ENTRIES = 2000, 200
_MOST_SKIPPED = 100
_FOLDERS: dict[str, str] = {
    **{kind: kind for kind in KINDS},
    **{f"{kind}s": kind for kind in KINDS},
    "style": "brand_style",
    "styles": "brand_style",
    "brand": "brand_style",
    "brands": "brand_style",
}
_FACTS = {
    "rank": "ss_network_dim", "alpha": "ss_network_alpha", "steps": "ss_steps", "epochs": "ss_num_epochs",
    "images": "ss_num_train_images", "resolution": "ss_resolution", "learning_rate": "ss_learning_rate",
    "trained": "ss_training_finished_at", "trained_on": "ss_sd_model_name", "base": "ss_base_model_version",
    "title": "modelspec.title", "architecture": "modelspec.architecture",
}  # fmt: skip


@dataclass
class Imported:
    """What came of an import.

    Attributes:
        models: ids of the models that are new.
        versions: how many versions are new.
        files: how many files they have.
        known: files that were in the library already.
        moved: of these, those that lie elsewhere by now.
        skipped: files that are no LoRAs or cannot be read, with the reason.
    """

    models: list[str] = field(default_factory=list)
    versions: int = 0
    files: int = 0
    known: int = 0
    moved: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)

    def skip(self, name: str, reason: str) -> None:
        if len(self.skipped) < _MOST_SKIPPED:
            self.skipped.append({"name": name, "reason": reason})


@dataclass(frozen=True)
class _Lora:
    """A LoRA file: its stem without what marks a checkpoint, and that mark as a number; None of the final file."""

    path: Path
    header: Header
    sha256: str
    data_sha256: str
    stem: str
    checkpoint: int | None


def import_folder(
    models: Models,
    folder: Path,
    *,
    kind: str = "",
    tags: Sequence[str] = (),
    readable: Callable[[Path], bool] = lambda path: True,
    progress: Progress = lambda done, total, what: None,
    check: Callable[[], None] = lambda: None,
) -> Imported:
    """Record the LoRAs in a folder and below it; no file is changed, and none is recorded twice, whatever its name.

    Files of one training (``NAME-000004``, ``NAME-step00000100``, ``NAME``) are one version, ``NAME_v1`` and
    ``NAME_v2`` in a folder are versions of one model. The names of sub-folders become tags.

    Args:
        models: of the library.
        folder: where LoRAs lie.
        kind: of the models; empty takes what a sub-folder's name says, else ``brand_style``.
        tags: of the models, beside those of sub-folders.
        readable: whether a file outside of ``folder`` that a link leads to may be read.
        progress: is called with files looked at, all files, what they are.
        check: is called between files; what it raises ends the import.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; check the path.")
    result, known = Imported(), _Known(models)
    found = list(_files(folder, readable, result))
    by_model: dict[tuple[Path, str], dict[str, list[_Lora]]] = defaultdict(lambda: defaultdict(list))
    for done, path in enumerate(found, 1):
        check()
        lora = _read(path, folder, known, result)
        if lora is not None:
            name = _VERSION.sub("", lora.stem) or lora.stem
            by_model[path.parent, name.casefold()][lora.stem].append(lora)
        progress(done, len(found), "files")
    for (parent, _), trainings in by_model.items():
        check()
        _record(models, folder, parent, trainings, kind, tags, result)
    return result


class _Known:
    """The files that the library has, by path and by content."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self.paths: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, tuple[Version, str]] = {}
        for version in models.all_versions():
            for one in version.facts.get("files") or []:
                self.paths[one["file"]] = one
                self.contents |= dict.fromkeys((one["sha256"], one["data_sha256"]), (version, one["file"]))
            digests = [version.sha256]
            if version.origin != "import":
                # Other programs' files may state the hash of the file that they were made from.
                digests.append(_data_sha256(Path(version.file)))
            self.contents |= {digest: (version, version.file) for digest in digests if digest not in self.contents}
        self.contents.pop("", None)

    def unchanged(self, path: Path) -> bool:
        """Whether this file has been read before, and is as it was then."""
        one = self.paths.get(str(path))
        return one is not None and [one.get("size"), one.get("modified")] == _stamp(path)

    def add(self, path: Path, sha256: str, data_sha256: str) -> str:
        """``new``, ``known``, or ``moved`` where the file that was known is not there any more."""
        version, file = self.contents.get(sha256) or self.contents.get(data_sha256) or (None, "")
        if version is None:
            return "new"
        if file == str(path) or Path(file).exists() or version.origin != "import":
            return "known"
        self._models.moved(version.model, {file: str(path)})
        self.contents[sha256] = self.contents[data_sha256] = version, str(path)
        return "moved"


def _files(folder: Path, readable: Callable[[Path], bool], result: Imported) -> Iterator[Path]:
    inside = folder.resolve()
    for here, below, names in os.walk(folder):
        below.sort()
        for name in sorted(names):
            path = Path(here) / name
            if path.suffix.lower() != _SUFFIX or files.is_temporary(name):
                continue
            if not file_name.is_text(name):
                result.skip(ascii(name), "its name is no text on every system")
            elif path.is_symlink() and not path.resolve().is_relative_to(inside) and not readable(path.resolve()):
                result.skip(name, "it is a link to where nothing may be read")
            elif path.is_file():
                yield path


def _read(path: Path, folder: Path, known: _Known, result: Imported) -> _Lora | None:
    """The LoRA; None where it is known, or none."""
    name = path.relative_to(folder).as_posix()
    if known.unchanged(path):
        result.known += 1
        return None
    try:
        header = read_header(path)
        plain = bool(header.shapes) and all(dialects.split(one) for one in header.shapes)
        if not plain and not method_of(header.shapes):
            result.skip(name, "it is no LoRA")
            return None
        sha256, data_sha256 = _digests(path, header)
    except UserError as error:
        result.skip(name, str(error))
        return None
    except OSError as error:
        result.skip(name, f"it cannot be read ({error.strerror})")
        return None
    state = known.add(path, sha256, data_sha256)
    if state != "new":
        result.known += 1
        result.moved += state == "moved"
        return None
    known.contents[sha256] = known.contents[data_sha256] = _PLACEHOLDER, str(path)
    mark = _CHECKPOINT.search(path.stem)
    number = int(mark[1] or mark[2]) if mark else None
    return _Lora(path, header, sha256, data_sha256, _CHECKPOINT.sub("", path.stem), number)


# Of a file that this import has seen: the next of the same content is known.
_PLACEHOLDER = Version("", "", 0, None, None, "", "", "", {}, 0.0)


def _record(
    models: Models, folder: Path, parent: Path, trainings: Mapping[str, list[_Lora]], kind: str, tags: Sequence[str],
    result: Imported,
) -> None:  # fmt: skip
    """Record the trainings of a model, oldest version first."""
    below = [part for part in parent.relative_to(folder).parts if part]
    stems = sorted(trainings, key=lambda stem: (_version_number(stem), stem.casefold()))
    base = _VERSION.sub("", stems[0]) or stems[0]
    newest = _final(trainings[stems[-1]])
    model = _own_model(models, base, parent)
    with models.changing():
        if model is None:
            created = models.create(
                _free_name(models, base),
                kind or next((_FOLDERS[part.casefold()] for part in below if part.casefold() in _FOLDERS), KINDS[0]),
                trigger_word=_trigger_word(newest),
                tags=_tags([*tags, *below]),
            )
            model = created.id
            result.models.append(model)
        for stem in stems:
            group = sorted(trainings[stem], key=lambda lora: (lora.checkpoint is None, lora.checkpoint or 0))
            final = group[-1]
            models.add_version(
                model, final.path, "import", sha256=final.sha256, facts=_facts(group), published=str(final.path)
            )
            result.versions, result.files = result.versions + 1, result.files + len(group)


def _own_model(models: Models, base: str, parent: Path) -> str | None:
    """The imported model that files of this name in this folder belong to."""
    for model in models.page(search=base, retired=None, limit=1000).models:
        versions = models.versions(model.id)
        if (
            file_name.alike(model.name).startswith(file_name.alike(file_name.cleaned(base)))
            and versions
            and all(one.origin == "import" for one in versions)
            and any(Path(one.file).parent == parent and _base(Path(one.file).stem) == _base(base) for one in versions)
        ):
            return model.id
    return None


def base_name(stem: str) -> str:
    """What the files of all trainings of a model have in common: the stem without version and checkpoint."""
    plain = _CHECKPOINT.sub("", stem)
    return _VERSION.sub("", plain) or plain


def _base(stem: str) -> str:
    return base_name(stem).casefold()


def _free_name(models: Models, base: str) -> str:
    name = file_name.cleaned(base)
    if file_name.problem(name):
        name = f"LoRA {hashlib.sha256(base.encode()).hexdigest()[:8]}"
    for number in range(2, 10_000):
        try:
            models.require_free(name)
        except UserError:
            name = f"{file_name.cleaned(base)} {number}"
        else:
            break
    return name


def _final(group: Sequence[_Lora]) -> _Lora:
    return max(group, key=lambda lora: (lora.checkpoint is None, lora.checkpoint or 0))


def _version_number(stem: str) -> float:
    mark = _VERSION.search(stem)
    return float(mark[1]) if mark else 0.0


def _facts(group: Sequence[_Lora]) -> dict[str, Any]:
    """Of a training whose last file is the last of ``group``."""
    final = group[-1]
    metadata = final.header.metadata
    known = {key: metadata[name] for key, name in _FACTS.items() if metadata.get(name)}
    method = method_of(final.header.shapes)
    return {
        **known,
        "base_model": metadata.get("ss_sd_model_name") or _kind(final.header) or known.get("base", ""),
        "kind_of_base": _kind(final.header),
        "method": method.what if method else "a LoRA",
        "metadata": {key: text for key, text in list(metadata.items())[:_MOST_ENTRIES] if len(text) <= _LONGEST_ENTRY},
        "size": final.path.stat().st_size,
        "checkpoints": [str(lora.path) for lora in group[:-1]],
        "previews": [str(image) for image in [_preview(final.path)] if image],
        "files": [
            {
                "file": str(lora.path), "sha256": lora.sha256, "data_sha256": lora.data_sha256,
                **dict(zip(("size", "modified"), _stamp(lora.path), strict=True)),
            }
            for lora in group
        ],
    }  # fmt: skip


def _kind(header: Header) -> str:
    """The kind of base model, by the inputs of its layers."""
    inputs = {}
    for name, shape in header.shapes.items():
        parsed = dialects.split(name)
        if parsed is not None and parsed[1] == "down" and len(shape) > 1:
            inputs[dialects.kohya(parsed[0])] = shape[1]
    return kind_of_inputs(inputs) or ""


def _trigger_word(lora: _Lora) -> str:
    """What calls it in a prompt: what its card says, its metadata, or the tag that all of its images have."""
    metadata = lora.header.metadata
    words = [card.activation_text(lora.path), metadata.get("modelspec.trigger_phrase", ""), _common_tag(metadata)]
    for word in words:
        plain = " ".join(word.split()).strip(" ,")
        if plain and len(plain) <= _LONGEST_TRIGGER and plain.isprintable() and file_name.is_text(plain):
            return plain
    return ""


def _common_tag(metadata: Mapping[str, str]) -> str:
    try:
        frequencies = json.loads(metadata["ss_tag_frequency"])
        images = sum(int(one["img_count"]) for one in json.loads(metadata["ss_dataset_dirs"]).values())
        counts: dict[str, int] = defaultdict(int)
        for tags in frequencies.values():
            for tag, count in tags.items():
                counts[str(tag)] += int(count)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return ""
    common = [tag for tag, count in counts.items() if images and count >= images]
    return common[0] if len(common) == 1 else ""


def _tags(words: Sequence[str]) -> list[str]:
    """Those that can be tags, each once."""
    plain = [" ".join(word.split())[:60].strip() for word in words]
    return list({word.casefold(): word for word in plain if word and word.isprintable()}.values())


def _preview(path: Path) -> Path | None:
    names = (f"{path.stem}{middle}.{end}" for middle in ("", ".preview") for end in ("png", "jpg", "jpeg", "webp"))
    return next((image for name in names if (image := path.with_name(name)).is_file()), None)


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _digests(path: Path, header: Header) -> tuple[str, str]:
    """SHA-256 (hex) of the whole file, and of its tensors: the same whatever the metadata say."""
    start = min((place[0] for place in header.places.values()), default=0)
    whole, data = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        whole.update(file.read(start))
        while chunk := file.read(_CHUNK):
            whole.update(chunk)
            data.update(chunk)
    return whole.hexdigest(), data.hexdigest()


def _data_sha256(path: Path) -> str:
    """Of the file's tensors, as its own metadata state it; empty where they do not."""
    try:
        return read_header(path).metadata.get("sshs_model_hash", "")
    except (UserError, OSError):
        return ""
