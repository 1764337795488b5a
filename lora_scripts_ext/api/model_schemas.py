"""What requests about models, images, captions and uploads hold, and what the answers look like; see ``schemas``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from .review_schemas import PublishedAs, Reviewed
from .schemas import JobChangeIn

Kind = Literal["brand_style", "season", "scene", "product", "character", "car"]
Standing = Literal["draft", "queued", "training", "done", "failed", "stopped"]
Precision = Literal["", "fp32", "fp16", "bf16"]
Origin = Literal["training", "import", "merge", "resize"]
Grade = Literal["good", "doubtful", "bad"]
_NAME = "What the LoRA is called, as a file and in a prompt."
_KIND = "What it is of; a season or a scene is trained with the preset of a brand's style."
_TAGS = "Words to find it by."
_RANK = "Of the result; of a merge, 0 is exact: all ranks side by side."
_PRECISION = "Of the result; empty takes that of the LoRAs."
_TRIGGER = "Word at the start of every caption and of prompts; GET /trigger-word suggests and checks one."
_FOLDER = "Folder of the server with its images; empty: they are sent here and lie in the data folder."
_DRAFT = "What is different from the preset: keys of GET /config/schema."
_IMAGES = "Their names; without it all that `search` finds."


class ModelIn(BaseModel, extra="forbid"):
    """A model to be made."""

    name: str = Field(max_length=300, description=_NAME)
    kind: Kind = Field(default="product", description=_KIND)
    trigger_word: str = Field(default="", max_length=300, description=_TRIGGER)
    folder: str = Field(default="", max_length=4000, description=_FOLDER)
    config: dict[str, Any] = Field(default_factory=dict, description=_DRAFT)
    tags: list[str] = Field(default_factory=list, description=_TAGS)


class ModelChangeIn(BaseModel, extra="forbid"):
    """What is to be changed of a model; what is left out stays."""

    name: str | None = Field(default=None, max_length=300, description=_NAME)
    kind: Kind | None = Field(default=None, description=_KIND)
    trigger_word: str | None = Field(default=None, max_length=300, description=_TRIGGER)
    folder: str | None = Field(default=None, max_length=4000, description=_FOLDER)
    config: dict[str, Any] | None = Field(default=None, description=f"The whole draft. {_DRAFT}")
    tags: list[str] | None = Field(default=None, description=f"All of them. {_TAGS}")


class ModelJobIn(JobChangeIn, extra="forbid"):
    """A job for a model."""

    config: dict[str, Any] = Field(
        default_factory=dict, description="What is different from the draft, or the options of this kind of job."
    )
    name: str = Field(default="", max_length=200, description="What lists call it.")


class LibraryJobIn(JobChangeIn, extra="forbid"):
    """A job with LoRAs of the library."""

    title: str = Field(default="", max_length=200, description="What lists call the job.")


class ImportIn(LibraryJobIn, extra="forbid"):
    """LoRA files that are to be listed; they stay where and as they are."""

    folder: str = Field(default="", max_length=4000, description="Empty: that where the WebUI lists LoRAs.")
    kind: Kind | None = Field(default=None, description="Without it a sub-folder's name says it, else `brand_style`.")
    tags: list[str] = Field(default_factory=list, description="Beside the names of sub-folders.")


class MergePartIn(BaseModel, extra="forbid"):
    """A LoRA of a merge: a version of a model, or a file."""

    model: str = Field(default="", max_length=64, description="Id of a model.")
    version: int | None = Field(default=None, description="Its number; without it the newest.")
    file: str = Field(default="", max_length=4000, description="Path of a LoRA file of the server, instead of a model.")
    weight: float = Field(default=1.0, description="Any number but 0.")


class MergeIn(LibraryJobIn, extra="forbid"):
    """LoRAs that are added up to the first version of a new model."""

    name: str = Field(max_length=300, description=_NAME)
    parts: list[MergePartIn] = Field(description="1 to 50 LoRAs of one kind of base model.")
    rank: int = Field(default=0, ge=0, le=4096, description=_RANK)
    precision: Precision = Field(default="", description=_PRECISION)
    kind: Kind | None = Field(default=None, description="Without it that of the first model.")
    tags: list[str] = Field(default_factory=list, description=_TAGS)


class ResizeIn(LibraryJobIn, extra="forbid"):
    """A version that is brought to another rank."""

    rank: int = Field(ge=1, le=4096, description=_RANK)
    precision: Precision = Field(default="", description=_PRECISION)


class IntoCheckpointIn(LibraryJobIn, extra="forbid"):
    """A version that is merged into a checkpoint."""

    base_model: str = Field(
        default="", max_length=4000, description="The checkpoint; empty: the one that the version was trained on."
    )
    weight: float = Field(default=1.0)
    output: str = Field(
        default="",
        max_length=4000,
        description="The new file, or folder of a diffusers folder; empty: in the model's folder.",
    )


class RenameIn(BaseModel, extra="forbid"):
    """Another name for a model."""

    name: str = Field(max_length=300, description=_NAME)
    replace: bool = Field(
        default=False, description="Rename LoRAs of the new name that are in the way to `….TIME.bak`, instead of 409."
    )


class ExclusionIn(BaseModel, extra="forbid"):
    """Images that are to be trained on or not."""

    images: list[str] = Field(description="Their names.")
    excluded: bool = Field(default=True, description="false takes them in again.")


class EditIn(BaseModel, extra="forbid"):
    """How an image is rotated and cropped; what is missing stays as it is."""

    rotate: Literal[0, 90, 180, 270] = Field(
        default=0, description="Degrees clockwise, of the upright image. A crop turns with it."
    )
    crop: list[float] | None = Field(
        default=None,
        description="Left, top, right and bottom edge of what stays, as shares from 0 to 1 of the rotated image; null: "
        "all of it. At least 16 pixels stay on each side.",
    )


class FieldsIn(BaseModel, extra="forbid"):
    """What a caption is made of."""

    subject: str = Field(default="", max_length=2000)
    attributes: list[str] = Field(default_factory=list)
    scene: str = Field(default="", max_length=2000)
    style: str = Field(default="", max_length=2000)


class CaptionIn(BaseModel, extra="forbid"):
    """A caption: its text, or the fields that it is made of, or both."""

    text: str | None = Field(default=None, max_length=20_000, description="Without the trigger word; empty: none.")
    fields: FieldsIn | None = None
    template: str = Field(default="", max_length=1000, description="How fields become the text.")


class CaptionsChangeIn(BaseModel, extra="forbid"):
    """A change of many captions."""

    operation: Literal["replace", "add_tag", "remove_tag"]
    find: str = Field(default="", max_length=2000, description="For replace: what is replaced, as it is written.")
    replacement: str = Field(default="", max_length=2000)
    tag: str = Field(default="", max_length=2000, description="For add_tag and remove_tag.")
    images: list[str] | None = Field(default=None, description=_IMAGES)
    search: str = Field(default="", max_length=2000, description="As in GET /models/{id}/images.")
    preview: bool = Field(default=False, description="Only say what would become of them.")


class UploadIn(BaseModel, extra="forbid"):
    """A file to be sent in parts."""

    name: str = Field(max_length=1000, description="Of an image, a caption file, or a .zip of them.")
    size: int = Field(description="In bytes.")
    sha256: str = Field(default="", max_length=64, description="Of the whole file, hex; checked when it is complete.")


class Version(BaseModel):
    """What a training of a model came to, or a LoRA that was imported, merged or resized."""

    id: str
    model: str
    number: int = Field(description="1 for the first.")
    job: str | None
    parent: str | None = Field(description="Id of the version that it was made from.")
    origin: Origin = Field(description="How it was made.")
    file: str
    sha256: str
    published: str = Field(description="Where it was copied to for use; empty where it was not.")
    facts: dict[str, Any] = Field(
        description="Steps, loss, seconds, size in bytes, config; of a merge `lineage` and `error`, of an import what "
        "the file's metadata say."
    )
    created: str
    address: str = Field(description="Where the file can be fetched.")
    review: Reviewed
    published_as: PublishedAs | None = Field(description="null where nothing of this version is published now.")


class Versions(BaseModel):
    """The versions of a model, the newest first."""

    items: list[Version]


class ModelState(BaseModel):
    """How far a model is."""

    standing: Standing
    share: float | None = Field(description="Of the steps done, 0 to 1, while it trains.")
    reason: str
    job: str | None
    versions: int
    review: str = Field(description="Of the newest version: `none`, `requested`, `approved` or `rejected`.")


class Model(BaseModel):
    """A model."""

    id: str
    name: str
    kind: Kind
    trigger_word: str
    folder: str
    config: dict[str, Any]
    tags: list[str]
    retired: str | None = Field(description="When it was put aside; null while it is in use.")
    created: str
    changed: str
    state: ModelState
    covers: list[str] = Field(description="Addresses of up to four small images.")


class ImageCounts(BaseModel):
    """How many images there are."""

    images: int
    included: int
    excluded: int
    good: int
    doubtful: int
    bad: int
    unchecked: int
    captioned: int
    without_caption: int
    skipped: int


class Use(BaseModel):
    """Jobs that drew with a model's LoRAs, or made others of them."""

    count: int
    last: str | None = Field(description="When the last of them was queued.")


