"""The queue: its order, its leases, what becomes of a job whose owner dies."""

import itertools
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from lora_scripts_ext.errors import UserError
from lora_scripts_ext.jobs.worker import Deaths
from lora_scripts_ext.library import queue as queues
from lora_scripts_ext.library import schema
from lora_scripts_ext.library.database import NAME, Database
from lora_scripts_ext.library.job import NewJob
from lora_scripts_ext.library.models import Models
from lora_scripts_ext.library.queue import LeaseLost, Queue
from lora_scripts_ext.owner import Owner

LANE = "here cpu"
DEAD = Owner(2**22 + 1, "never", Owner.current().host)


@pytest.fixture
def queue(tmp_path):
    return Queue(Database(tmp_path))


def new(name="job", **fields):
    return NewJob("train", {"epochs": 1}, name, **fields)


def names(queue, **options):
    return [job.name for job in queue.page(**options).jobs]


def claim(queue, owner=None, lane=LANE):
    return queue.claim(lane, owner or Owner.current())


def states(queue, job):
    return [change.state for change in queue.changes(job.id)]


def test_jobs_run_by_priority_then_in_the_order_of_their_arrival(queue):
    queue.add([new("a"), new("b", priority=1), new("c")])
    queue.add([new("d", priority=1)])
    order = []
    while (one := claim(queue)) is not None:
        order.append(one.job.name)
        queue.finish(one, "done")
    assert order == ["b", "d", "a", "c"]


def test_a_job_is_moved_before_another_and_takes_its_priority(queue):
    a, _, c = queue.add([new("a", priority=2), new("b"), new("c")])
    assert queue.move(c.id, a.id).priority == 2
    assert names(queue) == ["c", "a", "b"]
    queue.move(c.id, None)
    assert names(queue) == ["a", "b", "c"]
    with pytest.raises(UserError, match="before"):
        queue.move(a.id, "nowhere")


