"""The commands write to terminals and pipes of any encoding; their result is always JSON."""

import io
import json
import sys

import pytest

from lora_scripts_ext import json_text, terminal
from lora_scripts_ext.progress import Progress
from lora_scripts_ext.training.events import Events

NAMES = ["红鞋.png", "é.png", "caf\udce9.png", "\U0001f600.png", "a\x1b[2J\nb.png", "\u202egnp.exe"]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii", "gbk", "latin-1", "utf-16"])
def test_any_name_is_printed_and_the_output_is_json(encoding, monkeypatch):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    terminal.accept_any_encoding()
    progress = Progress(sys.stderr)
    for name in NAMES:
        terminal.print_line(name)
        terminal.print_message(name)
        terminal.count(1, 2, "pictures")
        progress({"event": "skipped", "picture": name, "reason": "is damaged"})
    terminal.print_json({"names": NAMES})
    written = out.buffer.getvalue().decode(encoding)
    assert len(written.splitlines()) == len(NAMES) + 1
    assert json.loads(written.splitlines()[-1]) == {"names": NAMES}
    assert "\x1b" not in written + err.buffer.getvalue().decode(encoding)
    assert written.splitlines()[-1].isascii() or encoding == "utf-8"


def test_output_is_readable_where_it_can_be(capsys):
    terminal.print_json({"name": "红鞋"})
    assert capsys.readouterr().out == '{"name": "红鞋"}\n'


def test_a_reader_that_has_gone_away_does_not_stop_the_work(monkeypatch):
    tries = []

    class Gone(io.StringIO):
        def flush(self):
            tries.append(0)
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    terminal.print_message("anything")
    terminal.count(1, 1, "pictures")
    Progress(sys.stderr)({"event": "warning", "text": "anything"})
    assert len(tries) == 3


def test_events_and_json_files_take_any_name(tmp_path):
    events = Events(tmp_path, 0, tensorboard=False)
    events.write({"event": "skipped", "picture": "caf\udce9.png"})
    events.write({"event": "skipped", "picture": "红鞋.png"})
    events.close()
    lines = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["picture"] for line in lines] == ["caf\udce9.png", "红鞋.png"]
    assert "红鞋" in lines[1]
    assert json_text.dumps(["红", "\udce9"]) == '["\\u7ea2", "\\udce9"]'
