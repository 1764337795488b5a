"""Who is looked at when."""

from collections import Counter
from pathlib import Path

import pytest

from lora_scripts_ext.config import from_dict
from lora_scripts_ext.dataset import plan
from lora_scripts_ext.dataset.bucket import View
from lora_scripts_ext.dataset.example import Example


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


def visits(steps):
    return [visit for step in steps for micro in step for visit in micro]


@pytest.mark.parametrize(("batch", "accumulation", "world"), [(1, 1, 1), (4, 1, 1), (2, 3, 2), (16, 2, 1)])
def test_every_picture_as_often_as_it_repeats(batch, accumulation, world):
    settings = config(batch_size=batch, gradient_accumulation_steps=accumulation)
    for epoch in range(4):
        steps = plan.epoch_steps(MIXED, settings, epoch, world)
        assert Counter(visit.example for visit in visits(steps)) == {n: one.repeats for n, one in enumerate(MIXED)}
        assert len(steps) == plan.steps_per_epoch(MIXED, settings, world)
        for step in steps:
            assert len(step) <= accumulation
            assert [visit.position for micro in step for visit in micro] == list(range(sum(map(len, step))))
            for micro in step:
                assert 1 <= len(micro) <= batch * world
                assert len({MIXED[visit.example].bucket for visit in micro}) == 1
        assert all(len(step) == accumulation for step in steps[:-1])


def test_steps_counted_by_hand():
    # 15 visits in one bucket and 14 in the other: 4 + 4 micro-batches of 4, in pairs
    assert plan.steps_per_epoch(MIXED, config(batch_size=4, gradient_accumulation_steps=2), 1) == 4
    assert plan.steps_per_epoch(MIXED, config(batch_size=4), 2) == 4


def test_processes_split_what_one_would_do():
    alone = plan.epoch_steps(MIXED, config(batch_size=4), 3, 1)
    together = plan.epoch_steps(MIXED, config(batch_size=2), 3, 2)
    assert alone == together


def test_repeatable_and_new_every_epoch_and_seed():
    settings = config(batch_size=2)
    assert plan.epoch_steps(MIXED, settings, 1, 1) == plan.epoch_steps(MIXED, settings, 1, 1)
    assert plan.epoch_steps(MIXED, settings, 1, 1) != plan.epoch_steps(MIXED, settings, 2, 1)
    assert plan.epoch_steps(MIXED, settings, 1, 1) != plan.epoch_steps(MIXED, config(batch_size=2, seed=7), 1, 1)


def test_draws_do_not_depend_on_the_batch_size():
    def drawn(batch):
        steps = plan.epoch_steps(MIXED, config(batch_size=batch, caption_dropout=0.3), 0, 1)
        return sorted((visit.example, visit.view, str(visit.variant)) for visit in visits(steps))

    assert drawn(1) == drawn(5)


def test_views_and_variants_are_drawn_evenly():
    seen = visits(plan.epoch_steps([example("a", repeats=6000, views=2, variants=3)], config(), 0, 1))
    assert all(abs(count - 3000) < 200 for count in Counter(visit.view for visit in seen).values())
    counts = Counter(visit.variant for visit in seen)
    assert set(counts) == {0, 1, 2} and all(abs(count - 2000) < 200 for count in counts.values())


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.25, 900, 1100), (1.0, 4000, 4000)])
def test_caption_dropout(share, low, high):
    seen = visits(plan.epoch_steps([example("a", repeats=4000)], config(caption_dropout=share), 0, 1))
    assert low <= sum(visit.variant is None for visit in seen) <= high


def test_as_many_regularisation_visits_as_training_visits():
    few = [example("t", repeats=7)] + [example(f"r{n}", regularisation=True) for n in range(3)]
    counts = Counter(visit.example for visit in visits(plan.epoch_steps(few, config(), 0, 1)))
    assert counts[0] == 7 and sorted(counts[n] for n in (1, 2, 3)) == [2, 2, 3]


def test_many_regularisation_pictures_all_get_their_turn():
    many = [example(f"t{n}") for n in range(4)]
    many += [example(f"r{n}", (64, 64) if n < 6 else (80, 48), regularisation=True) for n in range(12)]
    settings = config(batch_size=3)
    seen, shares = Counter(), set()
    for epoch in range(3):
        steps = plan.epoch_steps(many, settings, epoch, 1)
        assert len(steps) == plan.steps_per_epoch(many, settings, 1)
        prior = [visit.example for visit in visits(steps) if visit.example >= 4]
        assert len(prior) == 4
        shares.add(tuple(sorted(Counter(many[index].bucket for index in prior).items())))
        seen.update(prior)
    assert shares == {(((64, 64), 2), ((80, 48), 2))}
    assert len(seen) == 12
