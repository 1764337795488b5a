"""When updates are queued and fetch commands run: once a night, by whatever process, whatever the clock does."""

import os
import sys
import threading
import time
from datetime import datetime

import pytest

from lora_scripts_ext.errors import NotFound, UserError
from lora_scripts_ext.jobs import fetching, service_file, watching
from lora_scripts_ext.jobs.service_file import Fetch
from lora_scripts_ext.jobs.watching import Watcher
from lora_scripts_ext.library import fetches, rebuild, watches
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.fetches import Fetches
from lora_scripts_ext.owner import Owner

from .watched import Watched, write_images


class Clock:
    """The time of day of everything that asks for it."""

    def __init__(self, monkeypatch, text):
        self.set(text)
        for module in (watches, fetches, watching):
            monkeypatch.setattr(module, "_now", lambda: self.now)

    def set(self, text):
        self.now = datetime.fromisoformat(text).timestamp()


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch, "2026-11-26T14:00")


@pytest.fixture
def place(tmp_path, clock):
    return Watched(tmp_path / "library", tmp_path / "base.safetensors")


@pytest.fixture
def errors():
    return []


@pytest.fixture
def watcher(place, errors):
    return Watcher(Database(place.folder), place.environment, on_error=errors.append)


def updates(place):
    return place.queue.page(kind="update").jobs


def test_new_images_are_trained_on_at_the_hour_once(place, clock, watcher):
    write_images(place.arrivals, 0, 4)
    for text in ("2026-11-26T14:00", "2026-11-26T23:59", "2026-11-27T01:59"):
        clock.set(text)
        watcher.tick()
        assert updates(place) == []
    clock.set("2026-11-27T02:00")
    # Another process watches, too.
    for one in (watcher, Watcher(Database(place.folder), place.environment), watcher):
        one.tick()
    (job,) = updates(place)
    assert (job.name, job.model, job.state) == ("Update cars", place.model.id, "queued")
    assert job.config["train"]["train_data_dir"] == str(place.models.images(place.model))
    assert place.watches.get(place.model.id).state["job"] == job.id


def test_an_hour_that_was_missed_is_made_up_for_at_the_next_start(place, clock, watcher):
    write_images(place.arrivals, 0, 4)
    clock.set("2026-11-29T09:00")
    watcher.tick()
    assert len(updates(place)) == 1


def test_a_clock_that_is_set_back_does_not_make_it_twice_a_day(place, clock, watcher):
    write_images(place.arrivals, 0, 4)
    clock.set("2026-11-27T02:30")
    watcher.tick()
    place.queue.cancel(updates(place)[0].id)
    for text in ("2026-11-27T01:30", "2026-11-27T02:00", "2026-11-26T23:00", "2026-11-27T02:10"):
        clock.set(text)
        watcher.tick()
    assert len(updates(place)) == 1
    clock.set("2026-11-28T02:00")
    watcher.tick()
    assert len(updates(place)) == 2


def test_a_clock_that_was_years_ahead_does_not_stop_the_nights_for_years(place, clock, watcher):
    clock.set("2036-01-01T02:00")
    watcher.tick()
    clock.set("2026-11-27T02:00")
    write_images(place.arrivals, 0, 4)
    watcher.tick()
    assert len(updates(place)) == 1


def test_too_few_new_images_wait_for_the_next_night(place, clock, watcher):
    write_images(place.arrivals, 0, 3)
    clock.set("2026-11-27T02:00")
    watcher.tick()
    write_images(place.arrivals, 3, 1)
    watcher.tick()
    assert updates(place) == []
    clock.set("2026-11-28T02:00")
    watcher.tick()
    assert len(updates(place)) == 1


def test_images_that_are_still_being_written_are_waited_for(place, clock, watcher, monkeypatch):
    monotonic = [0.0]
    monkeypatch.setattr("lora_scripts_ext.preparation.intake._clock", lambda: monotonic[0])
    monkeypatch.setattr(watching, "_clock", lambda: monotonic[0])
    place.watch(settle_seconds=60)
    paths = write_images(place.arrivals, 0, 4)
    clock.set("2026-11-27T02:00")
    for _ in range(4):
        watcher.tick()
        monotonic[0] += 30
        with paths[0].open("ab") as file:
            file.write(b"more")
    assert updates(place) == []
    watcher.tick()
    monotonic[0] += 60
    # The time of day does not matter for that.
    clock.set("2026-11-27T02:01")
    watcher.tick()
    assert len(updates(place)) == 1


