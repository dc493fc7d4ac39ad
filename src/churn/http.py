"""httpx without its command line.

httpx 0.28 imports click, rich and pygments where they are installed, for a command that nobody
calls here: 30 ms of a rollback, and 10 MB of each process of the API.
"""

import sys

_click = sys.modules.get("click")
sys.modules["click"] = None  # type: ignore[assignment]  # what Python takes for "not installed"
try:
    import httpx
finally:
    del sys.modules["click"]
    if _click is not None:
        sys.modules["click"] = _click

__all__ = ["httpx"]
