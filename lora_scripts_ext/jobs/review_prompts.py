"""Prompts of subjects that a model has not been trained on: whether what it has learned carries over."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

_COUNT = 4
# Of the captions: what so many begin with is what the images show.
_COMMON_SHARE = 0.3
_CHINESE = re.compile("[\u2e80-\u9fff]")

#: what is asked for -> the words by which a caption would show that it is in the training set, too
Candidates = Sequence[tuple[str, tuple[str, ...]]]

_SUBJECTS: Candidates = (
    ("a pair of headphones", ("headphone", "headset", "earphone", "耳机")),
    ("a wooden chair", ("chair", "armchair", "stool", "椅")),
    ("a coffee mug", ("mug", "cup", "杯")),
    ("a bicycle", ("bicycle", "bike", "自行车", "单车")),
    ("a leather backpack", ("backpack", "bag", "rucksack", "包")),
    ("a bowl of fruit", ("bowl", "fruit", "水果", "碗")),
    ("a table lamp", ("lamp", "light bulb", "台灯", "灯")),
    ("a pair of sneakers", ("sneaker", "shoe", "trainer", "boot", "鞋")),
    ("a wrist watch", ("watch", "clock", "手表", "钟")),
    ("a potted plant", ("plant", "flower", "pot", "植物", "花")),
    ("an umbrella", ("umbrella", "parasol", "伞")),
    ("a teapot", ("teapot", "kettle", "茶壶")),
    ("a camera", ("camera", "相机")),
    ("a cat", ("cat", "kitten", "猫")),
)
_SCENES: Candidates = (
    ("on a wooden table by a window, morning light", ("window", "窗")),
    ("on the sand of a beach, blue sky", ("beach", "sand", "海滩", "沙滩")),
    ("in a person's hand, close-up", ("hand", "holding", "手")),
    ("on moss in a forest, soft light", ("forest", "moss", "森林")),
    ("in fresh snow, winter morning", ("snow", "winter", "雪")),
    ("on wet stone, splashing water", ("water", "wet", "stone", "水")),
    ("on a bookshelf, warm evening light", ("bookshelf", "shelf", "book", "书架")),
    ("on a kitchen counter, tiled wall", ("kitchen", "counter", "厨房")),
)
_POSES: Candidates = (
    ("riding a bicycle on a street", ("bicycle", "bike", "riding", "自行车")),
    ("sitting in a café, reading a book", ("café", "cafe", "reading", "book", "看书", "咖啡")),
    ("under an umbrella in the rain, at night", ("umbrella", "rain", "伞", "雨")),
    ("close-up of the face, smiling", ("close-up", "face", "portrait", "smil", "特写", "笑")),
    ("walking on a beach at sunset", ("beach", "sunset", "海滩")),
    ("in a snowy forest, wearing a scarf", ("snow", "forest", "scarf", "雪")),
    ("cooking in a kitchen", ("kitchen", "cooking", "厨房")),
    ("seen from behind, on a mountain top", ("mountain", "behind", "山")),
)
_ROADS: Candidates = (
    ("parked in front of a modern house at dusk", ("house", "dusk", "房")),
    ("driving on a mountain road, side view", ("mountain", "山")),
    ("on a city street at night in the rain, reflections", ("rain", "night", "雨", "夜")),
    ("in a bright showroom, front view", ("showroom", "studio", "展厅")),
    ("on a beach, seen from behind", ("beach", "behind", "海滩")),
    ("on a snowy road through a forest", ("snow", "forest", "雪")),
    ("in a desert, dust behind the wheels", ("desert", "dust", "沙漠")),
    ("on a bridge at sunrise", ("bridge", "sunrise", "桥")),
)
#: of the kinds that are one thing, which keeps its place in the prompt
_SURROUNDINGS = {"product": _SCENES, "character": _POSES, "car": _ROADS}


def suitable(kind: str, trigger_word: str, captions: Iterable[str], count: int = _COUNT) -> list[str]:
    """Prompts for a model of this kind, with its trigger word; none of what they ask for occurs in its captions.

    A style is asked for other things, a thing for other surroundings; where all of them occur, those that occur least
    are taken.

    Args:
        kind: of the model; one that is not known is taken for a style.
        trigger_word: empty for none.
        captions: of the training images, without the trigger word.
        count: how many prompts.
    """
    texts = [caption.casefold() for caption in captions]
    candidates = _SURROUNDINGS.get(kind, _SUBJECTS)
    ranked = sorted(candidates, key=lambda one: sum(_shows(text, one[1]) for text in texts))
    subject = _subject(texts) if kind in _SURROUNDINGS else ""
    return [", ".join(filter(None, (trigger_word, subject, wanted))) for wanted, _ in ranked[:count]]


def _shows(caption: str, words: tuple[str, ...]) -> bool:
    """Whether a caption has one of the words, in the singular or plural; in Chinese anywhere in it."""
    return any(
        word in caption if _CHINESE.search(word) else re.search(rf"\b{re.escape(word)}", caption) for word in words
    )


def _subject(captions: Sequence[str]) -> str:
    """What the captions call the thing, where they agree: the part that most of them begin with."""
    firsts = Counter(caption.split(",")[0].strip() for caption in captions if caption.strip())
    if not firsts:
        return ""
    text, count = firsts.most_common(1)[0]
    return text if count >= _COMMON_SHARE * sum(firsts.values()) and len(text) <= 60 else ""
