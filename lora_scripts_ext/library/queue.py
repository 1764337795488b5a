"""The queue: jobs are added, ordered, claimed, finished, recovered. Every change is one transaction of the library."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

from .. import json_text
from ..errors import Conflict, NotFound, UserError
from ..owner import Owner
from . import models, rebuild, window
from .database import Database
from .job import ENDED, OWNED, Attempt, Change, Claim, Job, NewJob, Page, State, StopRequest

# A job whose process ends again and again without getting further is the likely cause if the worker goes on living,
# else it may as well be the machine.
_MOST_CRASHES, _MOST_DEATHS = 3, 50
_LONGEST_PAUSE = 300.0
_RECORDING_THREADS = 16
# A change that lies this far in the future was made before the clock was set back.
_CLOCK_TOLERANCE = 5.0
_now = time.time


class LeaseLost(Exception):
    """Another attempt at the job has begun, or it is over: what this one does must not count."""


class Queue:
    """The jobs of a library. Methods may be called from any thread and process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, jobs: Sequence[NewJob]) -> list[Job]:
        """Append jobs to the queue, all or none.

        Raises:
            UserError: ``after`` names no job.
        """
        with self._database.writing() as connection:
            added = [self._insert(connection, job) for job in jobs]
        self._record(*added)
        return added

    def get(self, job: str) -> Job:
        """The job with this id.

        Raises:
            UserError: there is none.
        """
        with self._database.reading() as connection:
            return _get(connection, job)

    def page(
        self,
        *,
        states: Collection[str] = (),
        kind: str = "",
        model: str = "",
        limit: int = 100,
        cursor: str = "",
    ) -> Page:
        """Jobs in the order in which they run or ran: the owned, the queued, then the ended, newest first.

        Only those of these ``states``, this ``kind`` and this ``model``, where given; at most ``limit`` after
        ``cursor``, which is ``next`` of the page before.

        Raises:
            UserError: the cursor is none of ours.
        """
        where, values = ["1"], list[str]()
        for column, wanted in (("state", states), ("kind", [kind]), ("model", [model])):
            if any(wanted):
                where.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values += wanted
        offset = _offset(cursor)
        query = f"SELECT * FROM jobs WHERE {' AND '.join(where)} ORDER BY {_ORDER} LIMIT ? OFFSET ?"
        with self._database.reading() as connection:
            rows = connection.execute(query, [*values, limit + 1, offset]).fetchall()
        jobs = [Job.of(row) for row in rows[:limit]]
        return Page(jobs, str(offset + limit) if len(rows) > limit else None)

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self._database.reading() as connection:
            return dict(connection.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())

    def waits_for(self, job: Job) -> str:
        """Why a queued job does not run yet, as a sentence; empty where only its turn has not come."""
        if job.state != "queued":
            return ""
        with self._database.reading() as connection:
            return _waits_for(connection, job, self.paused())

    def changes(self, job: str = "", after: int = 0, limit: int = 1000) -> list[Change]:
        """What happened to a job, or to all, after the change with the number ``after``, in order."""
        one = "job = ? AND" if job else ""
        query = f"SELECT seq, job, at, state, reason FROM changes WHERE {one} seq > ? ORDER BY seq LIMIT ?"
        with self._database.reading() as connection:
            rows = connection.execute(query, [*([job] if job else []), after, limit]).fetchall()
        return [Change(*row) for row in rows]

    def newest_change(self) -> int:
        """The number of the last change of any job; 0 before the first."""
        with self._database.reading() as connection:
            return int(connection.execute("SELECT COALESCE(MAX(seq), 0) FROM changes").fetchone()[0])

    def attempts(self, job: str) -> list[Attempt]:
        """The tries at a job, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM attempts WHERE job = ? ORDER BY fence", [job]).fetchall()
        return [Attempt(**row) for row in rows]

    def paused(self) -> bool:
        """Whether no job is started."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT value FROM settings WHERE key = 'paused'").fetchone()
        return row is not None and row[0] == "true"

    def pause(self, paused: bool) -> None:
        """Start no job any more, or start them again; what runs goes on."""
        with self._database.writing() as connection:
            _set(connection, "paused", "true" if paused else "false")

    def update(self, job: str, **fields: Any) -> Job:
        """Change ``priority``, ``after``, ``not_before`` or ``window`` of a queued job.

        Raises:
            UserError: it is not queued any more, or a value is wrong.
        """
        with self._database.writing() as connection:
            _queued(connection, job)
            if fields.get("after"):
                _check_after(connection, job, fields["after"])
            if fields.get("window"):
                window.parse(fields["window"])
            for column in fields.keys() & {"priority", "after", "not_before", "window"}:
                connection.execute(f"UPDATE jobs SET {column} = ? WHERE id = ?", [fields[column], job])
            return _get(connection, job)

    def move(self, job: str, before: str | None) -> Job:
        """Let a queued job run right before another one, or last; it takes the priority of its new neighbour.

        Raises:
            UserError: one of them is not queued any more.
        """
        with self._database.writing() as connection:
            _queued(connection, job)
            others = [row for row in _queued_in_order(connection) if row["id"] != job]
            ids = [row["id"] for row in others]
            if before is None:
                index = len(others)
            elif before in ids:
                index = ids.index(before)
            else:
                raise Conflict(f"before: job {before} does not wait in the queue; reload the list and try again.")
            if others:
                beside = others[min(index, len(others) - 1)]
                connection.execute("UPDATE jobs SET priority = ? WHERE id = ?", [beside["priority"], job])
            # Whole numbers again: halving distances would run out of digits.
            for position, one in enumerate([*ids[:index], job, *ids[index:]], 1):
                connection.execute("UPDATE jobs SET position = ? WHERE id = ?", [position, one])
            return _get(connection, job)

    def stop(self, job: str) -> Job:
        """Ask a job to save and stop; one that waits is stopped at once.

        Raises:
            UserError: it is over already.
        """
        return self._request(job, "stop", "stopped", "Stopped before it was started.")

    def cancel(self, job: str) -> Job:
        """As ``stop``, for good.

        Raises:
            UserError: it is over already.
        """
        return self._request(job, "cancel", "cancelled", "Cancelled.")

    def output_folders(self) -> set[str]:
        """Where jobs that have not ended write."""
        with self._database.reading() as connection:
            query = f"SELECT output_dir FROM jobs WHERE state NOT IN {ENDED} AND output_dir != ''"
            return {row[0] for row in connection.execute(query)}

    def retry(self, job: str, config: dict[str, Any] | None = None, *, name: str = "", output_dir: str = "") -> Job:
        """Queue a job again that ended; a training resumes from its last state.

        ``config`` replaces its config, ``name`` and ``output_dir`` go with that.

        Raises:
            UserError: it is done, or not over.
        """
        with self._database.writing() as connection:
            found = _get(connection, job)
            if found.state == "done":
                raise Conflict(f"Job {job} is done; add a new one to do it again.")
            if not found.ended:
                raise Conflict(f"Job {job} is {found.state}; only one that has ended can be tried again.")
            if config is not None:
                connection.execute(
                    "UPDATE jobs SET config = ?, name = ?, output_dir = ? WHERE id = ?",
                    [json_text.dumps(config), name or found.name, output_dir or found.output_dir, job],
                )
            connection.execute(
                "UPDATE jobs SET stop = '', crashes = 0, deaths = 0, retry_at = NULL, result = '{}', progress = '{}' "
                "WHERE id = ?", [job]
            )  # fmt: skip
            _change(connection, job, "queued", "Queued again.")
            again = _get(connection, job)
        self._record(again)
        return again

    def remove(self, job: str) -> None:
        """Forget a job that has ended; its files stay.

        Raises:
            UserError: it has not ended.
        """
        with self._database.writing() as connection:
            if not _get(connection, job).ended:
                raise Conflict(f"Job {job} has not ended; cancel it first.")
            connection.execute("DELETE FROM jobs WHERE id = ?", [job])

    def claim(self, lane: str, owner: Owner, accepts: Callable[[Job], bool] = lambda job: True) -> Claim | None:
        """Take the first job that may run now, for ``owner``; None where there is none or the lane is taken.

        Args:
            lane: the device and its machine; one job at a time runs in a lane, whoever claims it.
            owner: the process.
            accepts: whether it can run the job.
        """
        with self._database.writing() as connection:
            busy = connection.execute("SELECT 1 FROM attempts WHERE lane = ? AND ended IS NULL", [lane]).fetchone()
            if busy is not None or self.paused():
                return None
            folders = _folders_in_use(connection)
            for row in _queued_in_order(connection):
                job = Job.of(row)
                if _waits_for(connection, job, False) or (job.output_dir and job.output_dir in folders):
                    continue
                if accepts(job):
                    return _claim(connection, job, lane, owner)
        return None

    def note(self, reasons: Mapping[str, str]) -> None:
        """Say of queued jobs, by id, why they are not started."""
        if reasons:
            with self._database.writing() as connection:
                for job, reason in reasons.items():
                    connection.execute("UPDATE jobs SET reason = ? WHERE id = ? AND state = 'queued'", [reason, job])

    def take_over(self, claim: Claim, owner: Owner) -> None:
        """From now on ``owner`` runs the claimed job: its worker has started it as a process of its own.

        Raises:
            LeaseLost: the claim does not hold any more.
        """
        with self._database.writing() as connection:
            _require(connection, claim)
            connection.execute(
                "UPDATE attempts SET pid = ?, pid_started = ?, host = ? WHERE job = ? AND fence = ?",
                [owner.pid, owner.started, owner.host, claim.job.id, claim.fence],
            )

    def running(self, claim: Claim) -> None:
        """The job's own work begins.

        Raises:
            LeaseLost: the claim does not hold any more.
        """
        with self._database.writing() as connection:
            if _require(connection, claim).state == "starting":
                _change(connection, claim.job.id, "running", "")

    def begun(self, claim: Claim) -> None:
        """From now on an attempt resumes what this one has done.

        Raises:
            LeaseLost: the claim does not hold any more.
        """
        with self._database.writing() as connection:
            _require(connection, claim)
            connection.execute("UPDATE jobs SET begun = 1 WHERE id = ?", [claim.job.id])

    def beat(self, claim: Claim, progress: dict[str, Any], step: int) -> StopRequest:
        """The owner lives, and is so far; returns what it has been asked for.

        Raises:
            LeaseLost: the claim does not hold any more.
        """
        with self._database.writing() as connection:
            job = _require(connection, claim)
            connection.execute(
                "UPDATE attempts SET beat = beat + 1, best_step = MAX(best_step, ?) WHERE job = ? AND fence = ?",
                [step, job.id, claim.fence],
            )
            connection.execute("UPDATE jobs SET progress = ? WHERE id = ?", [json_text.dumps(progress), job.id])
            return job.stop

    def holds(self, claim: Claim) -> bool:
        """Whether the claim still holds: what is asked before anything is published."""
        with self._database.reading() as connection:
            job = _get(connection, claim.job.id)
            return job.fence == claim.fence and job.state in OWNED

    def finish(self, claim: Claim, state: State, reason: str = "", result: dict[str, Any] | None = None) -> None:
        """The job has ended with ``state``; what a training of a model came to is a version of it from now on.

        Raises:
            LeaseLost: the claim does not hold any more.
        """
        version = models.version_columns(replace(claim.job, state=state, result=result or {}))
        with self._database.writing() as connection:
            job = _require(connection, claim)
            if state == "stopped" and job.stop == "cancel":
                state = "cancelled"
            connection.execute("UPDATE jobs SET result = ? WHERE id = ?", [json_text.dumps(result or {}), job.id])
            _end_attempt(connection, job.id, claim.fence, state, reason)
            _change(connection, job.id, state, reason)
            ended = _get(connection, job.id)
            if version is not None:
                models.insert_version(connection, ended, version)
        self._record(ended)

    def requeue(self, claim: Claim, reason: str, pause: float = 0.0) -> None:
        """The owner gives the job back without fault of the job; it is not started again for ``pause`` seconds.

        Raises:
            LeaseLost: the claim does not hold any more.
        """
        with self._database.writing() as connection:
            job = _require(connection, claim)
            _end_attempt(connection, job.id, claim.fence, "requeued", reason)
            _back_to_queue(connection, job, reason, pause)

    def interrupted(self, claim: Claim, reason: str, pause: float) -> None:
        """The job cannot go on for the moment, such as on a full disk: it is tried again after ``pause`` seconds, and
        then after longer ones, a limited number of times.

        Raises:
            LeaseLost: the claim does not hold any more.
        """
        with self._database.writing() as connection:
            _after_death(connection, _require(connection, claim), reason, pause=pause)

    def died(self, claim: Claim, reason: str) -> None:
        """The process that ran the job has ended without a word, and its worker lives: back to the queue, or failed
        if that happens again and again. Without effect where the claim does not hold any more."""
        with self._database.writing() as connection:
            job = _get(connection, claim.job.id)
            if job.fence == claim.fence and job.state in OWNED:
                _after_death(connection, job, reason, crashed=True)

    def recover(self, is_dead: Callable[[Attempt], bool]) -> list[Job]:
        """Put the jobs of dead owners back into the queue, or, after too many tries, among the failed.

        Args:
            is_dead: whether the owner of an attempt does not run any more.
        """
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM attempts WHERE ended IS NULL").fetchall()
        dead = [attempt for attempt in (Attempt(**row) for row in rows) if is_dead(attempt)]
        recovered = []
        for attempt in dead:
            with self._database.writing() as connection:
                job = _get(connection, attempt.job)
                open_now = connection.execute(
                    "SELECT pid, pid_started FROM attempts WHERE id = ? AND ended IS NULL", [attempt.id]
                ).fetchone()
                # It may have ended, or have been taken over by its own process, in the meantime.
                if open_now is None or tuple(open_now) != (attempt.pid, attempt.pid_started):
                    continue
                _after_death(connection, job, "Its process has ended (killed, or the machine was switched off).")
                recovered.append(_get(connection, job.id))
        return recovered

    def is_settled(self, mine: Callable[[Job], bool] = lambda job: True) -> bool:
        """Whether of the jobs that are ``mine`` none runs, and none waits but for what only a person can change."""
        with self._database.reading() as connection:
            owned = connection.execute(f"SELECT * FROM jobs WHERE state IN {OWNED}").fetchall()
            if any(mine(Job.of(row)) for row in owned):
                return False
            waiting = _queued_in_order(connection)
            return all(_blocked(connection, row["after"]) or not mine(Job.of(row)) for row in waiting)

    def _insert(self, connection: sqlite3.Connection, new: NewJob) -> Job:
        if new.after is not None:
            _check_after(connection, "", new.after)
        if new.window:
            window.parse(new.window)
        last = connection.execute("SELECT COALESCE(MAX(position), 0) FROM jobs").fetchone()[0]
        values = {
            **asdict(new),
            "config": json_text.dumps(new.config),
            "position": last + 1,
            "id": secrets.token_hex(6),
        }
        del values["problem"], values["note"]
        values |= {"state": "queued", "created": _now(), "changed": _now()}
        names = ", ".join(values)
        connection.execute(f"INSERT INTO jobs ({names}) VALUES ({', '.join('?' * len(values))})", list(values.values()))
        if new.problem:
            _change(connection, values["id"], "failed", new.problem)
        else:
            _change(connection, values["id"], "queued", new.note)
        return _get(connection, values["id"])

    def _request(self, job: str, request: StopRequest, state: State, reason: str) -> Job:
        with self._database.writing() as connection:
            found = _get(connection, job)
            if found.state == "queued":
                _change(connection, job, state, reason)
            elif found.state in OWNED:
                connection.execute("UPDATE jobs SET stop = ? WHERE id = ?", [request, job])
                if found.state != "stopping":
                    _change(connection, job, "stopping", "It saves and stops after the current step.")
            elif request == "cancel" and found.state in ("failed", "stopped"):
                _change(connection, job, state, reason)
            else:
                raise Conflict(f"Job {job} is {found.state} already; there is nothing to stop.")
            changed = _get(connection, job)
        self._record(changed)
        return changed

    def _record(self, *jobs: Job) -> None:
        """Write down what a library that is made again needs; not worth failing for."""

        def record(job: Job) -> None:
            with contextlib.suppress(OSError):
                rebuild.record(self._database.folder, job)

        def record_all() -> None:
            # Each waits for the disk several times.
            with ThreadPoolExecutor(_RECORDING_THREADS) as pool:
                list(pool.map(record, jobs))

        # No other process should wait for that.
        self._database.afterwards(record_all if len(jobs) != 1 else lambda: record(jobs[0]))


