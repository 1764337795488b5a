"""Caches, masks and batches, with a small real convolution as VAE."""

import hashlib
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from lora_scripts_ext.config import from_dict
from lora_scripts_ext.contract import Conditioning, LatentDistribution
from lora_scripts_ext.dataset import latents, source
from lora_scripts_ext.dataset.plan import Visit
from lora_scripts_ext.dataset.store import Store
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.parallel import ahead


class TinySession:
    """Factor 4: mean is a strided convolution, std the average brightness of a cell; text is a hash."""

    def __init__(self, family="sd1", model_hash="abc"):
        self.model = SimpleNamespace(
            family=family,
            name="tiny",
            hash=model_hash,
            vae="",
            vae_factor=4,
            device=torch.device("cpu"),
            dtype=torch.float32,
        )
        self.conv = torch.nn.Conv2d(3, 4, 4, stride=4)
        torch.nn.init.normal_(self.conv.weight, generator=torch.Generator().manual_seed(0))
        torch.nn.init.constant_(self.conv.bias, 0.1)
        self.batches, self.texts = [], []

    def parts(self):
        return {"VAE": self.conv}

    def encode_images(self, pixels):
        assert pixels.dtype == torch.float32 and pixels.min() >= -1 and pixels.max() <= 1
        self.batches.append(tuple(pixels.shape))
        brightness = torch.nn.functional.avg_pool2d(pixels.mean(1, keepdim=True), 4)
        return LatentDistribution(self.conv(pixels), brightness.expand(-1, 4, -1, -1))

    def encode_text(self, captions):
        self.texts.append(list(captions))
        rows = [np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8) for text in captions]
        context = torch.tensor(np.stack(rows)).float().view(len(captions), 8, 4)
        return Conditioning(context, context[:, 0] * 2 if self.model.family == "sdxl" else None)


