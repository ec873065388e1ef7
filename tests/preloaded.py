"""The command in a process that has its libraries loaded already: it begins at once, and can be killed at any moment.

Everything else is as a user has it: a process of its own, real files, signals that nothing can catch.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

_LIBRARIES = [
    "torch",
    "cv2",
    "av",
    "preloaded",
    "dpenet_cli.cli.app",
    "dpenet_cli.inference.multi_gpu",
    "dpenet_cli.video.estimate",
]
_LIBRARIES += ["dpenet_cli.training.run", "torch._dynamo"]  # the latter takes seconds, and Adam wants it
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_LIBRARIES)

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.utime", "os.truncate", "os.link"}
"""What Python tells its audit hooks before it changes a file system; opening a file for writing is looked at apart."""


class Command:
    """``dpenet ARGUMENTS`` as it runs.

    Args:
        arguments: of the command.
        log: where its stdout and stderr go.
        prelude: called in the process before the command begins; a function of a module.
        given: the prelude's arguments.
        environment: variables to set.
    """

    def __init__(
        self,
        *arguments: object,
        log: Path,
        prelude: Callable[..., None] | None = None,
        given: tuple[object, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.log = log
        log.touch()
        words = [str(argument) for argument in arguments]
        whole = os.environ | (environment or {})
        self._process = _context.Process(target=_run, args=(words, str(log), prelude, given, whole))
        self._process.start()

    def kill_after(self, seconds: float) -> int:
        """Let it run so long, then ``kill -9``; tell how it ended."""
        self._process.join(seconds)
        self._process.kill()
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; its exit code, or minus the signal."""
        self._process.join(120)
        assert self._process.exitcode is not None, f"it hangs: {self.log.read_text()}"
        code = self._process.exitcode
        self._process.close()
        return code


def _run(words: list[str], log: str, prelude: Callable[..., None] | None, given: tuple[object, ...], environment: dict):
    from dpenet_cli.cli.app import main

    os.setsid()
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_IGN)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["dpenet", *words]
    if prelude is not None:
        prelude(*given)
    main()


def die_before_change(number: int, folder: str, tally: str | None = None) -> None:
    """Prelude: ``kill -9`` itself before its n-th change to a folder, counted from 1.

    Args:
        number: which change; 0 never.
        folder: below which changes count.
        tally: a file outside of it that gets a byte for each change.
    """
    count = 0
    here = os.getpid()
    tallied = os.open(tally, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if tally else None

    def changed() -> None:
        nonlocal count
        count += 1
        if tallied is not None:
            os.write(tallied, b".")
        if count == number:
            os.kill(here, signal.SIGKILL)
            time.sleep(60)  # the signal arrives before that

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) and folder in os.fsdecode(str(path)):
                changed()
        elif event in CHANGES and (
            any(folder in os.fsdecode(part) for part in arguments if isinstance(part, str | bytes))
            or (event in {"os.remove", "os.rmdir"} and arguments[-1] != -1)  # relative to an open folder
        ):
            changed()

    fsync = os.fsync

    def counted(descriptor: int) -> None:
        changed()  # what was written may be anything until here
        fsync(descriptor)

    os.fsync = counted
    sys.addaudithook(hook)


def processes_that_name(text: str) -> list[int]:
    """Living processes, other than this one, whose command line holds a text, by /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:  # it has just ended
                continue
            if text.encode() in words:
                found.append(int(entry.name))
    return found


def gone_within(text: str, seconds: float) -> bool:
    """Whether no process names a text any more, after so many seconds at most."""
    deadline = time.monotonic() + seconds
    while processes_that_name(text):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