# Owned first, then the queue in its order, then what has ended, the newest first.
_ORDER = f"""
    CASE WHEN state IN {OWNED} THEN 0 WHEN state = 'queued' THEN 1 ELSE 2 END,
    CASE WHEN state = 'queued' THEN -priority END, CASE WHEN state = 'queued' THEN position END,
    (SELECT MAX(seq) FROM changes WHERE changes.job = jobs.id) DESC
"""


def _get(connection: sqlite3.Connection, job: str) -> Job:
    row = connection.execute("SELECT * FROM jobs WHERE id = ?", [job]).fetchone()
    if row is None:
        raise NotFound(f"There is no job {job}; `jobs list` and GET /jobs show them all.")
    return Job.of(row)


def _queued(connection: sqlite3.Connection, job: str) -> Job:
    found = _get(connection, job)
    if found.state != "queued":
        raise Conflict(f"Job {job} is {found.state}; only one that waits in the queue can be changed.")
    return found


def _queued_in_order(connection: sqlite3.Connection) -> list[sqlite3.Row]:
    query = "SELECT * FROM jobs WHERE state = 'queued' ORDER BY priority DESC, position"
    return connection.execute(query).fetchall()


def _folders_in_use(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute(f"SELECT output_dir FROM jobs WHERE state IN {OWNED}")}


