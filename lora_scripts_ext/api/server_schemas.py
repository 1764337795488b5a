"""What requests about the server itself hold, its folders, keys and settings, and what the answers look like; see
``schemas``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

Scope = Literal["read", "write"]


class FolderOfFolder(BaseModel):
    """A folder in a list."""

    path: str
    name: str
    images: int | None = Field(description="Image files right in it, of the first 1000; null where not counted.")


class Folder(BaseModel):
    """A folder of the server."""

    path: str = Field(description="Empty for the list of where to begin.")
    name: str
    parent: str | None = Field(description="Path of the folder around it; null where that may not be read.")
    folders: list[FolderOfFolder]
    images: int = Field(description="Image files right in it.")
    more: bool = Field(description="Whether some of its folders or images are left out.")


class SessionIn(BaseModel, extra="forbid"):
    """A browser's login."""

    key: str = Field(max_length=200, description="As `keys add` has printed it.")


class Session(BaseModel):
    """Whether a browser is logged in."""

    needed: bool = Field(description="Whether a key is needed at all.")
    scope: Scope | None = Field(description="What may be done: read, or write; null: nothing before a key is sent.")


class KeyIn(BaseModel, extra="forbid"):
    """A key to be made."""

    name: str = Field(max_length=100, description="What it is for.")
    scope: Scope = Field(default="write", description="read: it may look, but change nothing.")


class Key(BaseModel):
    """A key without its secret."""

    id: str
    name: str
    scope: Scope
    created: str
    revoked: str | None


class NewKey(Key):
    """A new key, with its secret."""

    key: str = Field(description="The secret, which is shown only now.")


class KeyList(BaseModel):
    """All keys, oldest first, the revoked ones, too."""

    items: list[Key]


class SettingsIn(BaseModel, extra="forbid"):
    """Settings to be changed."""

    values: dict[str, Any] = Field(description="By their keys; what is left out stays.")


class Needs(BaseModel):
    """Another setting and the value that it must have."""

    key: str
    value: str


class Setting(BaseModel):
    """Something that users may set."""

    key: str
    group: str
    label: str
    help: str
    type: Literal["choice", "number", "window", "flag"] = Field(
        description="window: times of day such as 22:00-06:00; flag: true or false."
    )
    choices: list[str] | None
    choice_labels: list[str] | None = Field(description="What a form calls each of the choices.")
    minimum: float | None
    maximum: float | None
    value: Any = Field(description="What it is now.")
    default: Any = Field(description="What it is where nobody has set it.")
    editable: bool = Field(description="Whether it can be changed here.")
    where: str = Field(description="Where it is kept, as a phrase.")
    needs: Needs | None = Field(description="Without which it has no effect; null: it always has.")


class Facts(BaseModel):
    """What the server was started with."""

    data_dir: str
    lora_dir: str = Field(description="Where finished LoRAs are.")
    roots: list[str] = Field(description="Folders below which is read and written; empty: everywhere.")
    keys: bool = Field(description="Whether keys open this server to other machines, and the caller may manage them.")


class OperatorFile(BaseModel):
    """The file that the operator edits for what no request can change."""

    path: str
    exists: bool
    problem: str = Field(description="Why it cannot be used, as a sentence; empty where it can.")


class LastDelivery(BaseModel):
    """The newest message of a webhook."""

    at: str = Field(description="When it was to be sent first.")
    state: Literal["waiting", "failing", "delivered", "given_up"]
    tries: int
    reason: str = Field(description="Why it was given up.")


class Webhook(BaseModel):
    """An address that receives what becomes of jobs."""

    name: str
    url: str = Field(description="Without its query; for a caller with a key only the host.")
    events: list[str] = Field(description="The states of jobs that are sent.")
    last: LastDelivery | None = Field(description="null: nothing was sent in the last seven days.")


class LastFetch(BaseModel):
    """The last run of a program that brings images."""

    at: str
    outcome: str = Field(description="How it ended, as a sentence; empty while it runs.")
    code: int | None


class Fetch(BaseModel):
    """A program that brings images."""

    name: str
    hour: str
    last: LastFetch | None


class NamedEndpoint(BaseModel):
    """A captioning service that images may be sent to."""

    name: str
    url: str = Field(description="Without its query.")


class ServerSettings(BaseModel):
    """What users may set, and what the operator has set."""

    settings: list[Setting]
    facts: Facts
    service_file: OperatorFile
    webhooks: list[Webhook]
    fetch: list[Fetch]
    endpoints: list[NamedEndpoint]
