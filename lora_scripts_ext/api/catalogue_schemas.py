"""What requests about catalogues hold, and what the answers look like; see ``schemas``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

ProductState = Literal["ready", "unmatched", "waiting", "drawn", "failed", "approved", "rejected", "removed"]
Verdict = Literal["approved", "rejected", "undecided", "comment"]
_TEXT, _NAME = 4000, 100
_WHO = "Name of whoever says so; where a key is used, the key's name counts instead."
_FILE = "A file of the server, or what would be in it."


class SettingsIn(BaseModel, extra="forbid"):
    """Settings of a catalogue; what is left out stays, or takes what is usual."""

    name: str | None = Field(default=None, max_length=200)
    source: str | None = Field(
        default=None,
        max_length=_TEXT,
        description="Product list of the server (CSV, TSV, JSON, XLSX), or a folder of product photos.",
    )
    columns: dict[str, str] | None = Field(
        default=None, description="Field -> column, where the column's name does not say it; empty: no column."
    )
    photos_from: list[str] | None = Field(
        default=None, description="What addresses of photos begin with that are fetched; see docs/products.md."
    )
    rules: dict[str, Any] | str | None = Field(default=None, description=f"{_FILE} See docs/products.md.")
    templates: dict[str, Any] | str | None = Field(default=None, description=_FILE)
    glossary: dict[str, Any] | str | None = Field(default=None, description=_FILE)
    words: dict[str, Any] | str | None = Field(default=None, description=_FILE)
    channels: list[str] | None = Field(default=None, description="By name, see GET /channels, or by file.")
    language: Literal["en", "zh"] | None = Field(default=None, description="That the base model understands.")
    base_model: str | None = Field(default=None, max_length=_TEXT, description="Empty: that of the server.")
    webui: str | None = Field(default=None, max_length=_TEXT, description="Address of another WebUI that draws.")
    webui_login: str | None = Field(
        default=None, max_length=_NAME, description="Environment variable with its USER:PASSWORD."
    )
    control: dict[str, Any] | None = Field(
        default=None, description="For control images: ControlNet's `preprocessor`, `model` and `weight`."
    )
    reference: dict[str, Any] | None = Field(default=None, description="Likewise for an IP-Adapter.")
    seed: int | None = None
    candidates: int | None = Field(default=None, description="Images of each product.")
    negative_prompt: str | None = Field(default=None, max_length=_TEXT)
    width: int | None = Field(default=None, description="In pixels; 0: the base model's.")
    height: int | None = None
    steps: int | None = None
    cfg_scale: float | None = Field(default=None, description="0: the base model's.")
    sampler: str | None = Field(default=None, max_length=_NAME)
    keep_product: bool | None = Field(default=None, description="Keep the products of photos with a mask.")
    producer: str | None = Field(default=None, max_length=_NAME, description="Of the images, for their labels.")
    market: str | None = Field(
        default=None, max_length=10, description="Country whose law on visible marks counts, such as CN."
    )
    visible_mark: Literal["ask", "without", "with", "leave out"] | None = Field(
        default=None, description="What counts where that law wants a visible mark and a channel forbids it."
    )
    write_parameters: bool | None = Field(default=None, description="Write generation parameters into the images.")


class CatalogueIn(SettingsIn):
    """A catalogue to be made, or a list to be tried."""

    products: list[dict[str, Any]] | None = Field(
        default=None, description="Rows in place of a list: columns are those of a list, paths absolute."
    )


class RowsIn(BaseModel, extra="forbid"):
    """The list again: as its file is now, or rows in its place."""

    products: list[dict[str, Any]] | None = None
    partial: bool = Field(
        default=False, description="`products` are those that are new or have changed, whole; the others stay."
    )
    removed: list[str] = Field(default=[], description="With `partial`, SKUs of products that are not there any more.")


class Photo(BaseModel):
    """A photo that was sent to be compared."""

    photo: str = Field(description="Its path on the server, for a job of the kind `comparison`.")


class LoraIn(BaseModel, extra="forbid"):
    """A LoRA of a product: a file, or the name of a model of the library."""

    file: str = Field(default="", max_length=_TEXT)
    name: str = Field(default="", max_length=200)
    weight: float = 1.0


class ShopCopy(BaseModel, extra="forbid"):
    """What a shop says of a product."""

    title: str = Field(max_length=_TEXT)
    points: list[str] = Field(default_factory=list, description="Selling points.")
    language: Literal["en", "zh"] = "en"


class ProductIn(BaseModel, extra="forbid"):
    """What a person changes of a product; null takes a change back, what is left out stays."""

    prompt: str | None = Field(default=None, max_length=_TEXT)
    negative: str | None = Field(default=None, max_length=_TEXT)
    loras: list[LoraIn] | None = None
    # Pydantic's models have a method of this name.
    shop_copy: ShopCopy | None = Field(default=None, alias="copy")


class CopyIn(BaseModel, extra="forbid"):
    """Who writes copy."""

    service: str = Field(
        default="", max_length=_NAME, description="Name of an endpoint in service.yaml; GET /settings lists them."
    )
    endpoint: str = Field(
        default="", max_length=_TEXT, description="In place of it: an OpenAI-compatible service that is allowed."
    )
    model: str = Field(default="", max_length=200, description="As the service calls it; empty: its default.")
    key_from: str = Field(default="", max_length=_NAME, description="Environment variable that holds its key.")
    language: Literal["en", "zh"] = "en"
    products: list[int] | None = Field(default=None, description="Ids; without: all that have no copy.")


class DrawIn(BaseModel, extra="forbid"):
    """What is to be drawn."""

    products: list[int] | None = Field(default=None, description="Ids; without: all.")
    candidates: int | None = Field(default=None, ge=1, le=100, description="Of each product; without: the setting.")
    base_model: str | None = Field(default=None, max_length=_TEXT)
    priority: int = 0
    after: str | None = Field(default=None, max_length=64, description="Id of a job that it waits for.")


class MoreIn(BaseModel, extra="forbid"):
    """More candidates of a product."""

    count: int = Field(default=1, ge=1, le=100)
    replaces: int | None = Field(default=None, description="Number of a candidate that is rejected meanwhile.")
    who: str = Field(default="", max_length=1000, description=_WHO)


class ChoiceIn(BaseModel, extra="forbid"):
    """What someone says about a candidate; ``undecided`` takes back what was decided."""

    verdict: Verdict
    comment: str = Field(default="", max_length=20_000)
    crop: list[float] | None = Field(
        default=None, description="Left, top, right, bottom as shares of the sides; null: all of it."
    )
    who: str = Field(default="", max_length=1000, description=_WHO)


class ExportIn(BaseModel, extra="forbid"):
    """How images are handed over."""

    channels: list[str] | None = Field(default=None, description="Without: the catalogue's.")
    output_dir: str | None = Field(default=None, max_length=_TEXT, description="Without: in the catalogue.")
    undecided: bool = Field(
        default=False, description="Also the first image of products that nobody has decided about."
    )


class FeedbackIn(BaseModel, extra="forbid"):
    """Where chosen images go."""

    model: str = Field(default="", max_length=64, description="Id of the model whose training set it is.")
    folder: str = Field(default="", max_length=_TEXT, description="Folder of a training set, in place of a model.")
    share: float = Field(default=0.3, gt=0, le=1, description="Of generated images in the set, at most.")
    trigger_word: str = Field(
        default="",
        max_length=200,
        description="Of the set's model, which its captions leave out; without: that of `model`.",
    )


class LoraUsed(BaseModel):
    """A LoRA of a product."""

    file: str
    name: str
    weight: float


class Candidate(BaseModel):
    """An image of a product."""

    number: int
    seed: int
    state: Literal["waiting", "drawn", "failed"]
    error: str
    image: str | None = Field(description="Address of the PNG; null before it is drawn.")
    thumbnail: str | None = Field(description="Address of a small JPEG.")
    verdict: Literal["", "approved", "rejected"]
    crop: list[float] | None
    place: int | None = Field(description="Among the approved ones of its product, from 1; the first is the main one.")
    facts: dict[str, Any] = Field(description="How it was drawn: prompt, models with hashes and versions, size.")
    made: str | None


class CatalogueProduct(BaseModel):
    """A product of a catalogue."""

    id: int
    sku: str
    row: int
    title: str
    category: str
    description: str
    tags: list[str]
    attributes: dict[str, str]
    photo: str = Field(description="Path as in the list.")
    rule: str = Field(description="Name of the one that fits; empty: none.")
    matched: bool
    prompt: str
    negative: str
    loras: list[LoraUsed]
    alt: dict[str, str] = Field(description="Alt texts by language.")
    shop_copy: ShopCopy | None = Field(alias="copy")
    warnings: list[str]
    edited: list[str] = Field(description="What a person has changed.")
    state: ProductState
    candidates: list[Candidate]


class ProductPage(BaseModel):
    """A part of the products."""

    items: list[CatalogueProduct]
    next: str | None


class Choice(BaseModel):
    """What someone has said about a candidate."""

    id: int
    number: int
    verdict: Verdict
    comment: str
    crop: list[float] | None
    who: str
    at: str


class Choices(BaseModel):
    """The decisions about a product's candidates, the newest first."""

    items: list[Choice]