class WholeModel(Model):
    """A model with its images counted."""

    counts: ImageCounts | None = Field(description="null where the folder cannot be read.")
    problem: str = Field(description="Why it cannot be trained like this, as a sentence; empty where it can.")
    in_the_way: str = Field(
        description="A LoRA of this name that is not the model's; it is renamed when the first version is done."
    )
    use: Use


class ModelPage(BaseModel):
    """Some models, the last changed first."""

    items: list[Model]
    total: int
    next: str | None


class TriggerWord(BaseModel):
    """A word, and what the text encoder makes of it."""

    word: str
    tokens: int
    known: list[str] = Field(description="Words in it that the base model knows.")
    advice: str
    used: bool = Field(description="Whether another model has it.")


class Reason(BaseModel):
    """A finding on an image."""

    code: str
    grade: Grade
    text: str


class TrainedPart(BaseModel):
    """The size that an image is trained at, and what its bucket leaves of it."""

    width: int
    height: int
    crop: list[float] = Field(
        description="Left, top, right, bottom, as shares of the edited image; of random crops the first."
    )


class Image(BaseModel):
    """An image of a model."""

    name: str
    address: str
    thumbnail: str
    width: int | None = Field(description="Upright and edited, as trained; null where the file is broken.")
    height: int | None
    rotate: int = Field(description="By hand, in degrees clockwise: 0, 90, 180 or 270.")
    crop: list[float] | None = Field(
        description="By hand: left, top, right, bottom, as shares of the rotated image; null: not cropped."
    )
    trained: TrainedPart | None = Field(
        description="With the model's settings as they are now; null where they are wrong, where the file is broken, "
        "and where the base model is not known, or only just being looked at."
    )
    bytes: int
    excluded: bool
    caption: str
    fields: dict[str, Any]
    by: str = Field(description="The captioner that wrote the caption; empty: a person or another tool.")
    verdict: Grade | None = Field(description="Of the last check; null where it has not been checked.")
    reasons: list[Reason]


