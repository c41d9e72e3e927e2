"""Access tokens: JWT, HS256, valid for one hour. A token cannot be taken back before it ends."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import jwt

LIFETIME = timedelta(hours=1)
ISSUER = "jwt-api"
ALGORITHM = "HS256"


class TokenRefused(Exception):
    """The token is no token, not ours, or past its hour; the text says which."""


def issue(user: str, key: str) -> str:
    """Returns a token that names the user until an hour from now."""
    now = datetime.now(timezone.utc)
    claims = {"iss": ISSUER, "sub": user, "iat": now, "exp": now + LIFETIME}
    return jwt.encode(claims, key, algorithm=ALGORITHM)


def user_of(token: str, key: str) -> str:
    """Returns the user a valid token names."""
    try:
        claims = jwt.decode(
            token,
            key,
            # Named here and not read from the token: its header is the sender's word.
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            options={"require": ["exp", "iat", "iss", "sub"]},
        )
    except jwt.ExpiredSignatureError as error:
        raise TokenRefused("the token has expired; log in again") from error
    except jwt.InvalidTokenError as error:
        raise TokenRefused("the token is not valid") from error
    return claims["sub"]
