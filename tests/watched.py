"""A model with a watch, for tests: images that a check lets pass, and the folder that new ones arrive in."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from lora_scripts_ext.jobs import watch_options, watching
from lora_scripts_ext.library import queue
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.models import Models
from lora_scripts_ext.library.watches import Watches
from lora_scripts_ext.training import held_out

from .place import Place

#: captions that the captioner ``names`` reads from file names
NAMES = ["red_car", "blue_car", "green_van", "old_truck", "white_bus", "black_taxi", "small_bike", "long_train"]
TRAINING = {
    "resolution": 32, "bucket_step": 16, "lora_rank": 4, "batch_size": 2, "learning_rate": 1e-3, "tensorboard": False,
    "device": "cpu", "max_steps": 6, "epochs": 3, "preview_epochs": 0, "save_epochs": 0, "save_steps": 0,
    "gradient_accumulation_steps": 1, "target": "attention", "flip": False, "crop": "center", "caption_dropout": 0.0,
}  # fmt: skip


#: of the held-out loss: fewer than usual, as tests have little time
DRAWS = 8


def write_image(path: Path, seed: int, side: int = 64) -> Path:
    """An image that no other seed's looks like: a few large shapes, sharp."""
    generator = np.random.default_rng(seed)
    pixels = np.kron(generator.integers(0, 256, (6, 6, 3)), np.ones((side // 6 + 1, side // 6 + 1, 1)))
    pixels = (pixels + generator.integers(-20, 20, pixels.shape)).clip(0, 255).astype(np.uint8)[:side, :side]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_images(folder: Path, first: int, count: int) -> list[Path]:
    """``count`` images with names that say what they show."""
    return [
        write_image(folder / f"{NAMES[number % len(NAMES)]}_{number:02d}.png", number)
        for number in range(first, first + count)
    ]


class Watched(Place):
    """A library with one model, ``cars``, and the folder ``arrivals``."""

    def __init__(self, folder: Path, checkpoint: Path, **options: object) -> None:
        super().__init__(folder)
        self.database = Database(folder)
        self.models = Models(self.database)
        self.watches = Watches(self.database)
        self.arrivals = folder.parent / "arrivals"
        self.arrivals.mkdir(exist_ok=True)
        found = self.models.page(search="cars").models
        config = {**TRAINING, "base_model": str(checkpoint)}
        self.model = found[0] if found else self.models.create("cars", "car", trigger_word="crz", config=config)
        self.home = self.models.home(self.model.id)
        if not found:
            self.watch(**options)

    def watch(self, **options: object) -> None:
        """Change how the model is watched."""
        values = {"folder": str(self.arrivals), "captioner": "names", "settle_seconds": 0, **options}
        config = watch_options.checked(values, self.models, self.environment, self.model)
        self.watches.put(self.model.id, config["folder"], config)

    def update(self):
        """Run an update to its end; returns the job."""
        watching.run_now(self.queue, self.environment, self.model.id)
        return self.perform()

    @property
    def published(self) -> Path:
        """Where the version in use is."""
        return self.home / "published" / "cars.safetensors"


def dying(when: str, suffix: str) -> None:
    """Let this process be killed where a file whose path ends with ``suffix`` is renamed to it."""
    rename, replace = Path.rename, Path.replace

    def wrapped(original):
        def move(self, target):
            meant = Path(target).as_posix().endswith(suffix)
            if meant and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(self, target)
            if meant:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return move

    Path.rename, Path.replace = wrapped(rename), wrapped(replace)


def attempts(library: Path, base_model: Path, kills: list[str]) -> list[int]:
    """Attempts at the first job, each in a process of its own that is killed at one of ``kills`` (``before:ENDING`` or
    ``after:ENDING``), then one that is not; returns how each ended, as ``os.waitpid`` says."""
    ends = []
    for kill in [*kills, ""]:
        # Nothing has been computed here, so no thread is left behind by the fork.
        child = os.fork()
        if not child:
            if kill:
                dying(*kill.split(":"))
            # Or the queue would wait longer after every death.
            queue._LONGEST_PAUSE = 0.0
            held_out._DRAWS = DRAWS
            place = Watched(library, base_model)
            place.queue.recover(lambda attempt: True)
            place.perform()
            os._exit(0)
        ends.append(os.waitpid(child, 0)[1])
    return ends


if __name__ == "__main__":
    print(attempts(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
