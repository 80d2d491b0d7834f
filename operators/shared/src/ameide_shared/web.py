"""Addresses of systems that operators call: what settings may name. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit


def base_url(value: str) -> str:
    """A base URL without its trailing slash; empty stays empty. Raises ValueError that says what is wrong."""
    if not value:
        return value
    parts = urlsplit(value)  # a bad port, or brackets that do not match, are a ValueError here or at `port`
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("expected http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no credentials: put the token into a file and name it in tokenFile")
    if parts.query or parts.fragment or "?" in value or "#" in value:
        raise ValueError("must have neither query nor fragment")
    return value.rstrip("/")
