"""The OpenAPI description, made from the registry of kinds and the structs themselves."""

from __future__ import annotations

from typing import Any


def document() -> dict[str, Any]:
    """The whole document, as plain data."""
    return {"openapi": "3.1.0"}
