"""Which images each step uses."""

import math
from collections import Counter
from pathlib import Path

import pytest

from lora_scripts_ext.config import from_dict
from lora_scripts_ext.dataset import plan
from lora_scripts_ext.dataset.example import Example
from lora_scripts_ext.images.bucket import View


def config(**values):
    return from_dict({"train_data_dir": "in", "base_model": "m", "output_dir": "out", **values})


def example(name, bucket=(64, 64), repeats=1, regularisation=False, views=1, variants=1):
    return Example(
        Path(name), name, name, tuple(f"{name} {n}" for n in range(variants)), repeats, regularisation,
        100, 100, bucket, bucket, tuple(View(n, 0, False) for n in range(views)), None,
    )  # fmt: skip


MIXED = [example(f"a{n}", repeats=3, views=2, variants=3) for n in range(5)] + [
    example(f"b{n}", (80, 48), repeats=2) for n in range(7)
]


REGULAR = [example(f"r{n}", (64, 64) if n % 3 else (96, 48), regularisation=True, views=2) for n in range(7)]


def visits(steps):
    return [visit for step in steps for micro in step for visit in micro]


SPLITS = [(8, 1, 1), (1, 8, 1), (2, 4, 1), (4, 1, 2), (1, 2, 4)]


@pytest.mark.parametrize(("batch", "accumulation", "world"), [(1, 1, 1), (4, 1, 1), (2, 3, 2), (16, 2, 1), (1, 1, 29)])
def test_every_image_as_often_as_it_repeats_in_steps_of_equal_size(batch, accumulation, world):
    settings = config(batch_size=batch, gradient_accumulation_steps=accumulation)
    most = plan.effective_batch(settings, world)
    assert most == batch * accumulation * world
    for epoch in range(4):
        steps = plan.epoch_steps(MIXED, settings, epoch, world)
        assert Counter(visit.example for visit in visits(steps)) == {n: one.repeats for n, one in enumerate(MIXED)}
        assert len(steps) == plan.steps_per_epoch(MIXED, settings, world) == math.ceil(29 / most)
        sizes = {sum(map(len, step)) for step in steps}
        assert max(sizes) <= most
        assert max(sizes) - min(sizes) <= 1
        for step in steps:
            assert sorted(visit.position for micro in step for visit in micro) == list(range(sum(map(len, step))))
            for micro in step:
                assert 1 <= len(micro) <= batch * world
                assert len({MIXED[visit.example].bucket for visit in micro}) == 1


def test_steps_counted_by_hand():
    # 15 visits in one bucket and 14 in the other.
    assert plan.steps_per_epoch(MIXED, config(batch_size=4, gradient_accumulation_steps=2), 1) == 4
    assert plan.steps_per_epoch(MIXED, config(batch_size=4), 2) == 4
    assert plan.steps_per_epoch(MIXED, config(batch_size=4), 1) == 8


@pytest.mark.parametrize("regularisation", [False, True])
def test_the_split_of_a_batch_changes_no_step(regularisation):
    examples = [*MIXED, *REGULAR] if regularisation else MIXED
    plans = set()
    for batch, accumulation, world in SPLITS:
        settings = config(batch_size=batch, gradient_accumulation_steps=accumulation, caption_dropout=0.3)
        steps = plan.epoch_steps(examples, settings, 3, world)
        plans.add(tuple(tuple(sorted(visits([step]), key=lambda visit: visit.position)) for step in steps))
    assert len(plans) == 1


@pytest.mark.parametrize(("batch", "accumulation", "world"), SPLITS)
def test_processes_share_a_step_evenly(batch, accumulation, world):
    examples = [*MIXED, *REGULAR]
    settings = config(batch_size=batch, gradient_accumulation_steps=accumulation)
    for step in plan.epoch_steps(examples, settings, 0, world):
        shares = [plan.share(step, rank, world) for rank in range(world)]
        assert sorted(visit for share in shares for micro in share for visit in micro) == sorted(visits([step]))
        sizes = [sum(map(len, share)) for share in shares]
        assert max(sizes) - min(sizes) <= 1
        for micro in (micro for share in shares for micro in share):
            assert 1 <= len(micro) <= batch
            assert len({examples[visit.example].bucket for visit in micro}) == 1