class CatalogueJob(BaseModel):
    """The newest job of a kind for a catalogue."""

    id: str
    state: str
    reason: str
    progress: dict[str, Any]
    result: dict[str, Any]


class Catalogue(BaseModel):
    """A catalogue."""

    id: str
    name: str
    created: str
    products: int
    counts: dict[str, int] = Field(description="Products by state.")
    candidates: dict[str, int] = Field(description="Images by state.")
    job: CatalogueJob | None = Field(description="That draws, or has drawn.")
    export: CatalogueJob | None = Field(description="That hands over, or has.")
    writing: CatalogueJob | None = Field(description="That writes copy, or has.")


class WholeCatalogue(Catalogue):
    """A catalogue with its settings."""

    settings: dict[str, Any]
    columns: dict[str, str] = Field(description="Field -> column, as the list was read last; empty: it has none.")
    categories: list[str]
    problems: int = Field(description="Rows of the list that cannot be used.")
    manifest: str | None = Field(description="Address of the manifest; null before there is one.")


class Catalogues(BaseModel):
    """The catalogues, the newest first."""

    items: list[Catalogue]


class CatalogueRules(BaseModel):
    """The rules of a catalogue, in their order."""

    rules: list[dict[str, Any]] = Field(description="See docs/products.md; paths are absolute, values are texts.")


