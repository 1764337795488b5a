"""Mask files -> the images they belong to, and what belongs to nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..images import decode, folder
from ..images.skipped import Skipped
from .example import Example

_LISTED = 5


@dataclass(frozen=True)
class Matched:
    """Examples with their masks; ``skipped`` and ``warnings`` say what became of the rest."""

    examples: list[Example]
    skipped: list[Skipped]
    warnings: list[str]


def match(examples: Sequence[Example], left_out: Sequence[Skipped], mask_dir: Path) -> Matched:
    """Give each example the mask of its name, whatever the extension; one whose mask cannot be read is skipped.

    Args:
        examples: the training images.
        left_out: images that are not trained on, whose masks are no mistake.
        mask_dir: folder of the masks.

    Raises:
        UserError: no example is left, or there is no such folder.
    """
    masks, skipped = _files(mask_dir)
    masked = []
    for example in examples:
        mask = masks.get(folder.stem(example.name))
        reason = _unreadable(mask) if mask else None
        if reason:
            skipped.append(Skipped(example.name, reason))
        else:
            masked.append(dataclasses.replace(example, mask=mask))
    if not masked:
        raise UserError(f"mask_dir: no image has a mask that can be read; {skipped[-1].name} {skipped[-1].reason}.")
    names = [*(example.name for example in examples), *(image.name for image in left_out)]
    known = {folder.stem(name) for name in names}
    unused = [mask.name for name, mask in masks.items() if name not in known]
    return Matched(masked, skipped, [*_without_mask(masked, mask_dir), *_without_image(unused, mask_dir)])


def _files(mask_dir: Path) -> tuple[dict[str, Path], list[Skipped]]:
    """Mask images by relative path without extension; and the files that are not taken."""
    names, not_read = folder.scan(mask_dir, "mask_dir")
    skipped = [Skipped((mask_dir / one.name).as_posix(), one.reason) for one in not_read]
    masks: dict[str, Path] = {}
    for name in names:
        first = masks.setdefault(folder.stem(name), mask_dir / name)
        if first != mask_dir / name:
            reason = f"is a second mask of that name; {first.name} is taken, delete one of them"
            skipped.append(Skipped((mask_dir / name).as_posix(), reason))
    return masks, skipped


def _unreadable(mask: Path) -> str | None:
    try:
        decode.size(mask)
    except decode.Unreadable as error:
        return f"has a mask, {mask}, that {error}"
    return None


def _without_mask(examples: Sequence[Example], mask_dir: Path) -> list[str]:
    bare = [example.name for example in examples if example.mask is None]
    if not bare:
        return []
    return [f"{len(bare)} of {len(examples)} images have no mask in {mask_dir} and count as a whole: {_listed(bare)}"]


def _without_image(masks: Sequence[str], mask_dir: Path) -> list[str]:
    if not masks:
        return []
    return [
        f"{len(masks)} of the masks in {mask_dir} belong to no image and are not used; give each the name of its "
        f"image: {_listed(masks)}"
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
