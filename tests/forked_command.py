"""Runs of the installed ``dpenet`` whose imports are done: a process that holds them is forked for each run.

Importing PyTorch costs more than most of what the tests run. Nothing else is shared: the fork runs the installed script
file with its own arguments, folder and standard streams, and ends as any process does.
"""

import array
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path


class Forks:
    """The process that holds the imports, started at the first run.

    Args:
        command: path of the installed script.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._ours, theirs = socket.socketpair()
        self._holder = subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()])
        theirs.close()
        self.environment = dict(os.environ)

    def run(self, arguments: list[str], cwd: Path | None, timeout: float) -> subprocess.CompletedProcess[str]:
        """What `subprocess.run` does, with ``capture_output`` and ``text``."""
        with self._lock, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, open(os.devnull) as nothing:
            call = [self._command, *arguments]
            os.umask(umask := os.umask(0))
            self._tell({"call": call, "cwd": os.path.abspath(cwd or "."), "umask": umask}, [nothing, out, err])
            answers = self._ours.makefile("r")
            pid = int(answers.readline())
            self._ours.settimeout(timeout)
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.kill(pid, 9)
                self._holder.kill()
                raise
            finally:
                self._ours.settimeout(None)
            streams = []
            for stream in (out, err):
                stream.seek(0)
                streams.append(stream.read().decode().replace("\r\n", "\n"))
            return subprocess.CompletedProcess(call, code, *streams)

    def _tell(self, request: dict[str, object], streams: list) -> None:
        message = json.dumps(request).encode()
        descriptors = array.array("i", [stream.fileno() for stream in streams])
        self._ours.sendall(len(message).to_bytes(4, "big"))
        self._ours.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])


def serve(requests: socket.socket) -> list[str]:
    """Fork for each request; a fork returns, with its streams in place, what it is to run."""
    while size := requests.recv(4):
        message, descriptors, _, _ = socket.recv_fds(requests, int.from_bytes(size, "big"), 3)
        request = json.loads(message)
        pid = os.fork()
        if pid == 0:
            requests.close()
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
                os.close(descriptor)
            sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
            os.umask(request["umask"])
            os.chdir(request["cwd"])
            return request["call"]
        for descriptor in descriptors:
            os.close(descriptor)
        requests.sendall(f"{pid}\n".encode())
        requests.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
    sys.exit()


if __name__ == "__main__":
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command does
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy's, which begins its threads at once: they would be lost
    import av  # noqa: F401
    import cv2  # noqa: F401
    import torch  # noqa: F401

    from dpenet_cli.batch import pictures, videos  # noqa: F401
    from dpenet_cli.cli import app  # noqa: F401
    from dpenet_cli.evaluation import benchmark  # noqa: F401
    from dpenet_cli.inference import derainer, openvino  # noqa: F401
    from dpenet_cli.training import trainer  # noqa: F401

    assert len(os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else [0]) == 1, "threads don't fork"
    sys.argv = serve(socket.socket(fileno=int(sys.argv[1])))
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")