def _waits_for(connection: sqlite3.Connection, job: Job, paused: bool) -> str:
    now = _now()
    if job.after is not None:
        name, state = connection.execute("SELECT name, state FROM jobs WHERE id = ?", [job.after]).fetchone()
        if state in ENDED and state != "done":
            return f"Waits for {name} ({job.after}), which is {state}; retry that one, or change what this waits for."
        if state != "done":
            return f"Waits for {name} ({job.after})."
    if job.not_before is not None and now < job.not_before:
        return f"Waits until {time.strftime('%Y-%m-%d %H:%M', time.localtime(job.not_before))}."
    if job.window and not window.is_open(job.window, now):
        return f"Waits for its time of day, {job.window}."
    clock_set_back = job.changed > now + _CLOCK_TOLERANCE
    if job.retry_at is not None and now < job.retry_at and not clock_set_back:
        return f"Is tried again in {round(job.retry_at - now) or 1} s."
    return "The queue is paused." if paused else ""


def _blocked(connection: sqlite3.Connection, after: str | None) -> bool:
    """Whether a job can never run unless a person changes something."""
    while after is not None:
        state, after = connection.execute("SELECT state, after FROM jobs WHERE id = ?", [after]).fetchone()
        if state in ENDED:
            return state != "done"
    return False