def test_images_that_go_on_changing_are_left_for_another_night(place, clock, watcher, monkeypatch):
    monotonic = [0.0]
    monkeypatch.setattr("lora_scripts_ext.preparation.intake._clock", lambda: monotonic[0])
    monkeypatch.setattr(watching, "_clock", lambda: monotonic[0])
    place.watch(settle_seconds=60)
    paths = write_images(place.arrivals, 0, 4)
    clock.set("2026-11-27T02:00")
    for _ in range(25):
        watcher.tick()
        monotonic[0] += 30
        with paths[0].open("ab") as file:
            file.write(b"more")
    assert not place.watches.get(place.model.id).is_due(clock.now) and updates(place) == []


def test_one_update_of_a_model_at_a_time(place, clock, watcher):
    write_images(place.arrivals, 0, 4)
    watching.run_now(place.queue, place.environment, place.model.id)
    with pytest.raises(UserError, match="has not ended"):
        watching.run_now(place.queue, place.environment, place.model.id)
    clock.set("2026-11-27T02:00")
    watcher.tick()
    assert len(updates(place)) == 1


def test_what_cannot_be_trained_is_listed_as_failed_in_the_morning(place, clock, watcher):
    write_images(place.arrivals, 0, 4)
    place.models.change(place.model.id, config={"lora_rnk": 4})
    clock.set("2026-11-27T02:00")
    watcher.tick()
    (job,) = updates(place)
    assert job.state == "failed" and "lora_rank" in job.reason


def test_a_folder_that_is_not_there_is_said_once_and_the_night_made_up_for(place, clock, watcher, errors):
    write_images(place.arrivals, 0, 4)
    place.arrivals.rename(place.arrivals.with_name("away"))
    clock.set("2026-11-27T02:00")
    for _ in range(3):
        watcher.tick()
    assert len(errors) == 1 and "arrivals" in errors[0]
    place.arrivals.with_name("away").rename(place.arrivals)
    watcher.tick()
    assert len(updates(place)) == 1


def test_a_watch_is_checked_when_it_is_made(place, tmp_path):
    for options, words in (
        ({"folder": ""}, "folder is missing"),
        ({"folder": str(tmp_path / "nowhere")}, "is not there"),
        ({"hour": "25:00"}, "no time of day"),
        ({"captioner": "nobody"}, "captioner is 'nobody'"),
        ({"fetch": "cars"}, "service.yaml"),
        ({"train": {"learning_rte": 1}}, "learning_rate"),
        ({"train": {"output_dir": "/"}}, "comes from the model"),
        ({"steps": -1}, "at least 0"),
        ({"fetch_command": ["sh"]}, "unknown key"),
    ):
        with pytest.raises(UserError, match=words):
            place.watch(**options)
    place.watches.remove(place.model.id)
    with pytest.raises(NotFound):
        place.watches.get(place.model.id)
    with pytest.raises(NotFound):
        watching.run_now(place.queue, place.environment, place.model.id)


def test_a_changed_hour_begins_with_the_next_one(place, clock):
    clock.set("2026-11-27T01:00")
    place.watch(hour="2:30")
    assert not place.watches.get(place.model.id).is_due(clock.now)
    clock.set("2026-11-27T02:30")
    assert place.watches.get(place.model.id).is_due(clock.now)
    place.watch(hour="01:30")
    assert not place.watches.get(place.model.id).is_due(clock.now)


def script(tmp_path, text):
    path = tmp_path / "fetch.py"
    path.write_text(text, encoding="utf-8")
    return (sys.executable, str(path))


