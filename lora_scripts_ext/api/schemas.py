"""What requests hold, and what answers look like, for both versions of pydantic that WebUIs ship.

Answers are not checked against their models, which are there for the document.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

JobState = Literal["queued", "starting", "running", "stopping", "done", "failed", "stopped", "cancelled"]
_PRIORITY = 1_000_000
_WINDOW = "Times of day at which it may start, such as 22:00-06:00; empty for any."
_NOT_BEFORE = "ISO 8601 time before which it is not started; without a zone, that of the server."
_AFTER = "Id of a job that must be done before."


def given(model: BaseModel) -> dict[str, Any]:
    """The fields that the request has."""
    names = getattr(model, "model_fields_set", None)
    # pydantic 1 calls them otherwise.
    return {name: getattr(model, name) for name in (model.__fields_set__ if names is None else names)}


class JobIn(BaseModel, extra="forbid"):
    """A job to be queued."""

    kind: str = Field(default="train", max_length=40, description="What is done; GET /system lists the kinds.")
    config: dict[str, Any] = Field(
        default_factory=dict, description="Of a training the keys of GET /config/schema, of another kind its own."
    )
    name: str = Field(default="", max_length=200, description="What lists call it; empty takes a name from the config.")
    model: str | None = Field(default=None, max_length=64, description="Id of the model that it works for.")
    after: str | None = Field(default=None, max_length=64, description=_AFTER)
    priority: int = Field(default=0, ge=-_PRIORITY, le=_PRIORITY, description="Higher ones are started first.")
    not_before: str | None = Field(default=None, max_length=40, description=_NOT_BEFORE)
    window: str = Field(default="", max_length=40, description=_WINDOW)


class JobsIn(BaseModel, extra="forbid"):
    """Jobs to be queued, all or none."""

    jobs: list[JobIn]


class JobChangeIn(BaseModel, extra="forbid"):
    """What is to be changed of a queued job; what is left out stays."""

    priority: int | None = Field(default=None, ge=-_PRIORITY, le=_PRIORITY, description="Higher ones first.")
    after: str | None = Field(default=None, max_length=64, description=f"{_AFTER} null: none.")
    not_before: str | None = Field(default=None, max_length=40, description=f"{_NOT_BEFORE} null: at once.")
    window: str | None = Field(default=None, max_length=40, description=_WINDOW)


class MoveIn(BaseModel, extra="forbid"):
    """A new place in the queue."""

    before: str | None = Field(default=None, max_length=64, description="The job that it comes before; null: the last.")


class RetryIn(BaseModel, extra="forbid"):
    """How a job is tried again."""

    config: dict[str, Any] | None = Field(default=None, description="Instead of its own.")
    draft: bool = Field(default=False, description="With the settings that its model has by now, instead of its own.")


class EstimateIn(BaseModel, extra="forbid"):
    """What a training would take."""

    config: dict[str, Any] = Field(default_factory=dict, description="The keys of GET /config/schema.")


class Change(BaseModel):
    """A job's step to another state."""

    seq: int
    job: str
    at: str
    state: JobState
    reason: str


class Attempt(BaseModel):
    """One try at a job."""

    id: int
    job: str
    fence: int = Field(description="Its number; results of older ones are refused.")
    lane: str = Field(description="Machine and device.")
    pid: int
    pid_started: str
    host: str
    beat: int = Field(description="Grows while its process lives.")
    best_step: int
    started: str
    ended: str | None
    outcome: str = Field(description="The state it ended with, requeued, or empty while it runs.")
    reason: str


class Job(BaseModel):
    """A job."""

    id: str
    kind: str
    name: str
    state: JobState
    reason: str = Field(description="Why it is in this state, as a sentence.")
    waits_for: str = Field(description="Why it does not run yet, as a sentence.")
    status: str = Field(description="What it is doing, as a sentence.")
    priority: int
    after: str | None
    not_before: str | None
    window: str
    model: str | None
    source: str = Field(description="The file that the config was read from.")
    output_dir: str
    progress: dict[str, Any] = Field(description="The newest figures, by the names of its events.")
    result: dict[str, Any]
    resumes: bool = Field(description="Whether the next attempt continues.")
    attempt: int
    created: str
    changed: str