def _check_after(connection: sqlite3.Connection, job: str, after: str) -> None:
    """``after`` exists and does not itself wait for ``job``."""
    seen: str | None = after
    while seen is not None:
        if seen == job:
            raise UserError(f"after: job {after} waits for this one itself; choose another.")
        row = connection.execute("SELECT after FROM jobs WHERE id = ?", [seen]).fetchone()
        if row is None:
            raise UserError(f"after: there is no job {after}; `jobs list` shows them all.")
        seen = row[0]


def _claim(connection: sqlite3.Connection, job: Job, lane: str, owner: Owner) -> Claim:
    fence = job.fence + 1
    connection.execute("UPDATE jobs SET fence = ?, stop = '', progress = '{}' WHERE id = ?", [fence, job.id])
    connection.execute(
        "INSERT INTO attempts (job, fence, lane, pid, pid_started, host, started) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [job.id, fence, lane, owner.pid, owner.started, owner.host, _now()],
    )
    _change(connection, job.id, "starting", "")
    return Claim(_get(connection, job.id), fence, lane)


def _require(connection: sqlite3.Connection, claim: Claim) -> Job:
    try:
        job = _get(connection, claim.job.id)
    except UserError as error:
        raise LeaseLost(str(error)) from error
    if job.fence != claim.fence or job.state not in OWNED:
        raise LeaseLost(f"Attempt {claim.fence} at job {job.id} is over: attempt {job.fence} is {job.state}.")
    return job