def run(command, tmp_path, minutes=1.0, **options):
    """The outcome, the exit code, and the log."""
    children = []
    outcome, code = fetching.run(
        Fetch(command, "01:00", minutes), tmp_path / "run", "2026-11-27", on_start=children.append, **options
    )
    log = (tmp_path / "run" / "2026-11-27.log").read_bytes()
    return outcome, code, log, children


def test_a_fetch_that_succeeds_and_one_that_fails(tmp_path):
    outcome, code, log, _ = run(script(tmp_path, "print('two new cars')"), tmp_path)
    assert (outcome, code) == ("It has ended in order.", 0) and b"two new cars" in log
    failing = "import sys; print('no answer', file=sys.stderr); sys.exit(3)"
    outcome, code, log, _ = run(script(tmp_path, failing), tmp_path)
    assert (outcome, code) == ("It failed with exit code 3; see its log.", 3)
    # What the other one printed that day is still there.
    assert b"no answer" in log and b"two new cars" in log
    outcome, code, log, children = run((str(tmp_path / "none"), "a b"), tmp_path)
    assert code is None and "cannot be started" in outcome and children == []


def test_no_shell_reads_the_command(tmp_path):
    (tmp_path / "show.py").write_text("import sys; print(sys.argv[1:], open(0).read() == '')", encoding="utf-8")
    arguments = ("$(id)", "; touch x", "*", "a b")
    _, code, log, _ = run((sys.executable, str(tmp_path / "show.py"), *arguments), tmp_path)
    assert code == 0 and repr(list(arguments)).encode() + b" True" in log


@pytest.mark.skipif(os.name == "nt", reason="process groups")
def test_a_fetch_that_hangs_is_ended_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "_GRACE_SECONDS", 0.5)
    text = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
    started = time.monotonic()
    outcome, code, log, children = run(script(tmp_path, text), tmp_path, minutes=0.05)
    assert time.monotonic() - started < 30
    assert "longer than 0.05 minutes" in outcome and code == -9
    grandchild = int(log.split(b"\n\n")[0].splitlines()[-1])
    deadline = time.monotonic() + 10
    while Owner.of(grandchild).alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Owner.of(grandchild).alive() and not children[0].alive()


def test_garbage_without_end_does_not_fill_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "_MOST_BYTES", 1 << 16)
    text = "import sys; [sys.stdout.buffer.write(bytes(range(256)) * 256) for _ in range(64)]"
    outcome, code, log, _ = run(script(tmp_path, text), tmp_path)
    assert code == 0 and outcome == "It has ended in order."
    assert (1 << 16) < len(log) < (1 << 16) + 1000 and b"not kept" in log


def test_a_service_that_is_stopped_does_not_wait_for_a_fetch(tmp_path):
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    text = "import time; time.sleep(600)"
    outcome, code, _, _ = run(script(tmp_path, text), tmp_path, should_stop=stop.is_set)
    assert "the service was stopped" in outcome and code != 0


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


@pytest.fixture
def fetched(place, tmp_path):
    """A watch with a fetch command that brings four images and counts its runs."""
    source = tmp_path / "source"
    write_images(source, 0, 4)
    text = f"""
import pathlib, shutil, time
with open({str(tmp_path / "runs")!r}, "a") as runs:
    runs.write("run\\n")
time.sleep(0.5)
for path in pathlib.Path({str(source)!r}).iterdir():
    shutil.copy(path, {str(place.arrivals)!r})
"""
    command = script(tmp_path, text)
    path = place.folder / service_file.NAME
    path.write_text(f"fetch: {{cars: {{command: {list(command)}, hour: '02:00'}}}}\n", encoding="utf-8")
    place.watch(fetch="cars")
    return lambda: (tmp_path / "runs").read_text().count("run") if (tmp_path / "runs").exists() else 0


def test_the_fetch_runs_first_and_the_update_waits_for_it(place, clock, watcher, fetched):
    watcher.tick()
    clock.set("2026-11-27T01:59")
    watcher.tick()
    assert fetched() == 0 and Fetches(place.database).get("cars").outcome == "Waits for its hour."
    clock.set("2026-11-27T02:00")
    other = Watcher(Database(place.folder), place.environment)
    for one in (watcher, other, watcher):
        one.tick()
    assert updates(place) == []
    wait_for(lambda: not Fetches(place.database).get("cars").is_running)
    for one in (other, watcher):
        one.tick()
    assert fetched() == 1 and len(updates(place)) == 1
    last = Fetches(place.database).get("cars")
    assert (last.day, last.code, last.tries) == ("2026-11-27", 0, 1)
    clock.set("2026-11-28T02:00")
    watcher.tick()
    wait_for(lambda: fetched() == 2)
    watcher.stop()


