"""Text files beside images: ``NAME.txt``, ``NAME.caption``, ``NAME.png.txt``, ``NAME.png.caption``, in this order of
precedence, their extension in upper or lower case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from . import text_file
from .caption import tidy
from .names import plain, stem
from .text_file import Unknown

EXTENSIONS = (".txt", ".caption")


@dataclass(frozen=True)
class Sidecar:
    """The text files of an image.

    Attributes:
        caption: of the first one that holds text; empty where none does, None where there is no file.
        file: where it was read, relative to the folder of the images.
        differing: a file that says something else.
        unread: a file that cannot be read, empty where all can.
        reason: why not.
    """

    caption: str | None = None
    file: str = ""
    differing: str = ""
    unread: str = ""
    reason: str = ""


class Sidecars:
    """The text files beside the images of a folder."""

    def __init__(self, root: Path, names: Iterable[str], texts: Iterable[str], encoding: str = "") -> None:
        """Find them.

        Args:
            root: the folder.
            names: of its images, relative to it, as are ``texts``.
            texts: all files that may be captions.
            encoding: of those that are neither UTF-8 nor UTF-16.
        """
        self._root = root
        self._encoding = encoding
        self._texts: dict[str, list[str]] = {}
        for text in texts:
            self._texts.setdefault(plain(text), []).append(text)
        names = list(names)
        self._stems = {stem(name) for name in names} | set(names)
        self._files = {name: self._files_of(name) for name in names}

    def files(self, name: str) -> Sequence[str]:
        """An image's text files, in order of precedence."""
        return self._files.get(name, ())

    def read(self, name: str) -> Sidecar:
        """What an image's text files say."""
        readable: list[tuple[str, str]] = []
        unread = reason = ""
        for file in self.files(name):
            try:
                readable.append((tidy(self._text(file)), file))
            except Unknown as error:
                unread, reason = unread or file, reason or str(error)
            except OSError as error:
                unread, reason = unread or file, reason or f"cannot be read ({error.strerror})"
        texts = [one for one in readable if one[0]] or readable
        if not texts:
            return Sidecar(unread=unread, reason=reason)
        caption, file = texts[0]
        differing = next((other for text, other in texts[1:] if text != caption), "")
        return Sidecar(caption, file, differing, unread, reason)

    def orphans(self) -> list[str]:
        """Text files that belong to no image."""
        used = {file for files in self._files.values() for file in files}
        return sorted(text for texts in self._texts.values() for text in texts if text not in used)

    def _text(self, file: str) -> str:
        path = self._root / file
        try:
            return text_file.read_text(path, self._encoding)
        except Unknown:
            if self._encoding or not self._shared_encoding:
                raise
            return text_file.read_text(path, self._shared_encoding)

    @cached_property
    def _shared_encoding(self) -> str:
        """Of the text files together: one short caption may not show in which it is, a folder of them does."""
        contents = []
        for files in self._files.values():
            for file in files:
                try:
                    contents.append((self._root / file).read_bytes())
                except OSError:
                    continue  # reported where it is read
        return text_file.shared_encoding(contents)

    def _files_of(self, name: str) -> list[str]:
        ordered = []
        for owner in (stem(name), name):
            for extension in EXTENSIONS:
                files = self._texts.get(plain(owner + extension), [])
                exact = [file for file in files if stem(file) == owner]
                # One that differs in case is another image's where there is such an image.
                ordered += sorted(exact or [file for file in files if stem(file) not in self._stems], reverse=True)
        order = {extension: rank for rank, extension in enumerate(EXTENSIONS)}
        return sorted(
            dict.fromkeys(ordered),
            key=lambda file: (plain(stem(file)) != plain(stem(name)), order[PurePosixPath(file).suffix.lower()]),
        )


def is_text(name: str) -> bool:
    """Whether a file of this name may be a caption."""
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


def differing(sidecars: Mapping[str, Sidecar]) -> list[tuple[str, str]]:
    """Pairs of an image's text files that say different things: the one that is used, the other one."""
    return [(one.file, one.differing) for one in sidecars.values() if one.differing]