@pytest.fixture
def room(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path


def put(path, size=(64, 64), seed=0, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else (size[1], size[0])
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def build(room, session=None, budget=10**9, check=lambda: None, **values):
    base = {"train_data_dir": str(room / "in"), "base_model": "m", "output_dir": str(room / "out")}
    config = from_dict({**base, **values})
    session = session or TinySession()
    events = []
    dataset = source.read(config, [64], 4)
    store = Store.build(
        dataset, session, config, progress=lambda *event: events.append(event), check=check, budget_bytes=budget
    )
    return store, session, events


def batch(store, *visits):
    requested = [Visit(example, view, variant, 0) for example, view, variant in visits]
    return store.batch(requested, torch.device("cpu"))


def pixels_of(path):
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1)[None] / 127.5 - 1


def test_latents_are_those_of_the_image(room):
    paths = [put(room / f"in/{name}.png", seed=seed) for seed, name in enumerate("abc")]
    store, session, _ = build(room)
    micro_batch = batch(store, (2, 0, 0), (0, 0, 0))
    for row, path in ((0, paths[2]), (1, paths[0])):
        expected = session.conv(pixels_of(path))[0]
        assert torch.allclose(micro_batch.mean[row], expected, atol=1e-5)
        brightness = pixels_of(path).mean(1).view(16, 4, 16, 4).mean((1, 3))
        assert torch.allclose(micro_batch.std[row, 3], brightness, atol=1e-5)
    assert micro_batch.mean.dtype == micro_batch.std.dtype == micro_batch.weight.dtype == torch.float32
    assert micro_batch.mean.shape == (2, 4, 16, 16) and micro_batch.mask is None and micro_batch.time_ids is None
    assert not micro_batch.mean.requires_grad


def test_flipped_view_is_the_mirrored_image(room):
    path = put(room / "in/a.png")
    store, session, _ = build(room, flip=True)
    mirrored = session.conv(pixels_of(path).flip(3))[0]
    assert torch.allclose(batch(store, (0, 1, 0)).mean[0], mirrored, atol=1e-5)


def test_encoding_is_batched_by_bucket_and_done_once(room):
    for seed in range(20):
        put(room / f"in/{seed:02}.png", seed=seed, size=(64, 64) if seed % 2 else (160, 96))
    first, session, events = build(room)
    assert sorted(session.batches) == [(10, 3, 48, 80), (10, 3, 64, 64)]
    assert events[-1] == (1, 1, "captions")
    assert [done for done, total, what in events if what == "pictures"][-1] == 20
    again, fresh, _ = build(room)
    assert fresh.batches == [] and fresh.texts == []
    for index in range(20):
        a, b = batch(first, (index, 0, 0)), batch(again, (index, 0, 0))
        assert torch.equal(a.mean, b.mean) and torch.equal(a.std, b.std)
        assert torch.equal(a.conditioning.context, b.conditioning.context)
    assert first.content_hash == again.content_hash


def test_cache_notices_every_change_that_matters(room):
    put(room / "in/a.png", size=(100, 70))
    build(room)
    for values in ({"crop": "top"}, {"flip": True}, {"enable_bucket": False}, {"masked_loss": "alpha"}):
        _, session, _ = build(room, **values)
        assert len(session.batches) == 1 and not session.texts, values
    _, session, _ = build(room, TinySession(model_hash="other"))
    assert session.batches and session.texts
    _, session, _ = build(room, clip_skip=2)
    assert session.texts and not session.batches
    put(room / "in/a.png", size=(100, 70), seed=9)
    _, session, _ = build(room)
    assert session.batches and not session.texts


def test_renamed_and_moved_images_stay_cached(room):
    put(room / "in/a.png")
    store, _, _ = build(room)
    (room / "in/deep").mkdir()
    (room / "in/a.png").rename(room / "in/deep/b.png")
    moved, session, _ = build(room)
    assert session.batches == [] and moved.content_hash == store.content_hash


def test_content_hash_follows_image_and_caption(room):
    put(room / "in/a.png")
    before = build(room)[0].content_hash
    (room / "in/a.txt").write_text("shoe")
    captioned = build(room)[0].content_hash
    put(room / "in/a.png", seed=1)
    assert len({before, captioned, build(room)[0].content_hash}) == 3


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:50], lambda data: b"\xff" * len(data)])
def test_damaged_cache_files_are_written_again(room, damage):
    put(room / "in/a.png")
    store, _, _ = build(room)
    files = sorted((room / "out/cache").rglob("*.safetensors"))
    assert [file.parent.name for file in files] == ["latents", "text"]
    content = [file.read_bytes() for file in files]
    for file in files:
        file.write_bytes(damage(file.read_bytes()))
    again, session, _ = build(room)
    assert len(session.batches) == 1 and session.texts == [[""]]
    assert torch.equal(batch(store, (0, 0, 0)).mean, batch(again, (0, 0, 0)).mean)
    assert [file.read_bytes() for file in files] == content


def test_nothing_but_complete_files_in_the_cache(room):
    put(room / "in/a.png")
    build(room)
    assert {path.suffix for path in (room / "out/cache").rglob("*") if path.is_file()} == {".safetensors"}