def test_a_fetch_whose_process_died_is_run_again_but_not_for_ever(place, clock, fetched):
    store = Fetches(place.database)
    store.begin("cars", "02:00", Owner.current())
    clock.set("2026-11-27T02:00")
    dead = Owner(2**22 + 5, "never", Owner.current().host)
    begun = [store.begin("cars", "02:00", dead) for _ in range(5)]
    assert [one.day if one else None for one in begun] == ["2026-11-27"] * 3 + [None] * 2
    assert [one.died is not None for one in begun[:3]] == [False, True, True]
    clock.set("2026-11-28T02:00")
    assert store.begin("cars", "02:00", dead).day == "2026-11-28"


def test_a_fetch_that_was_ended_by_the_stop_of_the_service_is_run_at_the_next_start(place, clock, watcher, fetched):
    watcher.tick()
    clock.set("2026-11-27T02:00")
    watcher.tick()
    watcher.stop()
    assert "stopped" in Fetches(place.database).get("cars").outcome and updates(place) == []
    again = Watcher(Database(place.folder), place.environment)
    again.tick()
    wait_for(lambda: not Fetches(place.database).get("cars").is_running)
    again.tick()
    assert len(updates(place)) == 1 and Fetches(place.database).get("cars").code == 0


def test_a_failed_fetch_does_not_keep_what_has_come_otherwise_from_training(place, clock, watcher, errors, tmp_path):
    path = place.folder / service_file.NAME
    command = [sys.executable, "-c", "import sys; sys.exit(7)"]
    path.write_text(f"fetch: {{cars: {{command: {command}, hour: '02:00'}}}}\n", encoding="utf-8")
    place.watch(fetch="cars")
    write_images(place.arrivals, 0, 4)
    watcher.tick()
    clock.set("2026-11-27T02:00")
    watcher.tick()
    wait_for(lambda: not Fetches(place.database).get("cars").is_running)
    watcher.tick()
    assert len(updates(place)) == 1 and errors == ["fetch cars: It failed with exit code 7; see its log."]


def test_a_broken_service_file_is_said_once_and_stops_nothing_else(place, clock, watcher, errors):
    write_images(place.arrivals, 0, 4)
    (place.folder / service_file.NAME).write_text("fetch: [", encoding="utf-8")
    clock.set("2026-11-27T02:00")
    for _ in range(2):
        watcher.tick()
    assert len(errors) == 1 and service_file.NAME in errors[0] and len(updates(place)) == 1


def test_a_library_that_is_made_again_knows_its_watches(place, clock):
    place.watch(new_images=7, hour="03:00")
    before = place.watches.get(place.model.id)
    (place.folder / "library.sqlite3").write_bytes(b"no database")
    for left in place.folder.glob("library.sqlite3-*"):
        left.unlink()
    again = watches.Watches(Database(place.folder, rebuild.from_folders))
    assert again.get(place.model.id) == before
    again.remove(place.model.id)
    assert not list(place.home.glob("watch/watch.json"))


def test_a_fetch_of_a_machine_that_has_gone_is_not_waited_for_for_ever(place, clock):
    store = Fetches(place.database)
    store.begin("cars", "02:00", Owner.current())
    clock.set("2026-11-27T02:00")
    assert store.begin("cars", "02:00", Owner(5, "then", "another machine"), 600.0) is not None
    clock.set("2026-11-27T02:10")
    assert store.get("cars").is_running and store.begin("cars", "02:00", Owner.current(), 600.0) is None
    clock.set("2026-11-27T02:12")
    assert not store.get("cars").is_running
    assert store.begin("cars", "02:00", Owner.current(), 600.0).died.owner.host == "another machine"
