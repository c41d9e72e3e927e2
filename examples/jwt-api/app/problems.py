"""Errors as RFC 9457 problems: every answer that is not a success has the same JSON shape."""

from __future__ import annotations

import json

from flask import Flask, Response
from werkzeug.exceptions import HTTPException


def problem(status: int, code: str, title: str, detail: str, **headers: str) -> Response:
    """Returns a problem answer. Header names are written with underscores."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
    answer = Response(json.dumps(body), status, content_type="application/problem+json")
    answer.headers["Cache-Control"] = "no-store"
    for name, value in headers.items():
        answer.headers[name.replace("_", "-")] = value
    return answer


def install(app: Flask) -> None:
    """Turns the errors Flask raises itself (unknown path, wrong method) into problems."""

    @app.errorhandler(HTTPException)
    def as_problem(error: HTTPException):
        response = error.get_response()
        if response.status_code < 400:  # a redirect, such as /swagger to /swagger/
            return response
        name = error.name or "Error"
        answer = problem(
            response.status_code, name.lower().replace(" ", "_"), name, error.description or name
        )
        for header in ("Allow", "Retry-After"):
            if header in response.headers:
                answer.headers[header] = response.headers[header]
        return answer