def test_truncated_images_are_skipped_and_the_rest_goes_on(room):
    put(room / "in/a.png")
    content = put(room / "in/b.png", seed=1).read_bytes()
    (room / "in/b.png").write_bytes(content[: len(content) // 2])
    (room / "in/c.jpg").touch()
    put(room / "in/d.png", seed=2)
    store, session, _ = build(room)
    assert [example.name for example in store.examples] == ["a.png", "d.png"]
    assert [one.name for one in store.skipped] == ["c.jpg", "b.png"]
    assert store.skipped[1].reason.startswith("cannot be decoded (")
    expected = session.conv(pixels_of(room / "in/d.png"))[0]
    assert torch.allclose(batch(store, (1, 0, 0)).mean[0], expected, atol=1e-5)


def test_nothing_left_is_an_error(room):
    content = put(room / "in/b.png").read_bytes()
    (room / "in/b.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"^train_data_dir: no image in .* can be used; for example b.png cannot"):
        build(room)


def test_nan_from_the_vae_names_the_image_and_is_not_cached(room):
    put(room / "in/a.png")
    session = TinySession()
    torch.nn.init.constant_(session.conv.bias, float("nan"))
    with pytest.raises(UserError, match=r"^a.png: .*VAE .*gives NaN.*first is bias; the file is damaged"):
        build(room, session)
    assert not list((room / "out").rglob("*.safetensors"))


def test_check_stops_and_what_is_cached_stays(room):
    for seed in range(40):
        put(room / f"in/{seed:02}.png", seed=seed)
    calls = []

    def check():
        calls.append(None)
        if len(calls) > 20:
            raise KeyError("stopped")

    with pytest.raises(KeyError, match="stopped"):
        build(room, check=check)
    _, session, _ = build(room)
    assert 0 < sum(shape[0] for shape in session.batches) < 40


class StopRequested(Exception):
    """Raised by a check to stop the run."""


def stop_when(condition):
    def check():
        if condition():
            raise StopRequested

    return check


@pytest.fixture
def one_at_a_time(monkeypatch):
    """As large images are encoded on a CPU."""
    monkeypatch.setattr(latents, "_CPU_BATCH_PIXELS", 64 * 64)


def test_a_stop_is_heeded_before_the_next_image_is_encoded(room, one_at_a_time):
    for seed in range(4):
        put(room / f"in/{seed}.png", seed=seed)
    session = TinySession()
    with pytest.raises(StopRequested):
        build(room, session, check=stop_when(lambda: len(session.batches) == 2))
    assert [shape[0] for shape in session.batches] == [1, 1]
    _, again, _ = build(room)
    # The image at which it was stopped is cached, too.
    assert sum(shape[0] for shape in again.batches) == 2


def test_a_stop_is_heeded_among_the_views_of_one_image(room, one_at_a_time):
    put(room / "in/a.png")
    session = TinySession()
    with pytest.raises(StopRequested):
        build(room, session, check=stop_when(lambda: session.batches), flip=True)
    assert [shape[0] for shape in session.batches] == [1]


def test_a_stop_is_heeded_between_captions(room):
    for seed in range(20):
        put(room / f"in/{seed:02}.png", seed=seed)
        (room / f"in/{seed:02}.txt").write_text(f"caption {seed}", encoding="utf-8")
    session = TinySession()
    with pytest.raises(StopRequested):
        build(room, session, check=stop_when(lambda: session.texts))
    assert len(session.texts) == 1 and len(session.texts[0]) <= 4


def test_work_ahead_that_has_not_begun_is_dropped():
    begun = []
    results = ahead(lambda item: begun.append(item) or time.sleep(0.01), range(1000))
    next(results)
    results.close()
    assert len(begun) <= 13  # four workers, twice as many waiting, and one


def test_alpha_mask_averages_cells(room):
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:, :34] = 255  # eight whole cells, half of the ninth
    image = Image.fromarray(np.dstack([np.zeros((64, 64, 3), np.uint8), alpha]))
    image.save(room / "in/a.png")
    store, _, _ = build(room, masked_loss="alpha", flip=True)
    expected = torch.tensor([1.0] * 8 + [0.5] + [0.0] * 7)
    masks = batch(store, (0, 0, 0), (0, 1, 0)).mask
    assert masks.shape == (2, 1, 16, 16) and masks.dtype == torch.float32
    assert torch.allclose(masks[0, 0], expected.expand(16, 16))
    assert torch.allclose(masks[1, 0], expected.flip(0).expand(16, 16))
    cached, session, _ = build(room, masked_loss="alpha", flip=True)
    assert session.batches == [] and torch.equal(batch(cached, (0, 0, 0), (0, 1, 0)).mask, masks)


def test_mask_files_are_cropped_like_the_image(room):
    put(room / "in/a.png", size=(128, 64))
    put(room / "in/b.png", size=(128, 64))
    mask = np.zeros((32, 64), np.uint8)  # half the image's size
    mask[:, 32:] = 255
    (room / "masks").mkdir()
    Image.fromarray(mask).save(room / "masks/a.png")
    store, _, _ = build(room, masked_loss="files", mask_dir=str(room / "masks"), enable_bucket=False)
    masks = batch(store, (0, 0, 0), (1, 0, 0)).mask  # the middle 64 pixels: half black, half white
    assert masks[0, 0, :, :7].max() == 0 and masks[0, 0, :, 9:].min() == 1
    assert masks[1].min() == 1
    Image.fromarray(255 - mask).save(room / "masks/a.png")
    changed, session, _ = build(room, masked_loss="files", mask_dir=str(room / "masks"), enable_bucket=False)
    assert len(session.batches) == 1 and batch(changed, (0, 0, 0)).mask[0, 0, :, :7].min() == 1


def test_an_image_whose_mask_is_black_everywhere_is_skipped_unless_the_rest_counts(room):
    put(room / "in/a.png")
    put(room / "in/b.png")
    (room / "masks").mkdir()
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(room / "masks/a.png")
    values = {"masked_loss": "files", "mask_dir": str(room / "masks")}
    store, _, _ = build(room, **values)
    assert [example.name for example in store.examples] == ["b.png"]
    assert [one.name for one in store.skipped] == ["a.png"]
    assert "unmasked_weight" in store.skipped[0].reason
    # The same cache serves every weight.
    kept, session, _ = build(room, **values, unmasked_weight=0.1, normalize_masked_area_loss=True)
    assert len(kept.examples) == 2 and session.batches == []
    assert batch(kept, (0, 0, 0)).mask.max() == 0


def test_every_kind_of_mask_has_its_own_cache(room):
    put(room / "in/a.png", mode="RGBA")
    (room / "masks").mkdir()
    assert batch(build(room, masked_loss="alpha")[0], (0, 0, 0)).mask.max() < 0.9
    assert batch(build(room, masked_loss="files", mask_dir=str(room / "masks"))[0], (0, 0, 0)).mask.min() == 1
    assert batch(build(room)[0], (0, 0, 0)).mask is None


def test_damaged_mask_skips_its_image(room):
    put(room / "in/a.png")
    put(room / "in/b.png")
    (room / "masks").mkdir()
    (room / "masks/a.png").write_bytes(b"x")
    store, _, _ = build(room, masked_loss="files", mask_dir=str(room / "masks"))
    assert [one.name for one in store.skipped] == ["a.png"]
    assert "has a mask" in store.skipped[0].reason


def test_captions_variants_and_dropout(room):
    put(room / "in/a.png")
    (room / "in/a.txt").write_text("x, y")
    store, session, _ = build(room, shuffle_caption=True, caption_dropout=0.1, trigger_word="t")
    assert sorted(session.texts[0]) == ["", "t, x, y", "t, y, x"]
    variants = store.examples[0].variants
    micro_batch = batch(store, (0, 0, None), (0, 0, 1), (0, 0, 0))
    assert micro_batch.captions == ["", variants[1], variants[0]]
    assert torch.equal(micro_batch.conditioning.context, session.encode_text(micro_batch.captions).context)
    assert micro_batch.conditioning.pooled is None


def test_captions_are_encoded_in_batches_and_shared(room):
    for seed in range(10):
        put(room / f"in/{seed}.png", seed=seed)
        (room / f"in/{seed}.txt").write_text(f"a, b, c, {seed // 2}")  # two images a caption
    store, session, events = build(room, shuffle_caption=True, caption_variants=20, caption_dropout=0.5)
    assert [len(texts) for texts in session.texts] == [4] * 25 + [1]
    assert [event for event in events if event[2] == "captions"][-1] == (6, 6, "captions")
    assert len(list((room / "out/cache/text").iterdir())) == 6
    again, fresh, _ = build(room, shuffle_caption=True, caption_variants=20, caption_dropout=0.5)
    assert fresh.texts == []
    (room / "in/9.txt").write_text("new")
    (room / "in/8.txt").write_text("new")
    _, changed, _ = build(room, shuffle_caption=True, caption_variants=20, caption_dropout=0.5)
    assert changed.texts == [["new", ""]]  # the empty caption is of its batch
    for held in (store, again):
        micro_batch = batch(held, (9, 0, 17), (0, 0, 3), (5, 0, None))
        assert torch.equal(micro_batch.conditioning.context, fresh.encode_text(micro_batch.captions).context)


def test_trained_text_encoder_gets_captions_only(room):
    put(room / "in/a.png")
    (room / "in/a.txt").write_text("x")
    store, session, _ = build(room, TinySession("sdxl"), train_text_encoder=True)
    micro_batch = batch(store, (0, 0, 0))
    assert micro_batch.conditioning is None and micro_batch.captions == ["x"] and session.texts == []
    assert micro_batch.time_ids.tolist() == [[64, 64, 0, 0, 64, 64]]


def test_sdxl_conditioning(room):
    put(room / "in/a.png", size=(256, 128))
    store, session, _ = build(room, TinySession("sdxl"), flip=True, enable_bucket=False, crop="random")
    conditioning = batch(store, (0, 0, 0), (0, 1, 0)).conditioning
    left = store.examples[0].views[0].left
    assert conditioning.time_ids.tolist() == [[128, 256, 0, left, 64, 64], [128, 256, 0, 64 - left, 64, 64]]
    assert conditioning.time_ids.dtype == torch.float32
    assert torch.equal(conditioning.pooled, session.encode_text(["", ""]).pooled)


def test_a_batch_holds_the_weights_of_its_visits(room):
    put(room / "in/a.png")
    store, _, _ = build(room)
    visits = [Visit(0, 0, 0, position, weight) for position, weight in enumerate((0.5, 0.125))]
    assert store.batch(visits, torch.device("cpu")).weight.tolist() == [0.5, 0.125]


def test_batches_are_copies(room):
    put(room / "in/a.png")
    store, _, _ = build(room)
    batch(store, (0, 0, 0)).mean.zero_()
    assert batch(store, (0, 0, 0)).mean.abs().sum() > 0


def test_budget_decides_where_the_dataset_lies(room):
    put(room / "in/a.png")
    session = TinySession()
    session.model.device = torch.device("meta")
    session.encode_images = lambda pixels: TinySession().encode_images(torch.zeros(pixels.shape))
    need = 2 * 4 * 16 * 16 * 4 + 8 * 4 * 4  # mean and std, context, float32
    fits, _, _ = build(room, session, budget=need)
    assert fits.batch([Visit(0, 0, 0, 0)], torch.device("meta")).mean.is_meta
    with pytest.raises(NotImplementedError):
        fits.batch([Visit(0, 0, 0, 0)], torch.device("cpu"))
    stays, _, _ = build(room, session, budget=need - 1)
    assert stays.batch([Visit(0, 0, 0, 0)], torch.device("cpu")).mean.device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("budget", [0, 10**9])
def test_batch_on_a_gpu_never_waits(room, budget):
    put(room / "in/a.png")
    session = TinySession("sdxl")
    session.model.device = torch.device("cuda")
    session.conv.cuda()
    store, _, _ = build(room, session, budget=budget)
    torch.cuda.set_sync_debug_mode("error")
    try:
        micro_batch = store.batch([Visit(0, 0, 0, 0)] * 3, torch.device("cuda"))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert micro_batch.mean.is_cuda and micro_batch.conditioning.time_ids.is_cuda