class ImagePage(BaseModel):
    """Some images, by name."""

    items: list[Image]
    counts: ImageCounts
    skipped: list[dict[str, Any]] = Field(description="What looks like an image and cannot be used, with the reason.")
    warnings: list[str]
    next: str | None


class ModelReport(BaseModel):
    """The quality report on a model's images."""

    checked: bool
    resolution: int | None
    counts: ImageCounts
    pictures: list[dict[str, Any]]
    duplicates: list[dict[str, Any]]
    advice: list[str]
    settings: dict[str, Any] | None


class CaptionChange(BaseModel):
    """What becomes of a caption."""

    image: str
    before: str
    after: str


class CaptionsChanged(BaseModel):
    """What has become of captions, or would."""

    changed: int
    changes: list[CaptionChange] = Field(description="The first 500.")
    kept: list[str] = Field(description="Images that were not undone, as they have been changed since.")
    undoable: list[str] = Field(description="What can be undone, the last first.")


class Captions(BaseModel):
    """The words of a model's captions."""

    words: list[dict[str, Any]] = Field(description="Tags with the number of images that have them, most first.")
    undoable: list[str]


class Taken(BaseModel):
    """What came of a file that was sent."""

    images: list[str] = Field(description="Names of what was taken in, images and captions.")
    skipped: list[dict[str, Any]]
    counts: ImageCounts


class Upload(BaseModel):
    """A file that is being sent."""

    id: str
    model: str
    name: str
    size: int
    sha256: str
    received: int = Field(description="Bytes that are there: where the next part begins.")
    created: str
    changed: str


class Uploads(BaseModel):
    """The open uploads of a model."""

    items: list[Upload]
