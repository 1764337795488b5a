"""A LoRA file copied under another name, which the WebUI's prompts then call it by."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from .. import files
from ..models.safetensors_file import read_header

#: the name in a file's metadata, by which the WebUI's cards insert it
_ALIAS = "ss_output_name"


def copy_as(source: Path, path: Path) -> None:
    """Copy ``source`` to ``path``, atomically; the name that its metadata has for it becomes that of ``path``.

    The tensors stay as they are, byte for byte, and so does a file without such a name, or with the right one.

    Raises:
        UserError: it is no safetensors file, or damaged.
    """
    if read_header(source).metadata.get(_ALIAS, path.stem) == path.stem:
        files.copy(source, path)
        return
    with source.open("rb") as file, files.replacing(path) as temporary:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"][_ALIAS] = path.stem
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        # As long as before where it fits: tensors begin at a multiple of 8 bytes.
        text = text.ljust(max(length, -(-len(text) // 8) * 8))
        with temporary.open("wb") as copy:
            copy.write(len(text).to_bytes(8, "little") + text)
            shutil.copyfileobj(file, copy, 1 << 22)