def test_most_micro_batches_are_full():
    """Eleven buckets of five in batches of four: each step spans two buckets at most, once three."""
    many = [example(f"{bucket}-{n}", (64, 64 + 16 * bucket)) for bucket in range(11) for n in range(5)]
    steps = plan.epoch_steps(many, config(batch_size=4), 0, 1)
    assert len(steps) == 14
    assert sum(map(len, steps)) <= 14 + 10


def test_an_image_alone_in_its_bucket_counts_as_much_as_the_others():
    """One wide image among 32 square ones: it shares its step with others, as each of them does."""
    examples = [*(example(f"a{n}") for n in range(32)), example("wide", (80, 48))]
    for epoch in range(5):
        steps = plan.epoch_steps(examples, config(batch_size=4), epoch, 1)
        (wide,) = (visit for visit in visits(steps) if visit.example == 32)
        assert wide.weight in (1 / 3, 1 / 4)


def test_repeatable_and_new_every_epoch_and_seed():
    settings = config(batch_size=2)
    assert plan.epoch_steps(MIXED, settings, 1, 1) == plan.epoch_steps(MIXED, settings, 1, 1)
    assert plan.epoch_steps(MIXED, settings, 1, 1) != plan.epoch_steps(MIXED, settings, 2, 1)
    assert plan.epoch_steps(MIXED, settings, 1, 1) != plan.epoch_steps(MIXED, config(batch_size=2, seed=7), 1, 1)


def test_draws_do_not_depend_on_the_batch_size():
    def choices(batch):
        steps = plan.epoch_steps(MIXED, config(batch_size=batch, caption_dropout=0.3), 0, 1)
        return sorted((visit.example, visit.view, str(visit.variant)) for visit in visits(steps))

    assert choices(1) == choices(5)


def test_views_and_variants_are_sampled_evenly():
    visited = visits(plan.epoch_steps([example("a", repeats=6000, views=2, variants=3)], config(), 0, 1))
    assert all(abs(count - 3000) < 200 for count in Counter(visit.view for visit in visited).values())
    counts = Counter(visit.variant for visit in visited)
    assert set(counts) == {0, 1, 2} and all(abs(count - 2000) < 200 for count in counts.values())


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.25, 900, 1100), (1.0, 4000, 4000)])
def test_caption_dropout(share, low, high):
    visited = visits(plan.epoch_steps([example("a", repeats=4000)], config(caption_dropout=share), 0, 1))
    assert low <= sum(visit.variant is None for visit in visited) <= high


def test_weights_add_up_to_the_means_of_training_and_prior_visits():
    examples = [*MIXED, *REGULAR]
    for step in plan.epoch_steps(examples, config(batch_size=4, prior_loss_weight=0.3), 0, 1):
        own = [visit.weight for visit in visits([step]) if not examples[visit.example].regularisation]
        prior = [visit.weight for visit in visits([step]) if examples[visit.example].regularisation]
        assert own == pytest.approx([1 / len(own)] * len(own))
        assert prior == pytest.approx([0.3 / len(own)] * len(own))


def test_regularisation_images_change_no_training_visit():
    def own(examples):
        steps = plan.epoch_steps(examples, config(batch_size=4), 2, 1)
        return [sorted(visit for visit in visits([step]) if visit.example < len(MIXED)) for step in steps]

    assert own(MIXED) == own([*MIXED, *REGULAR])


def test_few_regularisation_images_are_used_equally_often():
    few = [example("t", repeats=7)] + [example(f"r{n}", regularisation=True) for n in range(3)]
    counts = Counter(visit.example for visit in visits(plan.epoch_steps(few, config(), 0, 1)))
    assert counts[0] == 7 and sorted(counts[n] for n in (1, 2, 3)) == [2, 2, 3]


def test_many_regularisation_images_all_get_their_turn():
    """Also the only one of its bucket; one that repeats gets as many turns."""
    many = [example(f"t{n}") for n in range(4)]
    many += [example(f"r{n}", regularisation=True) for n in range(10)]
    many += [example("r10", (80, 48), repeats=2, regularisation=True)]
    counts = Counter()
    for epoch in range(6):
        steps = plan.epoch_steps(many, config(batch_size=3), epoch, 1)
        assert len(steps) == plan.steps_per_epoch(many, config(batch_size=3), 1) == 2
        for step in steps:
            prior = [visit.example for visit in visits([step]) if visit.example >= 4]
            assert len(prior) == len(visits([step])) / 2
            counts.update(prior)
        if epoch == 2:
            assert set(counts) == set(range(4, 15))
    assert [counts[index] for index in range(4, 15)] == [2] * 10 + [4]
