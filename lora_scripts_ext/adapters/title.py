"""The name by which a LoRA file calls itself, which WebUIs offer as an alias of its file's name."""

from __future__ import annotations

from pathlib import Path

from ..files import replacing
from ..models.safetensors_file import read_header
from ..models.safetensors_writer import Entry, Writer

_NAMES = ("ss_output_name", "modelspec.title")


def set_title(path: Path, name: str) -> bool:
    """Let the file call itself ``name``; its tensors stay as they are, byte by byte. False where it had no name.

    Raises:
        UserError: it is no safetensors file.
        OSError: it cannot be written; it is as before then.
    """
    header = read_header(path)
    changes = {key: name for key in _NAMES if key in header.metadata and header.metadata[key] != name}
    if not changes:
        return False
    places = sorted(header.places.items(), key=lambda one: one[1])
    entries = {one: Entry(header.dtypes[one], header.shapes[one], end - start) for one, (start, end) in places}
    # Closed first of all: Windows replaces no file that is open.
    with (
        replacing(path) as temporary,
        Writer(temporary, entries, {**header.metadata, **changes}) as writer,
        path.open("rb") as source,
    ):
        for one, place in places:
            writer.copy(one, source, place)
    return True
