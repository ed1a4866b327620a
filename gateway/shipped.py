"""Where the files that ship with the product lie: policies and certificate profiles."""

from pathlib import Path


def folder(name: str) -> Path:
    """`policies` or `pki`: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "_shipped" / name
    return installed if installed.is_dir() else package.parent / name