def test_one_lane_runs_one_job_whoever_asks(queue):
    queue.add([new("a"), new("b")])
    taken = []
    gate = threading.Barrier(8)

    def worker():
        gate.wait()
        taken.append(claim(queue))

    threads = [threading.Thread(target=worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.job.name for one in taken if one] == ["a"]
    assert claim(queue, lane="here cuda:1").job.name == "b"


def test_a_job_waits_for_another_its_time_and_its_time_of_day(queue, monkeypatch):
    now = 1_800_000_000.0
    monkeypatch.setattr(queues, "_now", lambda: now)
    first = queue.add([new("first")])[0]
    after = queue.add([new("after", after=first.id)])[0]
    later = queue.add([new("later", not_before=now + 60)])[0]
    nightly = queue.add([new("nightly", window="22:00-22:01")])[0]
    assert claim(queue).job.name == "first"
    assert "first" in queue.waits_for(queue.get(after.id))
    assert "until" in queue.waits_for(later)
    assert "22:00-22:01" in queue.waits_for(nightly) or queues.window.is_open("22:00-22:01", now)


def test_what_waits_for_a_failed_job_says_so_and_runs_once_that_is_done(queue):
    first = queue.add([new("first")])[0]
    after = queue.add([new("after", after=first.id)])[0]
    queue.finish(claim(queue), "failed", "It went wrong.")
    assert claim(queue) is None and queue.is_settled()
    assert "is failed; retry that one" in queue.waits_for(queue.get(after.id))
    queue.retry(first.id)
    assert not queue.is_settled()
    queue.finish(claim(queue), "done")
    assert claim(queue).job.name == "after"


def test_a_job_cannot_wait_for_itself(queue):
    first = queue.add([new("first")])[0]
    after = queue.add([new("after", after=first.id)])[0]
    with pytest.raises(UserError, match="waits for this one"):
        queue.update(first.id, after=after.id)
    with pytest.raises(UserError, match="no job"):
        queue.add([new(after="nothing")])


def test_every_change_of_state_has_a_time_and_a_reason(queue):
    job = queue.add([new()])[0]
    one = claim(queue)
    queue.running(one)
    queue.stop(job.id)
    assert queue.beat(one, {}, 0) == "stop"
    queue.finish(one, "stopped", "Stopped at step 3.")
    assert states(queue, job) == ["queued", "starting", "running", "stopping", "stopped"]
    assert queue.get(job.id).reason == "Stopped at step 3."
    assert all(change.at > 0 for change in queue.changes(job.id))


def test_a_dead_owners_job_goes_back_into_the_queue_and_its_late_results_are_refused(queue):
    job = queue.add([new()])[0]
    old = claim(queue, DEAD)
    queue.begun(old)
    assert [one.id for one in queue.recover(Deaths())] == [job.id]
    fresh = claim(queue)
    assert fresh.fence == old.fence + 1 and fresh.job.begun
    for late in (
        lambda: queue.finish(old, "done"),
        lambda: queue.beat(old, {}, 5),
        lambda: queue.running(old),
        lambda: queue.requeue(old, ""),
        lambda: queue.take_over(old, DEAD),
    ):
        with pytest.raises(LeaseLost):
            late()
    assert not queue.holds(old) and queue.holds(fresh)
    queue.died(old, "late")
    assert queue.get(job.id).state == "starting"


def test_a_living_owner_keeps_its_job_however_the_clock_is_set(queue, monkeypatch):
    queue.add([new()])
    one = claim(queue)
    for clock in (0.0, 4e9):
        monkeypatch.setattr(queues, "_now", lambda clock=clock: clock)
        assert queue.recover(Deaths()) == []
    assert queue.holds(one)


def test_an_owner_on_another_machine_counts_as_dead_when_its_heart_stands_still(queue, monkeypatch):
    queue.add([new()])
    one = claim(queue, replace(DEAD, host="elsewhere"))
    deaths, clock = Deaths(), itertools.count(0, 50)
    monkeypatch.setattr("lora_scripts_ext.jobs.worker.time.monotonic", lambda: float(next(clock)))
    for _ in range(4):
        queue.beat(one, {}, 0)
        assert queue.recover(deaths) == []
    assert [queue.recover(deaths) for _ in range(2)] == [[], []]
    assert len(queue.recover(deaths)) == 1


def test_a_job_that_kills_its_process_again_and_again_fails_with_a_sentence(queue, monkeypatch):
    clock = itertools.count(1_800_000_000, 1000)
    monkeypatch.setattr(queues, "_now", lambda: float(next(clock)))
    job = queue.add([new()])[0]
    for _ in range(3):
        queue.died(claim(queue), "Its process was killed by signal 9.")
    failed = queue.get(job.id)
    assert failed.state == "failed" and "3 times" in failed.reason and "memory" in failed.reason


def test_an_attempt_that_gets_further_is_no_reason_to_give_up(queue, monkeypatch):
    clock = itertools.count(1_800_000_000, 1000)
    monkeypatch.setattr(queues, "_now", lambda: float(next(clock)))
    job = queue.add([new()])[0]
    for step in range(1, 30):
        one = claim(queue)
        queue.beat(one, {}, step)
        queue.died(one, "killed")
    assert queue.get(job.id).state == "queued"


def test_the_pause_before_the_next_try_grows_and_does_not_outlast_a_clock_that_is_set_back(queue, monkeypatch):
    now = [1_800_000_000.0]
    monkeypatch.setattr(queues, "_now", lambda: now[0])
    job = queue.add([new()])[0]
    pauses = []
    for _ in range(6):
        queue.recover(lambda attempt: False)
        claim(queue, DEAD)
        queue.recover(Deaths())
        retry_at = queue.get(job.id).retry_at
        pauses.append(0 if retry_at is None else retry_at - now[0])
        now[0] = retry_at or now[0]
    assert pauses == [0, 1, 2, 4, 8, 16]
    claim(queue, DEAD)
    queue.recover(Deaths())
    assert claim(queue) is None
    now[0] -= 86400
    assert claim(queue) is not None


def test_stop_and_cancel_reach_a_job_in_every_state(queue):
    waiting, running = queue.add([new("waiting", priority=-1), new("running")])
    one = claim(queue)
    assert queue.stop(waiting.id).state == "stopped"
    assert queue.cancel(waiting.id).state == "cancelled"
    queue.cancel(running.id)
    queue.finish(one, "stopped")
    assert queue.get(running.id).state == "cancelled"
    with pytest.raises(UserError, match="nothing to stop"):
        queue.stop(running.id)


def test_a_job_whose_process_dies_while_it_stops_is_stopped(queue):
    job = queue.add([new()])[0]
    one = claim(queue)
    queue.stop(job.id)
    queue.died(one, "Its process was killed by signal 9.")
    assert queue.get(job.id).state == "stopped"


def test_two_jobs_never_write_into_one_folder_at_a_time(queue):
    queue.add([new("a", output_dir="/out"), new("b", output_dir="/out"), new("c", output_dir="/other")])
    assert claim(queue).job.name == "a"
    assert claim(queue, lane="here cuda:1").job.name == "c"


def test_a_thousand_jobs_are_listed_page_by_page(queue):
    queue.add([new(f"{number:04d}") for number in range(1000)])
    seen, cursor = [], ""
    while cursor is not None:
        page = queue.page(limit=300, cursor=cursor)
        seen += [job.name for job in page.jobs]
        cursor = page.next
    assert seen == [f"{number:04d}" for number in range(1000)]
    with pytest.raises(UserError, match="cursor"):
        queue.page(cursor="x")


def test_paused_means_that_nothing_is_started(queue):
    job = queue.add([new()])[0]
    queue.pause(True)
    assert claim(queue) is None and queue.waits_for(job) == "The queue is paused."
    queue.pause(False)
    assert claim(queue) is not None


def test_an_older_library_is_migrated_and_a_newer_one_refused(tmp_path, monkeypatch):
    Queue(Database(tmp_path)).add([new("kept")])
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "ALTER TABLE jobs ADD COLUMN extra TEXT;"))
    database = Database(tmp_path)
    with database.reading() as connection:
        assert connection.execute("SELECT name, extra FROM jobs").fetchall()[0]["extra"] is None
    database.close()
    monkeypatch.undo()
    with pytest.raises(UserError, match="newer LoRA Trainer"):
        Database(tmp_path)


