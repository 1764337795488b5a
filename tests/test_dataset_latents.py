"""Latents of a real VAE, on disk and back."""

import torch

from lora_scripts_ext.dataset import source
from lora_scripts_ext.dataset.plan import Visit
from lora_scripts_ext.dataset.store import Store
from lora_scripts_ext.hosts.standalone import StandaloneHost

from . import models, shop

CPU = torch.device("cpu")


def test_pictures_cached_in_part_come_out_bit_for_bit_as_in_one_go(tmp_path):
    """A real VAE: its last bits depend on the size of the batch, so a run killed while it encodes must not show."""
    data = shop.write_pictures(tmp_path / "data", count=8, side=64)
    model = models.write_checkpoint(tmp_path / "m.safetensors", "sd1")
    config = shop.make_config(data, model, tmp_path / "out", resolution=64)
    with StandaloneHost().open(config) as session:
        dataset = source.read(config, config.sides(session.model.resolution), session.model.vae_factor)

        def build():
            return Store.build(
                dataset, session, config, progress=lambda *_: None, check=lambda: None, budget_bytes=2**30
            )

        whole = build()
        lost = sorted((config.cache_path / "latents").iterdir())[::2]
        for path in lost:
            path.unlink()
        parts = build()
    for index, example in enumerate(whole.examples):
        visits = [Visit(index, 0, 0, 0)]
        assert torch.equal(whole.batch(visits, CPU).mean, parts.batch(visits, CPU).mean), example.name
        assert torch.equal(whole.batch(visits, CPU).std, parts.batch(visits, CPU).std), example.name
