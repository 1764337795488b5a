"""What is wrong with an image, in words that its owner understands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .measure import Measures

Grade = Literal["good", "doubtful", "bad"]

# Blurring with a radius of 2 pixels at the training size gives 0.49 to 0.55, with 3 pixels 0.65 and more.
_SOFT, _BLURRED = 0.5, 0.6
_FAR_TOO_SMALL = 0.7
_LONG, _FAR_TOO_LONG = 2.0, 3.0
_DARK = 60.0
_FLAT = 25.0
_BURNT = 0.35
# Studio shots and plain rooms stay below 0.05, shelves and foliage are above.
_CLUTTERED = 0.12


@dataclass(frozen=True)
class Reason:
    """One finding: ``code`` for programs, ``text`` for people."""

    code: str
    grade: Grade
    text: str


@dataclass(frozen=True)
class Verdict:
    """An image's grade is that of its worst finding."""

    name: str
    reasons: tuple[Reason, ...] = ()

    @property
    def grade(self) -> Grade:
        """``good`` where nothing was found."""
        grades = {reason.grade for reason in self.reasons}
        return "bad" if "bad" in grades else "doubtful" if "doubtful" in grades else "good"


def of_image(measured: Measures, resolution: int) -> list[Reason]:
    """The findings on an image by itself; ``resolution`` is the side that the base model was trained at."""
    return [*_of_size(measured, resolution), *_of_light(measured), *_of_sharpness(measured)]


def of_caption(caption: str, count_tokens: Callable[[str], int], longest: int) -> list[Reason]:
    """The findings on a caption; the text encoder reads ``longest`` tokens of it."""
    if not caption:
        return [Reason("caption_missing", "doubtful", "has no caption")]
    tokens = count_tokens(caption)
    if tokens > longest:
        text = f"its caption has {tokens} tokens, only the first {longest} are read; shorten it"
        return [Reason("caption_too_long", "doubtful", text)]
    return []


def _of_size(measured: Measures, resolution: int) -> list[Reason]:
    short, long = sorted((measured.width, measured.height))
    reasons = []
    if short < resolution:
        grade: Grade = "bad" if short < _FAR_TOO_SMALL * resolution else "doubtful"
        reasons.append(Reason("too_small", grade, f"{short} pixels on its shorter side, {resolution} are wanted"))
    if long > _LONG * short:
        grade = "bad" if long > _FAR_TOO_LONG * short else "doubtful"
        reasons.append(Reason("aspect", grade, f"{long / short:.1f} times as long as wide; its ends will be cut off"))
    return reasons


def _of_light(measured: Measures) -> list[Reason]:
    reasons = []
    if measured.dark < _DARK:
        reasons.append(Reason("too_dark", "bad", "too dark: hardly anything in it is lit"))
    if measured.contrast < _FLAT and measured.dark >= _DARK:
        reasons.append(Reason("flat", "doubtful", "washed out, or empty: hardly any difference between light and dark"))
    if measured.burnt > _BURNT:
        text = f"over-exposed: {measured.burnt:.0%} of what it shows is burnt out to white"
        reasons.append(Reason("over_exposed", "bad", text))
    return reasons


def _of_sharpness(measured: Measures) -> list[Reason]:
    reasons = []
    if measured.blur > _SOFT:
        bad = measured.blur > _BLURRED
        text = "blurred: nothing in it is sharp" if bad else "a little blurred"
        reasons.append(Reason("blurred", "bad" if bad else "doubtful", text))
    if measured.clutter > _CLUTTERED:
        reasons.append(Reason("cluttered", "doubtful", "its background is busy; the model may learn that instead"))
    return reasons
