"""Latents of a real VAE, on disk and back."""

import signal
from types import SimpleNamespace

import torch

from lora_scripts_ext.commands import train
from lora_scripts_ext.contract import LatentDistribution
from lora_scripts_ext.dataset import latents, source
from lora_scripts_ext.dataset.plan import Visit
from lora_scripts_ext.dataset.store import Store
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.session import StandaloneSession
from lora_scripts_ext.training import memory_plan

from . import models, shop

CPU = torch.device("cpu")


def test_images_cached_in_part_come_out_bit_for_bit_as_in_one_go(tmp_path):
    """A real VAE: its last bits depend on the size of the batch, so a run killed while it encodes must not show."""
    data = shop.write_images(tmp_path / "data", count=8, side=64)
    model = models.write_checkpoint(tmp_path / "m.safetensors", "sd1")
    config = shop.make_config(data, model, tmp_path / "out", resolution=64)
    with StandaloneHost().open(config) as session:
        dataset = source.read(config, config.sides(session.model.resolution), session.model.vae_factor)

        def build():
            return Store.build(
                dataset, session, config, progress=lambda *_: None, check=lambda: None, budget_bytes=2**30
            )

        uninterrupted = build()
        deleted = sorted((config.cache_path / "latents").iterdir())[::2]
        for path in deleted:
            path.unlink()
        resumed = build()
    for index, example in enumerate(uninterrupted.examples):
        visits = [Visit(index, 0, 0, 0)]
        assert torch.equal(uninterrupted.batch(visits, CPU).mean, resumed.batch(visits, CPU).mean), example.name
        assert torch.equal(uninterrupted.batch(visits, CPU).std, resumed.batch(visits, CPU).std), example.name


def interrupted_run(tmp_path, monkeypatch, presses):
    """The exit code and the files of a run in which Ctrl-C is pressed so often while the second image is encoded."""
    data = shop.write_images(tmp_path / "data", count=3, side=512)
    model = models.write_checkpoint(tmp_path / "m.safetensors", "sd1")
    config = shop.make_config(data, model, tmp_path / "out", resolution=512, enable_bucket=False)
    (tmp_path / "c.yaml").write_text(config.to_yaml(), encoding="utf-8")
    calls = []

    def encode(session, pixels):
        calls.append(len(pixels))
        for _ in range(presses if len(calls) == 2 else 0):
            signal.raise_signal(signal.SIGINT)
        side = pixels.shape[-1] // session.model.vae_factor
        return LatentDistribution(torch.zeros(len(pixels), 4, side, side), torch.ones(len(pixels), 4, side, side))

    monkeypatch.setattr(StandaloneSession, "encode_images", encode)
    monkeypatch.setattr(memory_plan, "check", lambda *run: None)
    code = train.main(["--config", str(tmp_path / "c.yaml")])
    return code, calls, [path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_ctrl_c_while_images_are_encoded_stops_after_the_image(tmp_path, monkeypatch):
    code, calls, suffixes = interrupted_run(tmp_path, monkeypatch, presses=1)
    assert (code, calls) == (130, [1, 1])
    assert suffixes.count(".safetensors") == 2


def test_a_second_ctrl_c_stops_at_once_and_leaves_no_half_file(tmp_path, monkeypatch):
    code, calls, suffixes = interrupted_run(tmp_path, monkeypatch, presses=2)
    assert (code, calls) == (130, [1, 1])
    assert suffixes.count(".safetensors") == 1 and ".tmp" not in suffixes


def test_a_cpu_encodes_large_images_one_by_one_and_a_card_several():
    large, small = (SimpleNamespace(bucket=(side, side)) for side in (512, 128))
    sizes = [latents._batch_size(one, torch.device(kind)) for kind in ("cpu", "cuda") for one in (large, small)]
    assert sizes == [1, 16, 8, 16]
