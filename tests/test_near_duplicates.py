"""Which images are nearly the same, by latents whose likeness is known."""

import pytest
import torch

from lora_scripts_ext.dataset.near_duplicates import near_duplicates


@pytest.fixture
def latents():
    """Ten images on one ground, each with a pattern of its own."""
    generator = torch.Generator().manual_seed(0)
    ground = 5 * torch.randn(4, 1, 1, generator=generator)
    return [ground + torch.randn(4, 16, 16, generator=generator) for _ in range(10)]


def test_images_on_one_ground_are_no_copies_of_each_other(latents):
    raw = torch.cosine_similarity(latents[0].flatten(), latents[1].flatten(), dim=0)
    # Before the ground is subtracted they are.
    assert raw > 0.85
    assert near_duplicates(latents) == set()


def noisy(latent):
    return latent + 0.1 * torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))


def larger(latent):
    return torch.nn.functional.interpolate(latent[None], scale_factor=2, mode="nearest")[0]


@pytest.mark.parametrize("change", [noisy, larger, lambda one: one.flip(-1), lambda one: one.clone()])
def test_a_copy_is_found_on_both_sides(change, latents):
    assert near_duplicates([*latents, change(latents[3])]) == {3, 10}


def test_copies_of_nothing_but_one_image_are_all_duplicates(latents):
    assert near_duplicates([latents[0]] * 5) == {0, 1, 2, 3, 4}


def test_two_images_say_too_little(latents):
    assert near_duplicates(latents[:2]) == set()
