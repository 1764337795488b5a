"""Files sent as one ZIP, which is written nowhere: each part is sent as soon as it is there."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from .threads import Threads

_BLOCK = 2**20
# The same files are the same bytes.
_TIME = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16


class _Written:
    """What a ZIP's writer has written since it was last taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def send(threads: Threads, folder: Path, names: Sequence[str], file_name: str) -> Response:
    """A ZIP of files in ``folder``, under their ``names`` relative to it, as the answer; read in ``threads``."""
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file_name)}", "Cache-Control": "private, no-store",
    }  # fmt: skip
    return StreamingResponse(_sent(threads, blocks(folder, names)), 200, headers, media_type="application/zip")


async def _sent(threads: Threads, made: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (block := await threads.run(next, made, None)) is not None:
        yield block


def blocks(folder: Path, names: Sequence[str]) -> Iterator[bytes]:
    """The ZIP, part by part.

    Raises:
        OSError: a file cannot be read.
    """
    written = _Written()
    # Images hardly become smaller, but of what is sent like this some programs read only entries that are deflated.
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # type: ignore[call-overload]
        for name in names:
            member = zipfile.ZipInfo(name, _TIME)
            member.external_attr, member.compress_type = _MODE, zipfile.ZIP_DEFLATED
            with (folder / name).open("rb") as file, archive.open(member, "w") as inside:
                while block := file.read(_BLOCK):
                    inside.write(block)
                    yield written.taken()
    yield written.taken()
