"""Server-sent events: every change and every event once, in order, however often the connection breaks."""

import json

import pytest

from lora_scripts_ext.api import events
from lora_scripts_ext.api.limits import Limits
from lora_scripts_ext.jobs import event_log

from . import api


@pytest.fixture
def service(tmp_path):
    return api.make_service(tmp_path)


@pytest.fixture
def client(service):
    with api.serving(service) as client:
        yield client


class Running:
    """A job that writes events."""

    def __init__(self, service):
        self._service = service
        self.id = api.add_job(service).id
        self.claim = api.claimed(service, service.queue.get(self.id))
        path = event_log.folder(service.database.folder, self.id) / event_log.NAME
        self.writer = event_log.Writer(path, self.claim.fence)
        self.step = 0

    def train(self, steps):
        for _ in range(steps):
            self.step += 1
            self.writer.write({"event": "step", "step": self.step, "steps": 1000, "loss": 0.5})

    def end(self):
        self.writer.close()
        self._service.queue.finish(self.claim, "done")


def names(found):
    """States and numbers of steps."""
    return [one["data"].get("state") or one["data"]["step"] for one in found]


def test_a_job_is_followed_to_its_end(service, client):
    job = Running(service)
    job.train(2)
    with client.stream(f"jobs/{job.id}/events") as stream:
        found = [next(stream) for _ in range(5)]
        assert names(found) == ["queued", "starting", "running", 1, 2]
        job.train(1)
        assert names([next(stream)]) == [3]
        job.end()
        assert names(list(stream)) == ["done"]
    assert [one["event"] for one in found] == ["state", "state", "state", "step", "step"]


def test_what_has_ended_is_told_whole_and_then_nothing(service, client):
    job = Running(service)
    job.train(3)
    job.end()
    with client.stream(f"jobs/{job.id}/events") as stream:
        found = list(stream)
    assert names(found) == ["queued", "starting", "running", 1, 2, 3, "done"]
    assert client.get(f"jobs/{job.id}/events", Last_Event_ID=found[-1]["id"]).status == 204


def test_from_every_event_on_the_rest_follows_without_gap_or_repeat(service, client):
    job = Running(service)
    job.train(4)
    job.end()
    with client.stream(f"jobs/{job.id}/events") as stream:
        whole = list(stream)
    for number, event in enumerate(whole[:-1], 1):
        with client.stream(f"jobs/{job.id}/events", Last_Event_ID=event["id"]) as stream:
            assert list(stream) == whole[number:]
        with client.stream(f"jobs/{job.id}/events?last_event_id={event['id']}") as stream:
            assert list(stream) == whole[number:]


def test_a_connection_that_breaks_again_and_again_loses_nothing(service, client):
    job, found, last = Running(service), [], {}
    for _ in range(10):
        job.train(7)
        with client.stream(f"jobs/{job.id}/events", **last) as stream:
            for _ in range(5):
                found.append(next(stream))
        last = {"Last_Event_ID": found[-1]["id"]}
    job.end()
    with client.stream(f"jobs/{job.id}/events", **last) as stream:
        found += list(stream)
    assert names(found) == ["queued", "starting", "running", *range(1, 71), "done"]


def test_a_history_longer_than_one_look_keeps_its_order(service, client, monkeypatch):
    monkeypatch.setattr(events, "_AT_ONCE", 10)
    job = Running(service)
    job.train(35)
    job.end()
    with client.stream(f"jobs/{job.id}/events") as stream:
        assert names(list(stream)) == ["queued", "starting", "running", *range(1, 36), "done"]


def test_a_clock_that_was_set_back_changes_no_order(service, client, monkeypatch):
    job = Running(service)
    job.train(3)
    monkeypatch.setattr(event_log.time, "time", lambda: 1e9)
    job.train(3)
    job.end()
    with client.stream(f"jobs/{job.id}/events") as stream:
        found = list(stream)
    assert [name for name in names(found) if isinstance(name, int)] == [1, 2, 3, 4, 5, 6]
    for number, event in enumerate(found[:-1], 1):
        with client.stream(f"jobs/{job.id}/events", Last_Event_ID=event["id"]) as stream:
            assert sorted(map(json.dumps, stream)) == sorted(map(json.dumps, found[number:]))


def test_half_a_line_of_a_killed_process_waits_until_it_is_whole(service, client):
    job = Running(service)
    job.train(1)
    path = event_log.folder(service.database.folder, job.id) / event_log.NAME
    with path.open("ab") as file, client.stream(f"jobs/{job.id}/events") as stream:
        file.write(b'{"event": "step", "st')
        file.flush()
        assert names([next(stream) for _ in range(4)])[-1] == 1
        file.write(b'ep": 2}\n')
        file.flush()
        assert names([next(stream)]) == [2]


def test_a_retried_job_is_followed_on(service, client):
    job = api.add_job(service)
    service.queue.stop(job.id)
    with client.stream(f"jobs/{job.id}/events") as stream:
        last = list(stream)[-1]["id"]
    service.queue.retry(job.id)
    with client.stream(f"jobs/{job.id}/events", Last_Event_ID=last) as stream:
        assert names([next(stream)]) == ["queued"]


def test_a_removed_job_ends_its_stream(service, client):
    job = api.add_job(service)
    with client.stream(f"jobs/{job.id}/events") as stream:
        next(stream)
        with service.database.writing() as connection:
            connection.execute("DELETE FROM jobs")
        assert list(stream) == []


def test_changes_of_all_jobs_from_now_on_or_from_an_event(service, client):
    first = api.add_job(service)
    with client.stream("events") as stream:
        # The stream begins with the next change; it is open when its headers have come.
        second = api.add_job(service)
        found = next(stream)
        assert (found["data"]["job"], found["data"]["state"]) == (second.id, "queued")
        service.queue.stop(first.id)
        assert next(stream)["data"]["state"] == "stopped"
    with client.stream("events?last_event_id=0") as stream:
        assert [next(stream)["data"]["job"] for _ in range(3)] == [first.id, second.id, first.id]
    with client.stream("events", Last_Event_ID=found["id"]) as stream:
        assert next(stream)["data"]["state"] == "stopped"


def test_what_is_no_id_of_an_event(client):
    answer = client.get("events", Last_Event_ID="1; DROP TABLE jobs")
    assert (answer.status, answer.json["field"]) == (400, "Last-Event-ID")


def test_no_more_streams_than_allowed(tmp_path):
    service = api.make_service(tmp_path, limits=Limits(streams=2))
    with api.serving(service) as client, client.stream("events"), client.stream("events"):
        api.wait_until(lambda: service.feed.count == 2)
        refused = client.get("events")
        assert (refused.status, refused.json["code"]) == (503, "too_many_streams")
        assert client.get("queue").status == 200


def test_a_client_that_goes_away_gives_its_place_back(service, client, monkeypatch):
    monkeypatch.setattr(events, "_HEARTBEAT_SECONDS", 0.05)
    with client.stream("events"):
        api.wait_until(lambda: service.feed.count == 1)
    api.wait_until(lambda: service.feed.count == 0)


def test_a_server_that_ends_is_not_kept_by_a_stream(tmp_path):
    ends = []
    service = api.make_service(tmp_path, server_ends=lambda request: bool(ends))
    with api.serving(service) as client, client.stream("events") as stream:
        ends.append(True)
        assert list(stream) == []


def test_closing_the_service_ends_every_stream(service, client):
    job = api.add_job(service)
    with client.stream(f"jobs/{job.id}/events") as stream:
        next(stream)
        service.feed.close()
        assert list(stream) == []
