"""How Gunicorn serves the application: four workers on a unix socket in the run folder."""

import grp
import os
from pathlib import Path

_run_dir = Path(os.environ["RUN_DIR"])
_socket = _run_dir / "flask.sock"

wsgi_app = "app.main:application()"
pythonpath = str(Path(__file__).resolve().parent.parent)
bind = f"unix:{_socket}"
proc_name = "jwt-api"

workers = 4
# Threads keep connections open between requests; the plain worker closes after each.
worker_class = "gthread"
threads = 4
keepalive = 75
timeout = 30
graceful_timeout = 10
# Heartbeat files: on a slow disk they would make healthy workers look dead.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

# The socket is 0660: whoever may connect is trusted to say who the client is.
umask = 0o117
errorlog = "-"
capture_output = False


def when_ready(_server):
    """Hands the socket to the group of a proxy that runs as another user."""
    group = os.environ.get("SOCKET_GROUP")
    if group:
        os.chown(_socket, -1, grp.getgrnam(group).gr_gid)
