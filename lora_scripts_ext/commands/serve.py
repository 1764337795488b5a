"""``python -m lora_scripts_ext serve``: the API, and a worker beside it, until it is stopped."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import signal
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from .. import crash, terminal
from ..api import webhooks
from ..api.origin import is_loopback
from ..captions import trigger_word
from ..errors import UserError
from ..jobs import service_file
from ..jobs.environment import Bounds, Environment, Standalone
from ..jobs.worker import Worker
from ..library.database import Database
from ..library.keys import Keys
from ..library.queue import Queue
from . import data_dir

_PORT = 7880
_BACKLOG = 512
# The API must answer at once also where a training takes every processor.
_NICENESS = 10
_POCKET = Path(__file__).resolve().parents[2] / "pocket" / "model" / "pocket.safetensors"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; returns the exit code: 130 stopped, 2 bad input, 1 anything else."""
    options = _parser().parse_args(arguments)
    try:
        return _serve(options)
    except (UserError, OSError) as error:
        terminal.print_error(error)
        return terminal.BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lora_scripts_ext serve",
        description="Serve the API and run the queued jobs. Ctrl-C gives running jobs back to the queue, saved.",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="H", help="name or address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=_port, default=_PORT, metavar="N", help="port (default: %(default)s); 0 takes a free one"
    )
    data_dir.add_option(parser)
    parser.add_argument(
        "--base-model",
        type=terminal.path,
        metavar="FILE",
        help="base model of trainings that name none (default: the pocket model, where it is beside the package)",
    )
    parser.add_argument(
        "--allowed-root",
        type=terminal.path,
        action="append",
        default=[],
        metavar="DIR",
        help="read and write only below this folder and the data folder; may be repeated (default: everywhere, "
        "or, where others can reach the server, the data folder alone)",
    )
    parser.add_argument("--no-worker", action="store_true", help="serve only; a `worker` elsewhere runs the jobs")
    return parser


def _port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; name a number from 0 to 65535")
    return number


def _serve(options: argparse.Namespace) -> int:
    database = data_dir.opened(options.data_dir.resolve())
    try:
        listening = _listen(options.host, options.port, Keys(database))
        with listening:
            return _Server(database, options, listening).run()
    finally:
        database.close()


def _listen(host: str, port: int, keys: Keys) -> socket.socket:
    """A socket that listens.

    Raises:
        UserError: it cannot be had, or others could reach it though there is no key.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host: {host} is no name or address of this machine; use 127.0.0.1 or 0.0.0.0.") from error
    if not is_loopback(str(address[0])) and not keys.usable():
        raise UserError(
            f"--host: others can reach this server at {host}, so it needs a key; make one with "
            "`python -m lora_scripts_ext keys add NAME`, in the same --data-dir."
        )
    try:
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"--port: {port} is used by another program; name another one, or 0 for a free one."
            ) from error
        raise UserError(f"--host: {host}:{port} cannot be listened on ({error.strerror}); choose another.") from error


class _Server:
    """The API and the worker, each in a thread; the main thread waits for signals."""

    def __init__(self, database: Database, options: argparse.Namespace, listening: socket.socket) -> None:
        self._database = database
        self._options = options
        self._socket = listening
        self._queue = Queue(database)
        self._worker: Worker | None = None
        self._environment: Environment | None = None
        self._stops: list[int] = []
        self._webhooks = webhooks.of_service_file(database, self._queue)
        self._end = threading.Event()
        self._failure: Exception | None = None

    def run(self) -> int:
        """Serve until a signal comes or something fails; returns the exit code."""
        import uvicorn

        from ..api.access import on_loopback, with_key
        from ..api.app import standalone
        from ..api.service import Service

        base_model = self._options.base_model or (_POCKET if _POCKET.is_file() else "")
        folder, address = self._database.folder, self._socket.getsockname()
        environment = Standalone(folder, str(Path(base_model).absolute()) if base_model else "", self._bounds(address))
        self._environment = environment
        service = Service(self._database, environment, queue=self._queue, wake=self._wake)
        access = on_loopback() if is_loopback(address[0]) else with_key(Keys(self._database), service.threads)
        server = uvicorn.Server(
            uvicorn.Config(
                standalone(service, access), log_level="warning", access_log=False, lifespan="off",
                timeout_graceful_shutdown=5,
            )
        )  # fmt: skip
        threads = [
            threading.Thread(target=self._guarded, args=(server.run, [self._socket]), name="lora-trainer-server")
        ]
        if not self._options.no_worker:
            threads.append(threading.Thread(target=self._guarded, args=(self._work,), name="lora-trainer-worker"))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signal)
        for thread in threads:
            thread.start()
        # Once, so that no request waits for it.
        threading.Thread(target=trigger_word.load, name="lora-trainer-tokenizer", daemon=True).start()
        self._webhooks.start()
        terminal.print_json({"url": _url(address)})
        while not self._end.wait(1.0):
            pass
        service.close()
        self._webhooks.stop()
        server.should_exit = True
        self._stop_worker()
        for thread in threads:
            thread.join()
        return self._code()

    def _bounds(self, address: tuple[Any, ...]) -> Bounds | None:
        """What jobs may do: on this machine alone what its user may, unless folders are named."""
        if is_loopback(str(address[0])) and not self._options.allowed_root:
            return None
        endpoints = service_file.load(self._database.folder).endpoints.values()
        roots = tuple(root.absolute() for root in self._options.allowed_root)
        return Bounds(roots, frozenset((one.url, one.key_from) for one in endpoints))

    def _work(self) -> None:
        # torch, which knows the devices, takes seconds to be imported: the API answers meanwhile.
        from ..jobs import lanes
        from ..jobs.launcher import ProcessLauncher
        from ..jobs.schedule import Schedule
        from ..jobs.watching import watching

        assert self._environment is not None, "run() sets it first"
        names = lanes.of_this_machine()
        launcher = ProcessLauncher(self._database.folder, _NICENESS)
        schedule = Schedule(self._database)
        worker = Worker(
            self._queue, launcher, names, runner="worker", not_yet=schedule.waits_for, on_error=terminal.print_message
        )
        worker.recover()
        schedule.after_restart(self._queue)
        self._worker = worker
        if not self._end.is_set():
            with watching(self._database, self._environment, wake=self._wake, on_error=terminal.print_message):
                worker.run()
        worker.give_back(hurry=lambda: len(self._stops) > 1)

    def _wake(self) -> None:
        if self._worker is not None:
            self._worker.wake()

    def _stop_worker(self) -> None:
        if self._worker is not None:
            self._worker.stop()

    def _signal(self, number: int, _frame: FrameType | None) -> None:
        self._stops.append(number)
        if len(self._stops) == 1:
            terminal.print_message("Stopping: running jobs save and go back into the queue; again ends them now.")
        self._end.set()

    def _guarded(self, work: Any, *arguments: Any) -> None:
        """Do a thread's work; where it fails, the whole server ends."""
        try:
            work(*arguments)
        except Exception as error:  # noqa: BLE001 - the thread's last words
            crash.write(self._database.folder)
            self._failure = error
        finally:
            self._end.set()

    def _code(self) -> int:
        if self._failure is not None:
            terminal.print_message(f"error: {crash.sentence(self._failure, self._database.folder / 'crash.log')}")
            return terminal.FAILED
        return terminal.STOPPED if self._stops else terminal.FAILED


def _url(address: tuple[Any, ...]) -> str:
    host = ipaddress.ip_address(address[0])
    name = f"[{host}]" if host.version == 6 else str(host)
    return f"http://{name}:{address[1]}"
