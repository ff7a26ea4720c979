"""Text or plain data -> resources, structure only: YAML or JSON, one document or many.

Knows field names and types; the rules on values are in `rules`, those that
need other resources in `admission`. What belongs to the system (status, uid,
created) is accepted and left out, so that what `get -o yaml` printed applies.
"""

from __future__ import annotations

from mizar.model import resources


def parse(text: str, tenant: str = "") -> list[resources.Resource]:
    """All resources of a YAML or JSON text, ``---`` documents and ``kind: List`` included.

    ``tenant`` is filled in where a tenanted resource names none. Raises
    `errors.Invalid` with every problem found, each naming document and field.
    """
    raise NotImplementedError


def convert(document: object, tenant: str = "", where: str = "") -> resources.Resource:
    """One resource from plain data (a decoded JSON object).

    ``where`` goes before the object's name in problems (``document 2``). The
    caller's ``metadata.revision`` is kept (a replace compares it). Raises
    `errors.Invalid`.
    """
    raise NotImplementedError
