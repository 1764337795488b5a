"""What users may set: in the library, where workers keep to it, or in a WebUI; and what the operator has set."""

import importlib
import json
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from lora_scripts_ext.api.access import with_key
from lora_scripts_ext.errors import Refused, UserError
from lora_scripts_ext.jobs.schedule import Schedule
from lora_scripts_ext.jobs.settings import AT_THE_TIME, WAITS, LibrarySettings, change
from lora_scripts_ext.jobs.worker import Worker
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.job import NewJob
from lora_scripts_ext.library.keys import Keys

from . import api

SERVICE_FILE = """
webhooks:
  shop: {url: "https://me:pw@shop.example/hooks/T0KEN?token=s3cret", secret: hidden, events: [done]}
endpoints:
  captions: {url: "https://captions.example/v1?key=s3cret", key_from: CAPTIONS_KEY}
fetch:
  cars: {command: [fetch, --password, s3cret], hour: "02:00"}
"""


@pytest.fixture
def service(tmp_path):
    return api.make_service(tmp_path)


@pytest.fixture
def client(service):
    with api.serving(service) as client:
        yield client


def times(is_open):
    """A window of the day that is open now, or is not."""
    hour = time.localtime().tm_hour + (0 if is_open else 3)
    return f"{hour % 24:02d}:00-{(hour + 2) % 24:02d}:00"


def values(answer):
    return {one["key"]: one["value"] for one in answer.json["settings"]}


def test_settings_are_shown_and_changed(client, service):
    shown = client.get("settings")
    start = shown.json["settings"][0]
    assert (start["key"], start["type"], start["editable"], start["needs"]) == ("start", "choice", True, None)
    assert start["value"] == start["default"] == start["choices"][0]
    assert shown.json["settings"][1]["needs"] == {"key": "start", "value": AT_THE_TIME}
    changed = client.send("PATCH", "settings", {"values": {"start": AT_THE_TIME, "start_window": " 1:00-05:00 "}})
    assert changed.status == 200
    assert values(changed) == {**values(shown), "start": AT_THE_TIME, "start_window": "1:00-05:00"}
    assert values(client.get("settings")) == values(changed)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"start": "never"}, "start"),
        ({"start": ["a"]}, "start"),
        ({"start_window": "25:00-26:00"}, "start_window"),
        ({"start_window": 3}, "start_window"),
        ({"paused": True}, "values"),
    ],
)
def test_one_wrong_value_changes_nothing(client, wrong, field):
    before = values(client.get("settings"))
    answer = client.send("PATCH", "settings", {"values": {"restart": WAITS, **wrong}})
    assert (answer.status, answer.json["code"], answer.json["field"]) == (422, "invalid", field)
    assert values(client.get("settings")) == before


def test_a_reading_key_changes_nothing_and_learns_no_secret(service, tmp_path):
    (tmp_path / "service.yaml").write_text(SERVICE_FILE)
    keys = Keys(service.database)
    _, secret = keys.add("screen", "read")
    headers = {"Authorization": f"Bearer {secret}"}
    with api.serving(service, with_key(keys, service.threads)) as client:
        assert client.send("PATCH", "settings", {"values": {"restart": WAITS}}, headers).status == 403
        answer = client.get("settings", **headers)
        (tmp_path / "service.yaml").write_text(SERVICE_FILE.replace("https:", "s3cret:"))
        problem = client.get("settings", **headers).json["service_file"]["problem"]
    assert problem and "s3cret" not in problem
    assert answer.json["webhooks"][0]["url"] == "https://shop.example"
    assert answer.json["facts"]["keys"] is False, "others cannot make any"
    for hidden in ("s3cret", "hidden", "T0KEN", "CAPTIONS_KEY", "me:pw"):
        assert hidden not in answer.body.decode()


def test_what_the_operator_has_set_is_shown(client, service, tmp_path):
    (tmp_path / "service.yaml").write_text(SERVICE_FILE)
    with service.database.writing() as connection:
        for tries, outcome in ((1, "delivered"), (2, "")):
            connection.execute(
                "INSERT INTO deliveries (hook, body, next_try, created, tries, outcome) "
                "VALUES ('shop', 's3cret', 0, 1700000000, ?, ?)", [tries, outcome]
            )  # fmt: skip
    answer = client.get("settings").json
    assert answer["webhooks"] == [{
        "name": "shop", "url": "https://shop.example/hooks/T0KEN", "events": ["done"],
        "last": {"at": "2023-11-14T22:13:20.000Z", "state": "failing", "tries": 2, "reason": ""},
    }]  # fmt: skip
    assert answer["endpoints"] == [{"name": "captions", "url": "https://captions.example/v1"}]
    assert answer["fetch"] == [{"name": "cars", "hour": "02:00", "last": None}]
    assert answer["facts"] == {
        "data_dir": str(tmp_path), "lora_dir": str(tmp_path / "models"), "roots": [], "keys": True
    }  # fmt: skip
    assert answer["service_file"] == {"path": str(tmp_path / "service.yaml"), "exists": True, "problem": ""}
    assert client.get("system").json["keys"] is True


def test_a_wrong_service_file_is_a_sentence_beside_the_settings(client, tmp_path):
    (tmp_path / "service.yaml").write_text("webhook: {}")
    answer = client.get("settings").json
    assert "unknown key 'webhook'" in answer["service_file"]["problem"]
    assert answer["webhooks"] == [] and answer["settings"]


