"""Fills a run folder with the secrets of one installation. What is there already stays.

    python -m app.provision FOLDER     makes what is missing
    python -m app.provision FOLDER show  prints the logins, tab-separated, for start.sh

secrets/credentials.json holds the two logins in clear, for the person who started the example;
the application reads only the hash in secrets/login.json, the proxy only the one in htpasswd.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path

import bcrypt

# The application checks a password once an hour, the proxy perhaps at every request.
LOGIN_ROUNDS = 12
HTPASSWD_ROUNDS = 10


def provision(folder: Path) -> None:
    """Makes the key, the logins and their hashes, unless they exist."""
    hidden = folder / "secrets"
    hidden.mkdir(mode=0o700, exist_ok=True)
    if not (hidden / "jwt-key").exists():
        write_private(hidden / "jwt-key", secrets.token_hex(32) + "\n")
    credentials_file = hidden / "credentials.json"
    if not credentials_file.exists():
        # Hashes without the password they belong to are of no use to anyone.
        (hidden / "login.json").unlink(missing_ok=True)
        (folder / "htpasswd").unlink(missing_ok=True)
        credentials = {"api": new_login("demo"), "close": new_login("guest")}
        write_private(credentials_file, json.dumps(credentials, indent=2) + "\n")
    credentials = json.loads(credentials_file.read_text(encoding="utf-8"))
    if not (hidden / "login.json").exists():
        api = credentials["api"]
        record = {"user": api["user"], "password_hash": hashed(api["password"], LOGIN_ROUNDS)}
        write_private(hidden / "login.json", json.dumps(record) + "\n")
    if not (folder / "htpasswd").exists():
        close = credentials["close"]
        line = f"{close['user']}:{hashed(close['password'], HTPASSWD_ROUNDS)}\n"
        write_private(folder / "htpasswd", line)


def show(folder: Path) -> None:
    """Prints one line per login: what it opens, user, password."""
    text = (folder / "secrets" / "credentials.json").read_text(encoding="utf-8")
    for name, login in json.loads(text).items():
        print(name, login["user"], login["password"], sep="\t")


def new_login(stem: str) -> dict[str, str]:
    """Returns a user name and a password nobody else has."""
    return {"user": f"{stem}-{secrets.token_hex(2)}", "password": secrets.token_urlsafe(15)}


def hashed(password: str, rounds: int) -> str:
    """Returns the bcrypt hash ($2b$) of a password."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds)).decode()


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read: all of it or nothing."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


if __name__ == "__main__":
    run_folder = Path(sys.argv[1])
    show(run_folder) if sys.argv[2:] == ["show"] else provision(run_folder)
