"""Jobs over HTTP: what is sent is what the library holds, and the reverse."""

import pytest

from lora_scripts_ext.jobs import event_log

from . import api


@pytest.fixture
def service(tmp_path):
    return api.make_service(tmp_path)


@pytest.fixture
def client(service):
    with api.serving(service) as client:
        yield client


CONFIG = {"train_data_dir": "/photos", "output_name": "shoes", "lora_rank": 4}


def test_a_job_is_queued_and_found_where_the_answer_says(service, client, tmp_path):
    answer = client.post("jobs", {"kind": "train", "config": CONFIG, "priority": 2, "window": "22:00-06:00"})
    assert answer.status == 201
    job = answer.json
    assert (job["state"], job["name"], job["priority"], job["window"]) == ("queued", "shoes", 2, "22:00-06:00")
    assert job["config"]["lora_rank"] == 4
    assert job["config"]["base_model"] == str(tmp_path / "base.safetensors")
    assert job["output_dir"] == str(tmp_path / "shoes")
    assert [change["state"] for change in job["changes"]] == ["queued"]
    assert answer.headers["location"] == f"{api.PREFIX}/jobs/{job['id']}"
    assert client.get(answer.headers["location"]).json == job
    assert service.queue.get(job["id"]).runner == "worker"


def test_a_new_job_wakes_the_worker(tmp_path):
    woken = []
    with api.serving(api.make_service(tmp_path, wake=lambda: woken.append(True))) as client:
        client.post("jobs", {"config": CONFIG})
        assert woken


def test_two_jobs_of_one_name_write_into_two_folders(client):
    first, second = (client.post("jobs", {"config": CONFIG}).json for _ in range(2))
    assert second["output_dir"] == f"{first['output_dir']}-2"


def test_a_batch_is_queued_whole_or_not_at_all(client):
    wrong = {"config": {**CONFIG, "lora_rank": 0}}
    refused = client.post("jobs/batch", {"jobs": [{"config": CONFIG}, wrong]})
    assert (refused.status, refused.json["field"]) == (422, "jobs.1.config.lora_rank")
    assert client.get("jobs").json["items"] == []
    answer = client.post("jobs/batch", {"jobs": [{"config": CONFIG}, {"config": CONFIG}]})
    assert answer.status == 201
    assert [job["name"] for job in answer.json["items"]] == ["shoes", "shoes-2"]


def test_pages_hold_every_job_once(service, client):
    ids = [api.add_job(service, str(number)).id for number in range(7)]
    found, cursor = [], ""
    while cursor is not None:
        page = client.get(f"jobs?limit=3&cursor={cursor}").json
        found += [job["id"] for job in page["items"]]
        cursor = page["next"]
    assert found == ids


def test_a_list_is_filtered(service, client):
    waiting, stopped = api.add_job(service), api.add_job(service)
    service.queue.stop(stopped.id)
    assert [job["id"] for job in client.get("jobs?state=stopped").json["items"]] == [stopped.id]
    both = client.get("jobs?state=stopped&state=queued").json["items"]
    assert [job["id"] for job in both] == [waiting.id, stopped.id]
    assert client.get("jobs?kind=caption").json == {"items": [], "next": None}


def test_an_answer_is_never_older_than_a_change(service, client):
    job = api.add_job(service)
    for number in range(20):
        assert client.send("PATCH", f"jobs/{job.id}", {"priority": number}).status == 200
        assert client.get(f"jobs/{job.id}").json["priority"] == number
        assert client.get("jobs").json["items"][0]["priority"] == number


def test_what_is_left_out_of_a_change_stays(service, client):
    first = api.add_job(service)
    job = api.add_job(service)
    client.send("PATCH", f"jobs/{job.id}", {"after": first.id, "not_before": "2040-05-06T07:08:09Z"})
    changed = client.send("PATCH", f"jobs/{job.id}", {"window": "22:00-06:00"}).json
    assert (changed["after"], changed["not_before"]) == (first.id, "2040-05-06T07:08:09.000Z")
    assert changed["waits_for"] == f"Waits for shoes ({first.id})."
    cleared = client.send("PATCH", f"jobs/{job.id}", {"after": None, "not_before": None, "window": None}).json
    assert (cleared["after"], cleared["not_before"], cleared["window"]) == (None, None, "")


def test_the_order_is_changed(service, client):
    ids = [api.add_job(service, str(number)).id for number in range(3)]
    client.post(f"jobs/{ids[2]}/move", {"before": ids[0]})
    assert [job["id"] for job in client.get("jobs").json["items"]] == [ids[2], ids[0], ids[1]]
    client.post(f"jobs/{ids[2]}/move", {"before": None})
    assert [job["id"] for job in client.get("jobs").json["items"]] == ids


def test_a_job_is_stopped_retried_cancelled_and_forgotten(service, client):
    job = api.add_job(service)
    steps = [("stop", "stopped"), ("retry", "queued"), ("cancel", "cancelled")]
    assert [client.post(f"jobs/{job.id}/{action}").json["state"] for action, _ in steps] == [
        state for _, state in steps
    ]
    again = client.post(f"jobs/{job.id}/stop")
    assert (again.status, again.json["code"]) == (409, "conflict")
    assert client.send("DELETE", f"jobs/{job.id}").status == 204
    assert client.get(f"jobs/{job.id}").json["code"] == "not_found"


def test_a_running_job_cannot_be_moved_or_forgotten(service, client):
    job = api.add_job(service)
    api.claimed(service, job)
    assert client.post(f"jobs/{job.id}/move", {}).json["code"] == "conflict"
    assert client.send("DELETE", f"jobs/{job.id}").json["code"] == "conflict"
    assert client.post(f"jobs/{job.id}/stop").json["state"] == "stopping"


def test_a_retry_takes_another_config(service, client):
    job = client.post("jobs", {"config": CONFIG}).json
    client.post(f"jobs/{job['id']}/stop")
    again = client.post(f"jobs/{job['id']}/retry", {"config": {**CONFIG, "lora_rank": 8}}).json
    assert (again["state"], again["config"]["lora_rank"]) == ("queued", 8)


def test_the_queue_is_paused_and_continued(service, client):
    job = api.add_job(service)
    assert client.post("queue/pause").json == {"paused": True, "counts": {"queued": 1}}
    assert client.get(f"jobs/{job.id}").json["waits_for"] == "The queue is paused."
    assert client.post("queue/continue").json["paused"] is False
    assert client.get("queue").json == {"paused": False, "counts": {"queued": 1}}


def test_a_report_has_the_curve_and_where_previews_are_fetched(service, client, tmp_path):
    job = api.add_job(service, output_dir=str(tmp_path / "out"))
    writer = event_log.Writer(event_log.folder(tmp_path, job.id) / event_log.NAME, 1)
    writer.write({"event": "start", "step": 0, "steps": 3})
    for step, loss in ((1, 0.5), (2, float("nan"))):
        writer.write({"event": "step", "step": step, "steps": 3, "loss": loss})
    preview = str(tmp_path / "out" / "previews" / "a b.png")
    writer.write({"event": "preview", "step": 2, "path": preview})
    report = client.get(f"jobs/{job.id}/report").json
    assert (report["step"], report["curve"], report["loss"]) == (2, [[1, 0.5]], None)
    assert report["previews"][0]["address"] == f"{api.PREFIX}/jobs/{job.id}/files/previews/a%20b.png"
    writer.write({"event": "step", "step": 3, "steps": 3, "loss": 0.25})
    writer.close()
    assert client.get(f"jobs/{job.id}/report").json["curve"] == [[1, 0.5], [3, 0.25]]