class CatalogueTemplates(BaseModel):
    """The templates of a catalogue, in their order, without those that ship."""

    templates: list[dict[str, Any]] = Field(description="See docs/products.md.")


class CatalogueGlossary(BaseModel):
    """The glossary of a catalogue, without the terms that ship."""

    terms: dict[str, str] = Field(description="Term -> words for it; empty: it is left out of prompts.")


class Photos(BaseModel):
    """Photos that were sent along with a list."""

    photos: list[str] = Field(description="Names of those that were taken, relative to the list.")
    skipped: list[dict[str, str]] = Field(description="What was not taken: `name`, `reason`.")
    folder: str = Field(description="Where they lie; as `source` each of them is a product.")


class RowProblem(BaseModel):
    """What is wrong with a row of the list."""

    row: int
    column: str
    sentence: str


class RowProblems(BaseModel):
    """The rows of the list that cannot be used."""

    items: list[RowProblem]


class Changes(BaseModel):
    """What has changed in the list: SKUs."""

    added: list[str]
    changed: list[str]
    removed: list[str]


class Checked(BaseModel):
    """What would come of a list."""

    products: int
    columns: dict[str, str]
    headers: list[str]
    problems: list[RowProblem]
    rules: dict[str, int] = Field(description="Rule -> products that it is used for.")
    unmatched: list[str] = Field(description="SKUs that no rule fits, the first 1000.")
    unmatched_count: int
    unused: list[str]
    warnings: list[str]
    prompts: list[dict[str, str]] = Field(description="Warnings about prompts, by SKU.")
    unknown: list[dict[str, Any]] = Field(description="`term`s that the glossary does not have, each with `products`.")
    examples: list[dict[str, Any]] = Field(description="Of each rule the first product, as it would be drawn.")


class Drawing(BaseModel):
    """What waits to be drawn, and the job that does it."""

    waiting: int
    job: str


class Channel(BaseModel):
    """A sales channel that ships."""

    name: str
    title: str
    source: str
    date: str
    note: str
    role: str
    position: int
    format: str
    background: str
    visible_mark: str
    size: dict[str, Any] = Field(description="`low` and `high` (null: no limit), or `width` with any height.")
    question: str | None = Field(description="What has to be answered for the market; null: nothing.")
    answers: dict[str, str]


class Channels(BaseModel):
    """The channels that ship."""

    items: list[Channel]


class Feedback(BaseModel):
    """What came of feeding images back."""

    folder: str
    added: list[str]
    kept: int
    left_out: int
    share: float