def test_a_library_of_the_first_tables_keeps_all_of_its_rows(tmp_path, monkeypatch):
    rows = {
        "models": {
            "id": "aa", "name": "brand", "kind": "car", "config": '{"epochs": 3}', "created": 1.0, "changed": 2.0,
        },
        "jobs": {
            "id": "bb", "kind": "train", "name": "brand", "state": "done", "position": 1.0, "config": "{}",
            "model": "aa", "created": 1.0, "changed": 2.0,
        },
        "versions": {
            "id": "cc", "model": "aa", "number": 1, "job": "bb", "parent": None, "file": "/x/a.safetensors",
            "sha256": "00", "published": "/y/a.safetensors", "facts": '{"loss": 0.5}', "created": 3.0,
        },
    }  # fmt: skip
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
    database = Database(tmp_path)
    with database.writing() as connection:
        for table, row in rows.items():
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))
        before = {table: dict(connection.execute(f"SELECT * FROM {table}").fetchone()) for table in rows}
    database.close()
    monkeypatch.undo()
    database = Database(tmp_path)
    with database.reading() as connection:
        assert schema.version(connection) >= 2
        for table, row in before.items():
            (now,) = connection.execute(f"SELECT * FROM {table}").fetchall()
            assert dict(now).items() >= row.items()
    (model,) = Models(database).page().models
    assert (model.tags, model.retired, Models(database).version("aa", 1).origin) == ([], None, "training")


def test_a_migration_that_fails_leaves_the_library_as_it_was(tmp_path, monkeypatch):
    Queue(Database(tmp_path)).add([new("kept")])
    broken = "ALTER TABLE jobs ADD COLUMN extra TEXT; INSERT INTO nothing VALUES (1);"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken.replace("; ", ";\n")))
    with pytest.raises(UserError):
        Database(tmp_path)
    monkeypatch.undo()
    assert names(Queue(Database(tmp_path))) == ["kept"]


@pytest.mark.parametrize("damage", ["header", "middle", "truncated", "text"])
def test_a_damaged_library_is_set_aside_and_made_again_from_the_jobs_folders(tmp_path, damage):
    from lora_scripts_ext.library import rebuild

    database = Database(tmp_path)
    queue = Queue(database)
    done, waiting = queue.add([new(f"done{'x' * 5000}"), new("waiting")])
    queue.add([new(f"job {number}") for number in range(50)])
    queue.finish(claim(queue), "done", "", {"lora": "x.safetensors"})
    database.close()
    path = tmp_path / NAME
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[:64] = bytes(64)
    elif damage == "middle":
        content[4096:-4096] = bytes(len(content) - 8192)
    elif damage == "truncated":
        del content[len(content) // 2 :]
    else:
        content = bytearray(b"not a database at all")
    path.write_bytes(content)
    for beside in tmp_path.glob(f"{NAME}-*"):
        beside.unlink()

    again = Database(tmp_path, rebuild.from_folders)
    assert "damaged" in again.warnings[0] and list(tmp_path.glob("*.damaged"))
    queue = Queue(again)
    assert queue.get(done.id).state == "done" and queue.get(done.id).result == {"lora": "x.safetensors"}
    assert queue.get(waiting.id).state == "queued" and "made again" in queue.get(waiting.id).reason
    assert len(queue.page(limit=1000).jobs) == 52


def test_several_processes_may_open_a_new_library_at_once(tmp_path):
    code = (
        "import sys; from pathlib import Path; from lora_scripts_ext.library.database import Database;"
        "from lora_scripts_ext.library.queue import Queue; from lora_scripts_ext.library.job import NewJob;"
        "Queue(Database(Path(sys.argv[1]))).add([NewJob('train', {}, sys.argv[2])])"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in range(6)]
    assert [process.wait() for process in processes] == [0] * 6
    assert sorted(names(Queue(Database(tmp_path)))) == [str(n) for n in range(6)]


def test_a_change_that_cannot_be_written_is_not_half_there(queue, tmp_path):
    queue.add([new("kept")])
    with queue._database.reading() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    queue._database.connection().execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        queue.add([new("x" * 100_000)])
    assert names(queue) == ["kept"]


def test_what_comes_after_a_change_waits_until_that_is_kept(tmp_path):
    database = Database(tmp_path)
    seen = []

    def note():
        with Database(tmp_path).reading() as connection:
            seen.append(connection.execute("SELECT COUNT(*) FROM settings").fetchone()[0])

    with database.writing() as connection:
        connection.execute("INSERT INTO settings (key, value) VALUES ('a', 'b')")
        with database.writing():
            database.afterwards(note)
        assert seen == []
    assert seen == [1]
    database.afterwards(note)
    assert seen == [1, 1]
    with pytest.raises(RuntimeError), database.writing():
        database.afterwards(note)
        raise RuntimeError
    assert seen == [1, 1]
