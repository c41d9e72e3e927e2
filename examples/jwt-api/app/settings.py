"""What the application is given: the files of its run folder, read once at start."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


class SettingsError(Exception):
    """A file of the run folder is missing or unusable; start.sh makes them all."""


@dataclass(frozen=True)
class Settings:
    """Everything the application needs to know, checked."""

    redis_socket: Path
    jwt_key: str
    user: str
    password_hash: bytes

    @classmethod
    def from_run_folder(cls, folder: Path) -> Settings:
        """Reads the secrets that start.sh put into the run folder."""
        key = _read(folder / "secrets" / "jwt-key")
        if len(key) < 32:
            raise SettingsError("secrets/jwt-key is shorter than 32 characters")
        login = _read(folder / "secrets" / "login.json")
        try:
            record = json.loads(login)
            user, password_hash = record["user"], record["password_hash"].encode()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SettingsError("secrets/login.json holds no user and password_hash") from error
        return cls(folder / "redis" / "redis.sock", key, user, password_hash)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