class WholeJob(Job):
    """A job with everything that happened to it."""

    config: dict[str, Any]
    attempts: list[Attempt]
    changes: list[Change]


class JobPage(BaseModel):
    """Some jobs: what runs, the queue in its order, what has ended, the newest first."""

    items: list[Job]
    next: str | None = Field(description="The cursor of the next page; null after the last.")


class WholeJobs(BaseModel):
    """Jobs that were queued together."""

    items: list[WholeJob]


class QueueState(BaseModel):
    """The queue as a whole."""

    paused: bool = Field(description="Whether no job is started.")
    counts: dict[str, int] = Field(description="Jobs by state.")


class Report(BaseModel):
    """How a job is going; the figures of its newest events stand beside these members."""

    curve: list[list[float]] = Field(description="[step, loss], at most 400 points.")
    held_out: list[dict[str, Any]] = Field(
        description="Mean loss on the held-out images at `step` and `epoch`: `loss` with the LoRA, `base` without."
    )
    previews: list[dict[str, Any]]
    checkpoints: list[dict[str, Any]]
    skipped: list[dict[str, Any]]
    warnings: list[str]


class JobFile(BaseModel):
    """A file of a job."""

    path: str
    bytes: int
    address: str = Field(description="From where it is fetched, below this server.")


class JobFiles(BaseModel):
    """The files of a job that can be fetched."""

    items: list[JobFile]


class ConfigKey(BaseModel):
    """A key of a training's config."""

    key: str
    label: str
    help: str
    type: Literal["string", "integer", "number", "boolean", "array", "object"]
    items: str | None = Field(description="Type of the items of an array.")
    nullable: bool
    choices: list[str] | None
    choice_labels: list[str] | None = Field(description="What a form calls each of the choices.")
    minimum: float | None
    maximum: float | None
    above: float | None = Field(description="It must be greater than this.")
    default: Any = Field(description="Its value when it is not given; null where that depends on other keys.")
    group: str
    shown: Literal["first", "folded", "standalone", "never"] = Field(description="Where a form shows it.")
    path: bool = Field(description="Whether it names a file or folder of the server.")


class ConfigSchema(BaseModel):
    """The keys of a training's config."""

    keys: list[ConfigKey]
    groups: list[str]


class Preset(BaseModel):
    """A config that ships, without its paths."""

    name: str
    title: str
    config: dict[str, Any]


class Presets(BaseModel):
    """The presets."""

    items: list[Preset]


class Estimate(BaseModel):
    """What a training would take; sizes in bytes."""

    family: str
    prediction_type: str | None
    pictures: int
    held_out_pictures: int = Field(description="Of these, not trained on: the loss on them is measured.")
    buckets: dict[str, int] = Field(description="Images by width x height.")
    skipped: list[dict[str, Any]]
    without_caption: int
    steps: int
    steps_per_epoch: int
    layers: int
    parameters: int
    file_bytes: int
    memory_bytes: int
    free_bytes: int | None
    images_at_once: int
    fits: bool
    seconds: float
    device: str
    warnings: list[str]
    notes: list[str]


class Captioner(BaseModel):
    """A captioner and what it needs."""

    name: str
    needs: str
    options: list[str] = Field(description="Which of a captioning's options it reads, such as model.")


class Device(BaseModel):
    """Where trainings run; sizes in bytes, null where unknown."""

    type: str
    name: str
    total_bytes: int | None
    free_bytes: int | None


class System(BaseModel):
    """The server."""

    version: str
    host: str = Field(description="What trainings run in: worker, or webui.")
    base_model: str = Field(description="The model of trainings that name none; empty where there is none.")
    device: Device
    memory_free_bytes: int | None
    disk_free_bytes: int | None
    data_dir: str
    queue: QueueState
    kinds: list[str] = Field(description="Kinds of jobs.")
    keys: bool = Field(description="Whether keys are what opens this server to other machines; not in a WebUI.")
    captioners: list[Captioner]
    limits: dict[str, float]
    streams: int = Field(description="Open event streams.")
