"""What only a graphics card shows of Forge Neo: layers that wait in the computer's memory, attention, fp8.

``python benchmarks/neo_gpu.py --neo DIR [--only NAME ...] [--cpu]``: one run of ``in_webui.py`` for each check, and
``ok`` or what is wrong, with its JSON; the exit code is 1 where a check fails. With sageattention or flash-attn in
Neo's ``venv`` the first of them covers it. ``--cpu`` takes a small image and leaves out what a CPU cannot show.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Report = dict[str, Any]
_IN_WEBUI = Path(__file__).with_name("in_webui.py")
_TENTH = 0.1


@dataclass(frozen=True)
class Check:
    """Options of ``in_webui.py``, and what must be true of its report, by the sentence that says so."""

    options: tuple[str, ...]
    expected: dict[str, Callable[[Report], bool]]
    card_only: bool = True


def _waiting(report: Report, *places: str) -> list[float]:
    return [report[place]["waiting"] for place in places]


_RUNS = ("first_run", "second_run")
_TRAINED = {
    "the model is trained on": lambda report: "first_run" in report,
    "the image is as before": lambda report: report["picture_as_before"],
}
_WHOLE = {"no weight waits in a run": lambda report: not any(_waiting(report, *_RUNS))}
_ATTENTION = {
    "PyTorch computes attention in a run": lambda report: report["first_run"]["attention"] == "attention_pytorch"
}
_OUTSIDE = {"weights wait outside of a run": lambda report: report["outside"]["waiting"] > _TENTH}
_PARTLY = _OUTSIDE | {
    "about as many wait in a run": lambda report: all(
        abs(share - report["outside"]["waiting"]) < _TENTH for share in _waiting(report, *_RUNS)
    ),
}
_LITTLE = ("--gpu-weights", "700")
_FP8 = ("--low-bits", "float8-e4m3fn")
_SDXL = ("--family", "sdxl", "--size", "1024", "--recompute")
CHECKS = {
    "as it is": Check((), _TRAINED | _WHOLE | _ATTENTION, card_only=False),
    "little memory": Check(_LITTLE, _TRAINED | _WHOLE | _OUTSIDE),
    "little memory, checkpointing": Check((*_LITTLE, "--recompute"), _TRAINED | _PARTLY),
    "no memory, checkpointing": Check(("--recompute", "--", "--novram"), _TRAINED | _PARTLY),
    "fp8": Check((*_FP8, "--recompute"), _TRAINED),
    "fp8, little memory": Check((*_FP8, *_LITTLE, "--recompute"), _TRAINED),
    "fast fp8": Check(
        (*_FP8, "--", "--fast-fp8"), {"it is refused": lambda report: "--fast-fp8" in report.get("refused", "")}
    ),
    "sdxl": Check(_SDXL, _TRAINED),
    "sdxl, fp8, little memory": Check((*_SDXL, *_FP8, "--gpu-weights", "2000"), _TRAINED),
}


def main() -> int:
    """Do the checks one after the other."""
    options = _parser().parse_args()
    names = [name for name in options.only or CHECKS if not (options.cpu and CHECKS[name].card_only)]
    failures = [_failed(name, CHECKS[name], options) for name in names]
    return int(any(failures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neo", metavar="DIR", required=True, help="folder of Forge Neo, with its venv")
    parser.add_argument("--only", nargs="+", choices=CHECKS, metavar="NAME", help=f"of: {'; '.join(CHECKS)}")
    parser.add_argument("--cpu", action="store_true", help="without a card")
    return parser


def _failed(name: str, check: Check, options: argparse.Namespace) -> bool:
    device = ["--size", "64", "--steps", "2", "--pictures", "2"] if options.cpu else ["--gpu", "--size", "512"]
    command = [sys.executable, str(_IN_WEBUI), "--neo", options.neo, *device, *check.options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    try:
        report = json.loads(done.stdout.splitlines()[-1])
        wrong = [sentence for sentence, holds in check.expected.items() if not holds(report)]
    except (IndexError, KeyError, json.JSONDecodeError):
        report, wrong = None, [f"exit code {done.returncode}, no report"]
    print(f"{name}: {'NOT TRUE: ' + '; '.join(wrong) if wrong else 'ok'}  {json.dumps(report)}", flush=True)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
