"""Where the recipes and checkpoints that come with Bellmark lie: inside an installed wheel, or in the repository."""

from __future__ import annotations

from pathlib import Path


def recipes_dir() -> Path:
    """The folder of recipe files: `bellmark/_recipes` in a wheel, `recipes/` beside `src/` in a checkout."""
    packaged = Path(__file__).parent / "_recipes"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "recipes"


def shipped_checkpoints() -> dict[str, Path]:
    """Name -> file of the checkpoints that are part of Bellmark."""
    return {path.stem: path for path in sorted((recipes_dir() / "checkpoints").glob("*.pt"))}
