"""The paths that an application answers."""

from typing import Any


def paths_of(app: Any) -> set[str]:
    """Of all its routes, those of included routers too."""
    found: set[str] = set()
    for route in app.routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            found |= paths_of(inner)
        else:
            found.add(route.path)
    return found
