"""What requests about the server itself hold, its folders, keys and settings, and what the answers look like; see
``schemas``."""

from __future__ import annotations

from typing import Literal

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
