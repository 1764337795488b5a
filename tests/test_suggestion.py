"""Which checkpoint is suggested, at which strength, and with what reason."""

from lora_scripts_ext.evaluation.suggestion import Point, suggest

BASE = 1.1


def points(*losses):
    """A checkpoint for each loss, three steps an epoch."""
    return [Point(f"{epoch}.safetensors", 3 * epoch, loss, epoch) for epoch, loss in enumerate(losses, 1)]


def test_the_lowest_loss_on_held_out_images_wins():
    one = suggest(points(0.9, 0.6, 0.7, 0.8), BASE)
    assert (one.checkpoint, one.strength, one.warns) == ("2.safetensors", 1.0, False)
    assert "best by epoch 2; later ones only get better on the training images" in one.reason


def test_of_equals_the_earlier_wins_and_the_last_is_called_so():
    assert suggest(points(0.6, 0.6), BASE).checkpoint == "1.safetensors"
    assert suggest(points(0.8, 0.6), BASE).reason.endswith("best by epoch 2, the last one.")


def test_what_is_worse_than_the_base_model_is_suggested_with_a_warning_alone():
    one = suggest(points(1.3, 1.15, 1.2), BASE)
    assert (one.checkpoint, one.warns) == ("2.safetensors", True)
    assert one.reason.startswith("No checkpoint predicts") and "epoch 2" in one.reason


def test_the_strength_is_that_with_the_lowest_loss():
    weaker = Point("2.safetensors", 6, 0.45, 2, strength=0.8)
    other = Point("1.safetensors", 3, 0.1, 1, strength=0.8)
    one = suggest([*points(0.9, 0.6), weaker, other], BASE)
    assert (one.checkpoint, one.strength) == ("2.safetensors", 0.8)
    assert "best by epoch 2 at strength 0.8" in one.reason


def test_without_checkpoints_there_is_no_suggestion():
    assert suggest([], BASE) is None


def test_a_loss_that_is_no_number_is_not_chosen():
    assert suggest(points(float("nan"), 0.9, 0.8, float("inf")), BASE).checkpoint == "3.safetensors"
    assert suggest(points(float("nan")), BASE) is None
