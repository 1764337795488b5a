"""When the state of a run is saved, and how a run resumes from it."""

from __future__ import annotations

import time
from typing import Any

from .. import threads
from . import divergence
from . import state as states
from .checkpoints import Checkpoints, due_by_epoch, due_by_step
from .listener import Context, Listener
from .log import Log
from .previews import Previews
from .state import State
from .validation import Validation

# A killed run loses at most the longest interval, and less where a state costs little: the seconds between two states
# are so many times what writing one took, which is one percent of the time.
_LONGEST_SECONDS, _SHORTEST_SECONDS, _TIMES_COST = 60.0, 5.0, 100.0
_clock = time.monotonic


class StateSaver(Listener):
    """Saves the state with every checkpoint, at the end, and so often that a killed run loses a minute at most."""

    def __init__(
        self,
        context: Context,
        identity: dict[str, Any],
        log: Log,
        validation: Validation,
        previews: Previews,
        checkpoints: Checkpoints,
    ) -> None:
        """``identity`` is what a continuation must have in common with the run (``state.fingerprint``)."""
        self._context = context
        self._identity = identity
        self._log = log
        self._validation = validation
        self._previews = previews
        self._checkpoints = checkpoints
        self._saved_at = self._step_ended_at = _clock()
        self._interval = _SHORTEST_SECONDS

    def restore(self, state: State) -> None:
        """Let the listeners resume from a saved state."""
        for part in (self._log, self._checkpoints, self._previews):
            part.load_state_dict(state.progress)
        self._validation.restore(state)
        self._context.progress.ended_early = state.progress.get("ended_early", False)

    def on_step_end(self, stopped: bool) -> None:
        """Save the state where that is due."""
        context = self._context
        by_config = due_by_step(context) or due_by_epoch(context)
        if by_config or stopped or context.progress.done or self._due_by_time():
            self._save()

    def _due_by_time(self) -> bool:
        """Whether a run that died in the next step would lose more than it should."""
        now = _clock()
        step_seconds = now - self._step_ended_at
        self._step_ended_at = now
        return now + step_seconds - self._saved_at > self._interval

    def _save(self) -> None:
        context = self._context
        self._log.flush()
        divergence.check_weights(context)
        if not context.world.is_main:
            return
        began, stepper = _clock(), context.stepper
        state = State(
            context.progress.step,
            {
                **self._log.state_dict(),
                **self._validation.state_dict(),
                **self._checkpoints.state_dict(),
                **self._previews.state_dict(),
                "ended_early": context.progress.ended_early,
                "at_once": stepper.at_once,
                "threads": threads.count(),
            },
            context.adapter.weights,
            stepper.optimizer.state_dict(),
            stepper.scaler.state_dict(),
            self._validation.best_weights,
        )
        states.save(context.output.state_dir, state, self._identity)
        self._saved_at = _clock()
        self._interval = min(max(_TIMES_COST * (self._saved_at - began), _SHORTEST_SECONDS), _LONGEST_SECONDS)
        self._log.emit({"event": "state", "step": context.progress.step})
