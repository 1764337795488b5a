"""What requests about contact sheets, decisions and publications hold, and what the answers look like; see
``schemas``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

Verdict = Literal["requested", "approved", "rejected", "comment"]
_CHECKPOINT = "Path or name of one of the version's files; empty: "
_WHO = "Name of whoever asks for it; where a key is used, the key's name counts instead."
_TEXT, _NAME = 4000, 100


class SheetIn(BaseModel, extra="forbid"):
    """A contact sheet to be drawn; what is left out is chosen."""

    prompts: list[str] | None = Field(default=None, description="Without: subjects that no caption names.")
    strengths: list[float] | None = Field(default=None, description="Without: 0.6, 0.8 and 1.")
    checkpoints: list[str] | None = Field(
        default=None, description="Paths or names of the version's files. Without: a few, the last among them."
    )
    seed: int | None = Field(default=None, description="Of the first prompt; each further one adds 1.")
    negative_prompt: str | None = Field(default=None, max_length=_TEXT)
    width: int | None = Field(default=None, description="In pixels; 0: that of the training.")
    height: int | None = None
    steps: int | None = None
    cfg_scale: float | None = None
    sampler: str | None = Field(default=None, max_length=_NAME)
    without_lora: bool | None = Field(default=None, description="Also with the base model alone; true without it.")
    base_model: str | None = Field(default=None, max_length=_TEXT, description="Without: that of the training.")
    priority: int | None = None
    after: str | None = Field(default=None, max_length=64, description="Id of a job that it waits for.")


class DecisionIn(BaseModel, extra="forbid"):
    """What someone says about a version."""

    verdict: Verdict
    checkpoint: str = Field(default="", max_length=_TEXT, description=f"{_CHECKPOINT}all of the version.")
    strength: float | None = Field(default=None, ge=-10, le=10, description="That it is about; null: any.")
    comment: str = Field(default="", max_length=20_000)
    who: str = Field(default="", max_length=1000, description=_WHO)


class PublishIn(BaseModel, extra="forbid"):
    """What is to be published of a version."""

    checkpoint: str = Field(default="", max_length=_TEXT, description=f"{_CHECKPOINT}the finished one.")
    strength: float = Field(default=1.0, ge=-10, le=10, description="The preferred weight on the card.")
    who: str = Field(default="", max_length=_NAME, description=_WHO)
    replace: bool = Field(default=False, description="Put a file of that name which is not ours aside, as .bak.")


class RollBackIn(BaseModel, extra="forbid"):
    """How a publication is taken back."""

    who: str = Field(default="", max_length=_NAME, description=_WHO)
    replace: bool = Field(default=False, description="Also where the file there now is not what was published.")


class Checkpoint(BaseModel):
    """A file of a version."""

    file: str
    name: str
    step: int | None = Field(description="When it was written; null where the file does not say.")
    epoch: int | None
    final: bool = Field(description="Whether it is the finished file.")
    suggested: bool


class Cell(BaseModel):
    """An image of a contact sheet."""

    checkpoint: str | None = Field(description="null: without LoRA.")
    strength: float
    prompt: str
    seed: int
    image: str | None = Field(description="Address of the PNG; null before it is drawn.")
    parameters: str = Field(description="Generation parameters as the WebUI writes them.")


class Suggestion(BaseModel):
    """What the training suggests."""

    checkpoint: str
    strength: float
    reason: str
    warns: bool = Field(default=False, description="Whether the reason is one not to use it without a look.")


class Progress(BaseModel):
    """How many images are drawn."""

    done: int
    total: int


class Sheet(BaseModel):
    """A contact sheet of a version, or what one would show."""

    job: str | None
    state: str = Field(description="Of the job; none: there is none.")
    reason: str
    progress: Progress | None
    sheet: str | None = Field(description="Address of the PNG with all images; null before it is written.")
    checkpoints: list[Checkpoint] = Field(description="Those that it shows.")
    all_checkpoints: list[Checkpoint]
    strengths: list[float]
    prompts: list[str]
    seed: int
    width: int = Field(description="0: that of the training.")
    height: int
    cells: list[Cell]
    suggested: Suggestion | None


class Decision(BaseModel):
    """What someone has said about a version."""

    id: str
    verdict: Verdict
    checkpoint: str = Field(description="Path of the file; empty: all of the version.")
    name: str = Field(description="The file's name.")
    strength: float | None
    comment: str
    who: str
    at: str


class Decisions(BaseModel):
    """The decisions about a version, the newest first."""

    items: list[Decision]


class Reviewed(BaseModel):
    """How a version stands, by its last decision."""

    state: Literal["none", "requested", "approved", "rejected"]
    by: str
    at: str | None


class PublishedAs(BaseModel):
    """How a version is published."""

    checkpoint: str
    name: str
    strength: float | None = Field(description="Preferred weight; null: as the training has left it.")
    path: str
    by: str
    at: str


class Publication(BaseModel):
    """A file of a version that was put where LoRAs are used."""

    seq: int
    version: str
    number: int = Field(description="Of the version.")
    checkpoint: str
    name: str = Field(description="The checkpoint's name.")
    strength: float | None
    path: str
    who: str
    at: str
    withdrawn: str | None = Field(description="When it was taken back.")


class Publications(BaseModel):
    """The publications of a model, the newest first."""

    items: list[Publication]


class RolledBack(BaseModel):
    """What was taken back, and what counts again."""

    withdrawn: Publication
    current: Publication | None
