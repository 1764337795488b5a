"""Routes of a model's captions: one by one, many at once with preview and undo, the words in use."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from ..captions import editing, history
from ..captions.editing import Row
from ..captions.fields import TEMPLATE, Fields, join
from ..captions.history import Change
from ..errors import UserError
from ..jobs import drafts, trained_part
from ..library.models import Models
from . import model_schemas as schemas
from .images import listing, view
from .model_schemas import CaptionIn, CaptionsChangeIn
from .route import reads_files
from .service import Service

_TAGS = ["captions"]
_SHOWN = 500


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""
    models = Models(service.database)

    @router.put(
        "/models/{id}/images/{name:path}/caption", tags=_TAGS, response_model=schemas.Image, summary="Write a caption"
    )
    @reads_files
    def put_caption(id: str, name: str, caption: CaptionIn) -> dict[str, Any]:
        """As a text, or as the fields that it is made of."""
        model = models.get(id)
        place = drafts.place(models, service.environment, model)
        listing(service, models, model).item(name)
        history.apply(place, lambda rows: [_written(row, caption) for row in rows], f"Caption of {name}", [name])
        parts = trained_part.of_model(models, service.environment, model)
        return view(router.prefix, model, place.folder, listing(service, models, model).item(name), parts)

    @router.get("/models/{id}/captions", tags=_TAGS, response_model=schemas.Captions, summary="The words in use")
    @reads_files
    def get_words(id: str) -> dict[str, Any]:
        """The tags of the captions that are trained on; and what can be undone."""
        model = models.get(id)
        words = listing(service, models, model).words()
        folder = drafts.images_folder(models, service.environment, model)
        return {
            "words": [{"word": word, "images": count} for word, count in words],
            "undoable": history.undoable(folder),
        }

    @router.post(
        "/models/{id}/captions", tags=_TAGS, response_model=schemas.CaptionsChanged, summary="Change many captions"
    )
    @reads_files
    def change_captions(id: str, wanted: CaptionsChangeIn) -> dict[str, Any]:
        """With `preview` nothing is written."""
        model = models.get(id)
        place = drafts.place(models, service.environment, model)
        edit, what = _edit(wanted)
        images = wanted.images
        if images is None and wanted.search.strip():
            images = [item.name for item in listing(service, models, model).shown(search=wanted.search)]
        if wanted.preview:
            changes = history.preview(place, edit, images)
        else:
            changes = history.apply(place, edit, what, images)
        return _changed(changes, [], history.undoable(place.folder))

    @router.post(
        "/models/{id}/captions/undo", tags=_TAGS, response_model=schemas.CaptionsChanged, summary="Undo a change"
    )
    @reads_files
    def undo_captions(id: str) -> dict[str, Any]:
        """The last one that was not undone yet; captions that were changed since stay."""
        place = drafts.place(models, service.environment, models.get(id))
        undone = history.undo(place)
        if undone is None:
            return _changed([], [], [])
        return _changed(undone.changes, undone.kept, history.undoable(place.folder))


def _changed(changes: list[Change], kept: list[str], undoable: list[str]) -> dict[str, Any]:
    return {
        "changed": len(changes),
        "changes": [asdict(change) for change in changes[:_SHOWN]],
        "kept": kept[:_SHOWN],
        "undoable": undoable,
    }


def _edit(wanted: CaptionsChangeIn) -> tuple[Any, str]:
    """The change of rows that is wanted, and what it is called.

    Raises:
        UserError: what it needs is missing.
    """
    if wanted.operation == "replace":
        if not wanted.find:
            raise UserError("find: it is empty; say what is to be replaced.")
        what = f"{wanted.find} → {wanted.replacement}"
        return lambda rows: editing.replaced(rows, wanted.find, wanted.replacement), what
    tag = wanted.tag.strip()
    if not tag or "," in tag:
        raise UserError("tag: it must be one tag, without commas.")
    if wanted.operation == "add_tag":
        return lambda rows: editing.with_tag(rows, tag), f"+ {tag}"
    return lambda rows: editing.without_tag(rows, tag), f"− {tag}"


def _written(row: Row, caption: CaptionIn) -> Row:
    """The row with the caption that was sent."""
    if caption.text is None and caption.fields is None:
        raise UserError("text: there is neither a text nor fields; send one of them, an empty text for no caption.")
    if caption.fields is None:
        return row._replace(caption=" ".join((caption.text or "").split()))
    sent = caption.fields
    fields = Fields(sent.subject.strip(), tuple(filter(None, map(str.strip, sent.attributes))), sent.scene.strip(),
                    sent.style.strip())  # fmt: skip
    text = join(fields, caption.template or TEMPLATE) if caption.text is None else " ".join(caption.text.split())
    return Row(row.image, text, fields.subject, ", ".join(fields.attributes), fields.scene, fields.style)