def _after_death(
    connection: sqlite3.Connection, job: Job, reason: str, *, crashed: bool = False, pause: float = 0.0
) -> None:
    """An attempt has ended without a word: the job goes back to the queue unless that never gets it further."""
    _end_attempt(connection, job.id, job.fence, "requeued", reason)
    if job.stop in ("stop", "cancel"):
        # It was asked to end, and has; its last state is at most a minute old.
        _change(connection, job.id, "cancelled" if job.stop == "cancel" else "stopped", reason)
        return
    further = _got_further(connection, job)
    crashes = (0 if further else job.crashes) + crashed
    deaths = (0 if further else job.deaths) + (not crashed)
    connection.execute("UPDATE jobs SET crashes = ?, deaths = ? WHERE id = ?", [crashes, deaths, job.id])
    if crashes >= _MOST_CRASHES or deaths >= _MOST_DEATHS:
        times = f"{crashes or deaths} times in a row"
        _change(
            connection, job.id, "failed",
            f"{reason} That happened {times} without getting further; free memory and disk space, or set "
            "gradient_checkpointing: true or a smaller resolution, then retry.",
        )  # fmt: skip
        return
    tries = crashes + deaths
    if tries > 1:
        pause = max(pause, 2.0 ** (tries - 2))
    _back_to_queue(connection, job, reason, min(pause, _LONGEST_PAUSE))


