"""A run in a background thread: start it, poll its report, stop it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Literal

from .. import crash, json_text
from ..config import Config
from ..contract import Host
from ..errors import TrainingError, UserError
from ..training import run
from ..training.log import Report

Status = Literal["waiting", "preparing", "training", "done", "stopped", "failed"]
_CURVE_POINTS = 400


class Job:
    """A run on a host, in a background thread.

    ``report`` may be called from any thread, at any time, without waiting for the run.
    """

    def __init__(
        self, config: Config, host: Host, *, resume: run.Resume = False, listen: Report = lambda event: None
    ) -> None:
        """``listen`` is called with every event, in the run's thread."""
        self.config = config
        self._host = host
        self._resume = resume
        self._listen = listen
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"training {config.name}", daemon=True)
        self._fields: dict[str, Any] = {
            "status": "waiting", "name": config.name, "trigger": config.trigger_word, "stopping": False,
        }  # fmt: skip
        self._losses: list[tuple[int, float]] = []
        self._lists: dict[str, list[Any]] = {"previews": [], "checkpoints": [], "skipped": [], "warnings": []}

    @property
    def alive(self) -> bool:
        """Whether the run is not over yet."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin; the run waits by itself until the host is free."""
        self._update(started=time.time())
        self._thread.start()

    def stop(self) -> None:
        """Request the run to save and stop after the current step."""
        self._stop.set()
        self._update(stopping=True)

    def join(self, timeout: float | None = None) -> None:
        """Wait for the run to end."""
        self._thread.join(timeout)

    def report(self) -> dict[str, Any]:
        """The state of the run, ready for JSON: a number that is not finite is None.

        ``status``, ``name`` and ``trigger`` (the word, maybe empty) always; once known ``step``,
        ``steps``, ``epoch``, ``epochs``, ``loss``, ``learning_rate``, ``rate`` (steps a second), ``eta`` (seconds),
        ``memory_mb``, ``prepare`` (done, total, what), ``lora``, ``error``; the lists ``curve`` ([step, loss] in at
        most 400 points, each the mean of its steps), ``previews``, ``checkpoints``, ``skipped`` and ``warnings``.
        """
        with self._lock:
            lists = {name: list(items) for name, items in self._lists.items()}
            return json_text.finite({**self._fields, **lists, "curve": _thinned(self._losses)})

    def _work(self) -> None:
        try:
            result = run.train(
                self.config, self._host, resume=self._resume, report=self._on_event, should_stop=self._stop.is_set
            )
            lora = str(result.lora) if result.lora else None
            self._update(status="stopped" if result.stopped else "done", lora=lora, loss=result.loss)
        except run.Stopped:
            self._update(status="stopped")
        except (UserError, TrainingError) as error:
            self._update(status="failed", error=str(error))
        except Exception as error:  # noqa: BLE001 - the last place where a crash can become a sentence
            self._update(status="failed", error=crash.sentence(error, crash.write(Path(self.config.output_dir))))
        finally:
            self._update(ended=time.time(), eta=None, stopping=False)

    def _on_event(self, event: dict[str, Any]) -> None:
        """Update the report by an event of the run."""
        self._listen(event)
        kind = event["event"]
        fields = {key: value for key, value in event.items() if key not in ("event", "time")}
        if kind == "prepare":
            self._update(status="preparing", prepare=fields)
        elif kind == "start":
            self._update(status="training", step=event["step"], steps=event["steps"], epochs=event["epochs"])
            self._update(pictures=event["pictures"])
        elif kind == "step":
            if json_text.finite(event["loss"]) is not None:
                with self._lock:
                    self._losses.append((event["step"], event["loss"]))
            self._update(**fields)
        elif kind in ("preview", "checkpoint"):
            self._add(f"{kind}s", fields)
        elif kind == "skipped":
            self._add("skipped", fields)
        elif kind == "warning":
            self._add("warnings", event["text"])

    def _update(self, **fields: Any) -> None:
        with self._lock:
            self._fields.update(fields)

    def _add(self, name: str, item: Any) -> None:
        with self._lock:
            self._lists[name].append(item)


def _thinned(losses: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most ``_CURVE_POINTS`` points, each the last step and the mean loss of its share."""
    width = -(-len(losses) // _CURVE_POINTS) or 1
    shares = [losses[start : start + width] for start in range(0, len(losses), width)]
    return [(share[-1][0], sum(loss for _, loss in share) / len(share)) for share in shares]
