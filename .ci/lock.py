"""Bring uv.lock in line with pyproject.toml, and keep the name of any registry out of it.

The lock names files and hashes; where they come from is the business of whoever installs them, by
their own settings. Versions already locked stay, unless arguments for ``uv lock`` say otherwise.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "uv.lock"
UV = ROOT / ".venv" / "uv" / "bin" / "uv"
NO_REGISTRY = "registry.invalid"  # a name that can never resolve (RFC 2606)

SOURCE = re.compile(r'registry = "[^"]+"')
FILE = re.compile(r'url = "https?://[^"]*/(?P<name>[^"/]+)"')


def main() -> None:
    """Lock, then rewrite."""
    subprocess.run([str(UV), "lock", *sys.argv[1:]], cwd=ROOT, check=True, env=environment())
    LOCK.write_text(without_hosts(LOCK.read_text()))


def environment() -> dict[str, str]:
    """Return the caller's, in which uv looks at its configured index and at no other."""
    return {**os.environ, "UV_PYTHON": str(ROOT / ".venv" / "bin" / "python")}


def without_hosts(lock: str) -> str:
    """Return the lock with each source and file named, and no host."""
    sources = SOURCE.sub(f'registry = "https://{NO_REGISTRY}/simple"', lock)
    return FILE.sub(r'filename = "\g<name>"', sources)


if __name__ == "__main__":
    main()
