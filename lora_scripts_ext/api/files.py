"""Routes of a job's files: its log, its previews, its LoRAs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ..errors import NotFound
from ..jobs import event_log
from ..library.job import Job
from . import schemas
from .route import json_response
from .service import Service
from .threads import Threads

_TAGS = ["jobs"]
_TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
    ".json": "application/json", ".safetensors": "application/octet-stream",
}  # fmt: skip
_BLOCK = 2**20
_LOG = "output.log"


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""
    queue, data_dir = service.queue, service.database.folder

    @router.get("/jobs/{id}/log", tags=_TAGS, summary="What a job's process has printed", response_class=Response)
    def get_log(
        id: str, bytes: int = Query(65536, ge=1, le=2**20, description="At most so much of its end.")
    ) -> Response:
        folder = event_log.folder(data_dir, queue.get(id).id)
        return Response(_tail(folder / _LOG, bytes), headers=_headers(), media_type="text/plain")

    @router.get("/jobs/{id}/files", tags=_TAGS, response_model=schemas.JobFiles, summary="List a job's files")
    def list_files(id: str) -> Response:
        """Previews, checkpoints, LoRAs, JSON: what can be fetched."""
        job = queue.get(id)
        found = {path: size for folder in _folders(data_dir, job) for path, size in _listed(folder)}
        items = [
            {"path": path, "bytes": size, "address": _address(router.prefix, job, path)}
            for path, size in sorted(found.items())
        ]
        return json_response({"items": items})

    @router.get("/jobs/{id}/files/{path:path}", tags=_TAGS, summary="Fetch a file of a job", response_class=Response)
    async def get_file(id: str, path: str, request: Request) -> Response:
        """Below the job's own folder or its output_dir. A range of bytes can be asked for."""
        file = await service.threads.run(lambda: _file(data_dir, queue.get(id), path))
        return await send(service.threads, file, _TYPES[file.suffix.lower()], request.headers)


def with_addresses(report: dict[str, Any], job: Job, prefix: str) -> dict[str, Any]:
    """A job's report in which previews and checkpoints also have the address that they can be fetched from."""
    if not job.output_dir:
        return report
    lists = {
        name: [{**one, "address": _address_in(prefix, job, one.get("path"))} for one in report.get(name, [])]
        for name in ("previews", "checkpoints")
    }
    return {**report, **lists}


async def send(threads: Threads, file: Path, media_type: str, headers: Mapping[str, str]) -> Response:
    """A file as the answer, or the range of it that the request's ``headers`` ask for; read in ``threads``.

    Starlette's own reads in the server's shared threads.
    """
    opened: IO[bytes] = await threads.run(file.open, "rb")
    status = await threads.run(os.fstat, opened.fileno())
    tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
    answer = _headers() | {"ETag": tag, "Accept-Ranges": "bytes", "Cache-Control": "private, no-cache"}
    if tag in headers.get("if-none-match", ""):
        opened.close()
        return Response(status_code=304, headers=answer)
    first, last = 0, status.st_size - 1
    partial = _range(headers.get("range", ""), status.st_size) if headers.get("if-range", tag) == tag else None
    if partial is not None:
        first, last = partial
        answer["Content-Range"] = f"bytes {first}-{last}/{status.st_size}"
    answer["Content-Length"] = str(last - first + 1)
    if media_type == "application/octet-stream":
        answer["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(file.name)}"
    blocks = _blocks(threads, opened, first, last + 1)
    return StreamingResponse(blocks, 200 if partial is None else 206, answer, media_type=media_type)


async def _blocks(threads: Threads, file: IO[bytes], start: int, end: int) -> AsyncIterator[bytes]:
    with file:
        await threads.run(file.seek, start)
        while start < end and (block := await threads.run(file.read, min(_BLOCK, end - start))):
            start += len(block)
            yield block


def _range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a single range that is there; None where the whole file is to be sent."""
    unit, _, text = header.partition("=")
    first, dash, last = text.strip().partition("-")
    if (
        unit.strip() != "bytes"
        or not dash
        or not all(part.isascii() and part.isdigit() for part in (first, last) if part)
    ):
        return None
    if not first:
        return (max(0, size - int(last)), size - 1) if last and int(last) and size else None
    begin, end = int(first), min(int(last or size), size - 1)
    return (begin, end) if begin <= end else None


def _folders(data_dir: Path, job: Job) -> list[Path]:
    """Where the files of a job lie."""
    return [event_log.folder(data_dir, job.id), *([Path(job.output_dir)] if job.output_dir else [])]


def _listed(folder: Path) -> list[tuple[str, int]]:
    """Path and size of what can be fetched from a folder; caches and states are neither images nor adapters."""
    files = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if name.parts[0] not in ("cache", "state") and _below(folder, str(name)) is not None:
            files.append((name.as_posix(), path.stat().st_size))
    return files


def _file(data_dir: Path, job: Job, path: str) -> Path:
    """The file of a job at a relative ``path``.

    Raises:
        NotFound: there is none that may be fetched.
    """
    for folder in _folders(data_dir, job):
        file = _below(folder, path)
        if file is not None:
            return file
    kinds = ", ".join(sorted(_TYPES))
    raise NotFound(f"path: job {job.id} has no file {path[:200]!r} of a kind that can be fetched ({kinds}).")


def _below(folder: Path, path: str) -> Path | None:
    """The file at ``path`` below ``folder``, if there is one that may be fetched; links and .. may lead elsewhere."""
    try:
        root = folder.resolve()
        file = (root / path).resolve()
        fetched = file.is_relative_to(root) and file.suffix.lower() in _TYPES and file.is_file()
    except (OSError, ValueError, RuntimeError):
        # No file can have such a name, or links lead in a circle.
        return None
    return file if fetched else None


def _tail(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most))
            return file.read(most)
    except FileNotFoundError:
        return b""


def _address_in(prefix: str, job: Job, path: Any) -> str | None:
    """The address of a file that an event names; None where it lies elsewhere."""
    if not isinstance(path, str):
        return None
    try:
        return _address(prefix, job, Path(path).relative_to(job.output_dir).as_posix())
    except ValueError:
        return None


def _address(prefix: str, job: Job, path: str) -> str:
    return f"{prefix}/jobs/{job.id}/files/{quote(path)}"


def _headers() -> dict[str, str]:
    return {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
