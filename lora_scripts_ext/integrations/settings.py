"""The config files of integrations: addresses, names, and which environment variables hold the keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import UserError
from ..products import data_file


class Settings:
    """The keys of a config file, each checked as it is read."""

    def __init__(self, values: Mapping[str, Any], where: str, known: tuple[str, ...]) -> None:
        """Of the mapping in a file.

        Raises:
            UserError: it has a key that there is not.
        """
        data_file.check_keys(values, known, where)
        self._values = values
        self._where = where

    @classmethod
    def load(cls, path: Path, known: tuple[str, ...]) -> Settings:
        """Read a YAML file.

        Raises:
            UserError: it cannot be read, or has a key that there is not.
        """
        return cls(data_file.read(path), str(path), known)

    def text(self, key: str, default: str | None = None) -> str:
        """A text, without a default one that must be there.

        Raises:
            UserError: it is missing.
        """
        value = data_file.text(self._values.get(key), f"{self._where}: {key}")
        if not value and default is None:
            raise UserError(f"{self._where}: {key} is missing; write it.")
        return value or default or ""

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, which may be empty.

        Raises:
            UserError: it is something else.
        """
        return tuple(one for one in data_file.texts(self._values.get(key), f"{self._where}: {key}") if one)

    def mapping(self, key: str) -> dict[str, str]:
        """Texts by name.

        Raises:
            UserError: it is something else.
        """
        where = f"{self._where}: {key}"
        values = data_file.mapping(self._values.get(key), where)
        return {str(name): data_file.text(value, f"{where}: {name}") for name, value in values.items()}

    def url(self) -> str:
        """The address of the system, without a slash at its end.

        Raises:
            UserError: it is none, or holds a password.
        """
        url = self.text("url").rstrip("/")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise UserError(f"{self._where}: url must be an address such as https://shop.example, without keys in it.")
        return url

    def secret(self, key: str) -> str:
        """What the environment variable holds that the config names; it is in no sentence.

        Raises:
            UserError: none is named, or it is not set.
        """
        variable = self.text(key)
        value = os.environ.get(variable, "").strip()
        if not value or not value.isprintable():
            raise UserError(f"{self._where}: {key} is {variable}, which is no environment variable that holds a key.")
        return value