def _got_further(connection: sqlite3.Connection, job: Job) -> bool:
    """Whether the newest attempt reached a step that none before it had reached."""
    query = "SELECT COALESCE(MAX(best_step), 0) FROM attempts WHERE job = ? AND fence {} ?"
    newest, before = (connection.execute(query.format(sign), [job.id, job.fence]).fetchone()[0] for sign in ("=", "<"))
    return bool(newest > before)


def _back_to_queue(connection: sqlite3.Connection, job: Job, reason: str, pause: float) -> None:
    retry_at = _now() + pause if pause else None
    connection.execute("UPDATE jobs SET stop = '', retry_at = ? WHERE id = ?", [retry_at, job.id])
    _change(connection, job.id, "queued", reason)


def _end_attempt(connection: sqlite3.Connection, job: str, fence: int, outcome: str, reason: str) -> None:
    connection.execute(
        "UPDATE attempts SET ended = ?, outcome = ?, reason = ? WHERE job = ? AND fence = ?",
        [_now(), outcome, reason, job, fence],
    )


def _change(connection: sqlite3.Connection, job: str, state: State, reason: str) -> None:
    now = _now()
    connection.execute("UPDATE jobs SET state = ?, reason = ?, changed = ? WHERE id = ?", [state, reason, now, job])
    connection.execute("INSERT INTO changes (job, at, state, reason) VALUES (?, ?, ?, ?)", [job, now, state, reason])


def _set(connection: sqlite3.Connection, key: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", [key, value])


def _offset(cursor: str) -> int:
    if cursor and not (cursor.isascii() and cursor.isdigit()):
        raise UserError(f"cursor: {cursor[:40]!r} is none of this list; leave it out to begin at the start.")
    return int(cursor or 0)
