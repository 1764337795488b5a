"""What the page tells its user at once."""

from lora_scripts_ext.hosts.webui import notices


def test_the_newest_notice_is_later_than_the_one_before(monkeypatch):
    monkeypatch.setattr(notices, "_newest", None)
    assert notices.newest() is None
    monkeypatch.setattr(notices.time, "time", lambda: 5.0)
    notices.show("wait")
    first = notices.newest()
    notices.show("wait")
    assert (first.text, first.time) == ("wait", 5.0)
    assert notices.newest().text == "wait"
    assert notices.newest().time > 5.0