def started(service, job, not_yet):
    """Whether a worker would start the job now; else what it says of it."""
    launcher = SimpleNamespace(start=lambda claim: SimpleNamespace(death=lambda: None))
    Worker(service.queue, launcher, ["here cpu"], runner="worker", not_yet=not_yet).tick()
    found = service.queue.get(job.id)
    return found.reason if found.state == "queued" else True


def test_workers_wait_for_the_time_of_day(service):
    settings, job = LibrarySettings(service.database), api.add_job(service)
    change(settings, {"start": AT_THE_TIME, "start_window": times(False)})
    assert started(service, job, Schedule(service.database).waits_for) == (
        f"Waits for its time of day, {times(False)}, as the settings say."
    )
    change(settings, {"start_window": times(True)})
    assert started(service, job, Schedule(service.database).waits_for) is True
    service.database.close()


def test_what_does_not_train_or_has_its_own_times_does_not_wait(service):
    change(LibrarySettings(service.database), {"start": AT_THE_TIME, "start_window": times(False)})
    schedule = Schedule(service.database)
    own, check = service.queue.add([NewJob("train", {}, "own", window=times(True)), NewJob("check", {}, "check")])
    assert [schedule.waits_for(own), schedule.waits_for(check)] == ["", ""]
    service.database.close()


def test_a_worker_until_empty_waits_for_the_time_of_day(service):
    job = api.add_job(service)
    worker = Worker(service.queue, None, ["here cpu"], runner="worker", not_yet=lambda job: "Not yet.")
    worker.tick()
    assert not worker._is_settled() and service.queue.get(job.id).reason == "Not yet."
    service.database.close()


def test_after_a_restart_the_queue_waits_where_that_is_set(service):
    schedule, settings = Schedule(service.database), LibrarySettings(service.database)
    change(settings, {"restart": WAITS})
    schedule.after_restart(service.queue)
    assert not service.queue.paused(), "there is nothing to wait with"
    job = api.add_job(service)
    api.claimed(service, job)
    api.add_job(service)
    schedule.after_restart(service.queue)
    assert not service.queue.paused(), "another worker is at it"
    service.queue.cancel(job.id)
    with service.database.writing() as connection:
        connection.execute("UPDATE jobs SET state = 'cancelled' WHERE id = ?", [job.id])
    schedule.after_restart(service.queue)
    assert service.queue.paused()
    service.database.close()


class Opts:
    """What the WebUIs have in common of their options."""

    def __init__(self):
        vars(self).update(data={}, data_labels={}, frozen=())

    def __setattr__(self, key, value):
        assert key not in self.frozen, "frozen"
        self.data[key] = value

    def __getattr__(self, key):
        try:
            return self.data[key]
        except KeyError as error:
            raise AttributeError(key) from error

    def add_option(self, key, info):
        self.data_labels[key] = info
        self.data.setdefault(key, info.default)

    def set(self, key, value):
        setattr(self, key, value)

    def save(self, filename):
        Path(filename).write_text(json.dumps(self.data), encoding="utf-8")


@pytest.fixture
def webui(monkeypatch, tmp_path):
    """The settings in a double of a WebUI."""
    modules, gradio = ModuleType("modules"), ModuleType("gradio")
    gradio.Radio, gradio.Number = "radio", "number"
    modules.shared = SimpleNamespace(
        opts=Opts(), config_filename=str(tmp_path / "config.json"),
        OptionInfo=lambda default, label, component, arguments, section: SimpleNamespace(
            default=default, label=label, component=component, arguments=arguments, section=section
        ),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "modules", modules)
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    monkeypatch.delitem(sys.modules, "lora_scripts_ext.webui.settings", raising=False)
    module = importlib.import_module("lora_scripts_ext.webui.settings")
    module.add()
    yield module, modules.shared
    sys.modules.pop("lora_scripts_ext.webui.settings", None)


def test_in_a_webui_they_are_its_own_options(webui, tmp_path):
    module, shared = webui
    options = module.Options(LibrarySettings(Database(tmp_path)))
    assert {one.key: options.get(one.key) for one in options.own} == shared.opts.data
    # What jobs go by wherever they run is in the library.
    change(options, {"require_approval": True})
    assert LibrarySettings(Database(tmp_path)).get("require_approval") is True and options.get("require_approval")
    assert "require_approval" not in shared.opts.data
    assert shared.opts.data_labels[module.START].arguments == {"choices": list(options.all[1].choices)}
    change(options, {module.START: module.WHEN_IDLE, module.IDLE_MINUTES: 2.5})
    saved = json.loads(Path(shared.config_filename).read_text(encoding="utf-8"))
    assert saved == shared.opts.data
    assert (saved[module.START], saved[module.IDLE_MINUTES]) == (module.WHEN_IDLE, 2.5)
    for wrong in (-1, True, "3", 1e9, float("nan")):
        with pytest.raises(UserError, match="lora_trainer_idle_minutes: "):
            change(options, {module.IDLE_MINUTES: wrong})


def test_a_webuis_frozen_settings_are_only_shown(webui, tmp_path):
    module, shared = webui
    vars(shared.opts)["frozen"] = (module.START,)
    options = module.Options(LibrarySettings(Database(tmp_path)))
    assert [one.key for one in options.all if not options.is_editable(one.key)] == [module.START]
    with pytest.raises(Refused, match="the WebUI's Settings"):
        change(options, {module.START: module.WHEN_IDLE})
