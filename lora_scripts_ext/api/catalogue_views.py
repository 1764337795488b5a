"""What the API says of catalogues, their products, candidates and decisions, ready for JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter

from ..catalogue import candidates, manifest
from ..catalogue.candidates import Candidate
from ..catalogue.decisions import Decision
from ..catalogue.product import CatalogueProduct
from ..catalogue.store import Catalogue
from ..channels import channel as channels
from ..channels import law
from ..jobs.catalogues import newest
from ..jobs.kinds.catalogue import FINISHED
from ..library.job import Job
from ..time_text import iso
from .service import Service

_THUMBNAIL = 320


def short(service: Service, id: str, catalogue: Catalogue) -> dict[str, Any]:
    """What lists say of a catalogue."""
    counts = catalogue.counts()
    return {
        "id": id, "name": catalogue.settings().name, "created": iso(catalogue.created()),
        "products": sum(counts.values()) - counts["removed"], "counts": counts,
        "candidates": candidates.counts(catalogue), "job": job_of(newest(service.queue, catalogue, "catalogue")),
        "export": job_of(newest(service.queue, catalogue, "catalogue_export")),
        "writing": job_of(newest(service.queue, catalogue, "catalogue_copy")),
    }  # fmt: skip


def whole(router: APIRouter, service: Service, id: str, catalogue: Catalogue) -> dict[str, Any]:
    """A catalogue with its settings."""
    there = (catalogue.folder / FINISHED / manifest.NAME).is_file()
    return {
        **short(service, id, catalogue), "settings": asdict(catalogue.settings()),
        "columns": catalogue.read_as(), "categories": catalogue.categories(), "problems": len(catalogue.problems()),
        "manifest": f"{router.prefix}/catalogues/{id}/finished/{manifest.NAME}" if there else None,
    }  # fmt: skip


def job_of(job: Job | None) -> dict[str, Any] | None:
    """A job of a catalogue; None where there was none."""
    if job is None:
        return None
    return {
        "id": job.id, "state": job.state, "reason": job.reason, "progress": job.progress, "result": job.result,
    }  # fmt: skip


def product_of(prefix: str, id: str, catalogue: Catalogue, number: int) -> dict[str, Any]:
    """The product with this id, with its candidates."""
    found = catalogue.get(number)
    return product(prefix, id, found, candidates.of_product(catalogue, number))


def product(prefix: str, id: str, one: CatalogueProduct, own: Iterable[Candidate]) -> dict[str, Any]:
    """A product with its candidates."""
    listed, plan = one.product, one.plan
    return {
        "id": one.id, "sku": listed.sku, "row": listed.row, "title": listed.title, "category": listed.category,
        "description": listed.description, "tags": list(listed.tags), "attributes": dict(listed.attributes),
        "photo": listed.photo, "rule": plan.rule, "matched": one.matched, "prompt": plan.prompt,
        "negative": plan.negative, "loras": [dict(lora) for lora in plan.loras], "alt": dict(plan.alt),
        "copy": one.copy.entry() if one.copy else None, "warnings": list(plan.warnings),
        "edited": list(one.edited), "state": one.state,
        "candidates": _candidates(prefix, id, own),
    }  # fmt: skip


def _candidates(prefix: str, id: str, own: Iterable[Candidate]) -> list[dict[str, Any]]:
    own = list(own)
    approved = sorted((one for one in own if one.verdict == "approved"), key=lambda one: one.decision or 0)
    places = {one.number: place for place, one in enumerate(approved, 1)}
    return [{**_candidate(prefix, id, one), "place": places.get(one.number)} for one in own]


def _candidate(prefix: str, id: str, one: Candidate) -> dict[str, Any]:
    address = f"{prefix}/catalogues/{id}/products/{one.product}/candidates/{one.number}/image"
    # Another image of this number, after one that failed, has another address.
    version = f"of={quote(one.sha256[:16])}"
    drawn = one.state == "drawn"
    return {
        "number": one.number, "seed": one.seed, "state": one.state, "error": one.error,
        "image": f"{address}?{version}" if drawn else None,
        "thumbnail": f"{address}?size={_THUMBNAIL}&{version}" if drawn else None, "verdict": one.verdict,
        "crop": list(one.crop) if one.crop else None, "facts": one.facts, "made": iso(one.made),
    }  # fmt: skip


def decision(one: Decision) -> dict[str, Any]:
    """What a person said of a candidate."""
    return {
        "id": one.id, "number": one.number, "verdict": one.verdict, "comment": one.comment,
        "crop": list(one.crop) if one.crop else None, "who": one.who, "at": iso(one.created),
    }  # fmt: skip


def channel(one: channels.Channel, market: str) -> dict[str, Any]:
    """A channel, and what has to be asked where its images are shown in ``market``."""
    asked = law.collision(one, market)
    return {
        "name": one.name, "title": one.title, "source": one.source, "date": one.date, "note": one.note,
        "role": one.role, "position": one.position, "format": one.format, "background": one.background,
        "visible_mark": one.visible_mark, "size": asdict(one.size), "question": asked.question if asked else None,
        "answers": dict(asked.answers) if asked else {},
    }  # fmt: skip
