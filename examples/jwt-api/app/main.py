"""The API itself. All routes stand here, in the order a visitor meets them.

It lives at the root of its own socket and knows nothing of where it is published: the proxy
strips the path prefix and names it in X-Forwarded-Prefix, from which every link is made.
"""

from __future__ import annotations

import hmac
import json
import os
from pathlib import Path

import bcrypt
import flask_swagger_ui
import redis
from flask import Flask, Response, jsonify, request, send_from_directory
from redis.backoff import NoBackoff
from redis.retry import Retry
from werkzeug.middleware.proxy_fix import ProxyFix

from app import problems, tokens
from app.problems import problem
from app.settings import Settings

HERE = Path(__file__).resolve().parent
SWAGGER_ASSETS = Path(flask_swagger_ui.__file__).resolve().parent / "dist"
COUNTER = "jwt-api:visits"
# Swagger UI sets style attributes and draws its icons as data: images; scripts are files only.
SWAGGER_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'self'"
)


def application() -> Flask:
    """Returns the application for the run folder named by RUN_DIR; what Gunicorn calls."""
    return create_app(Settings.from_run_folder(Path(os.environ["RUN_DIR"])))


def create_app(settings: Settings) -> Flask:
    """Returns the application with all its routes."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 16 * 1024
    app.json.sort_keys = False
    # One proxy stands before the socket, and only it can reach it: trust exactly one hop.
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_prefix=1)
    store = redis.Redis(
        unix_socket_path=str(settings.redis_socket),
        socket_connect_timeout=2,
        socket_timeout=2,
        # A visit whose answer was lost may have been counted; a second try would count it twice.
        retry=Retry(NoBackoff(), 0),
    )
    problems.install(app)
    _add_api(app, settings, store)
    _add_swagger(app)
    return app


def _add_api(app: Flask, settings: Settings, store: redis.Redis) -> None:
    @app.get("/api/ping")
    def ping():
        """Answers, with what the proxy told about the request."""
        return _fresh({"message": "pong", "client": request.remote_addr, "url": request.base_url})

    @app.post("/auth/login")
    def login():
        """Changes user and password into a token."""
        body = request.get_json(silent=True)
        user, password = _text(body, "user"), _text(body, "password")
        if user is None or password is None:
            return problem(
                400,
                "invalid_login",
                "Invalid login request",
                'send a JSON object (application/json) with the strings "user" and "password"',
            )
        if not _credentials_match(settings, user, password):
            return problem(
                401,
                "wrong_credentials",
                "Login failed",
                "user or password is wrong",
                WWW_Authenticate='Bearer realm="jwt-api"',
            )
        return _fresh(
            {
                "access_token": tokens.issue(user, settings.jwt_key),
                "token_type": "Bearer",
                "expires_in": int(tokens.LIFETIME.total_seconds()),
            }
        )

    @app.get("/api/count")
    def count():
        """Counts one visit of whoever holds a token."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return _unauthorized("send the token from POST /auth/login as a bearer token")
        try:
            user = tokens.user_of(token.strip(), settings.jwt_key)
        except tokens.TokenRefused as refusal:
            return _unauthorized(str(refusal), error="invalid_token")
        return _fresh({"count": store.incr(COUNTER), "user": user})

    @app.get("/api/health")
    def health():
        """Says whether the application can do its work, that is: reach Redis."""
        store.ping()
        return _fresh({"status": "ok", "redis": "ok"})

    @app.errorhandler(redis.RedisError)
    def redis_failed(error: redis.RedisError):
        app.logger.error("redis does not answer: %s", error)
        return problem(
            503,
            "redis_unavailable",
            "Counter store unavailable",
            "Redis does not answer; try again soon",
            Retry_After="5",
        )


def _add_swagger(app: Flask) -> None:
    description = json.loads((HERE / "openapi.json").read_text(encoding="utf-8"))

    @app.get("/openapi.json")
    def openapi():
        """The API's description; its server is wherever the proxy publishes it."""
        return _fresh({**description, "servers": [{"url": request.script_root or "/"}]})

    @app.get("/swagger/")
    def swagger():
        return _page("index.html")

    @app.get("/swagger/start.js")
    def swagger_start():
        return _page("start.js")

    @app.get("/swagger/<path:name>")
    def swagger_asset(name: str):
        return send_from_directory(SWAGGER_ASSETS, name, max_age=24 * 3600)


def _page(name: str) -> Response:
    answer = send_from_directory(HERE / "swagger", name)
    answer.headers["Content-Security-Policy"] = SWAGGER_POLICY
    return answer


def _credentials_match(settings: Settings, user: str, password: str) -> bool:
    # Both are always compared, so that the time taken does not tell which was wrong. bcrypt
    # refuses more than 72 bytes; no longer password was ever set.
    candidate = password.encode()
    password_is_right = bcrypt.checkpw(candidate[:72], settings.password_hash)
    user_is_right = hmac.compare_digest(user.encode(), settings.user.encode())
    return password_is_right and user_is_right and len(candidate) <= 72


def _text(body: object, field: str) -> str | None:
    value = body.get(field) if isinstance(body, dict) else None
    return value if isinstance(value, str) and value else None


def _unauthorized(detail: str, error: str | None = None) -> Response:
    challenge = 'Bearer realm="jwt-api"' + (f', error="{error}"' if error else "")
    code = error or "token_required"
    return problem(401, code, "Authentication required", detail, WWW_Authenticate=challenge)


def _fresh(body: dict) -> Response:
    answer = jsonify(body)
    answer.headers["Cache-Control"] = "no-store"
    return answer
