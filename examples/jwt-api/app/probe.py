"""Waits until a part of the example answers: python -m app.probe redis|app FOLDER PID SECONDS.

Ends at once, with status 1 and the reason, when the process is gone.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
import time
from pathlib import Path

import redis

PAUSE_SECONDS = 0.05


class NoAnswer(Exception):
    """The part does not answer (yet)."""


def ask_redis(folder: Path) -> None:
    """Raises NoAnswer unless Redis has loaded its data and answers."""
    client = redis.Redis(unix_socket_path=str(folder / "redis" / "redis.sock"), socket_timeout=2)
    try:
        client.ping()
    except redis.RedisError as error:
        raise NoAnswer(str(error)) from error
    finally:
        client.close()


def ask_app(folder: Path) -> None:
    """Raises NoAnswer unless the application answers /api/ping with 200."""
    connection = UnixConnection(folder / "flask.sock")
    try:
        connection.request("GET", "/api/ping")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(str(error)) from error
    finally:
        connection.close()
    if status != 200:
        raise NoAnswer(f"/api/ping answers {status}")


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def wait(part: str, folder: Path, pid: int, seconds: float) -> str | None:
    """Returns None once the part answers, else why it does not."""
    ask = {"redis": ask_redis, "app": ask_app}[part]
    deadline = time.monotonic() + seconds
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return f"process {pid} ended"
        try:
            return ask(folder)
        except NoAnswer as reason:
            if time.monotonic() > deadline:
                return f"no answer within {seconds:g} s: {reason}"
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    sys.exit(wait(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
