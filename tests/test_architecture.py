"""The rules that hold the house up: who may import whom, what must do without PyTorch, how large things may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from bellmark.cli import EXTRA_OF

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "bellmark"
MODULES = sorted(PACKAGE.rglob("*.py"))
EVERY_FILE = [
    *MODULES,
    *sorted(p for d in ("tests", "benchmarks", "docs", "examples") for p in (ROOT / d).rglob("*.py")),
]

GROUND = {"errors", "yaml12", "config", "shipped"}
# What each room may import besides itself. Down means: a room never imports one that imports it.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "yaml12": set(),
    "shipped": set(),
    "config": {"errors", "yaml12"},
    "ops": set(),
    "nets": {"ops"},
    "envs": {"errors", "config"},
    "replay": {"errors", "config"},
    "records": {"errors"},
    "stats": {"errors", "config", "records"},
    "sweeps": {"errors", "config", "yaml12", "records"},
    "agents": {"errors", "config", "ops", "nets", "envs"},
    "health": {"errors", "config", "records", "stats", "sweeps"},
    "train": {*GROUND, "agents", "replay", "envs", "nets", "ops", "records", "health"},
    "reports": {"errors", "config", "records", "stats", "sweeps", "health"},
    "trackers": {"errors", "config", "records"},
    "audits": {"errors", "config", "records", "stats", "sweeps", "health", "reports", "trackers"},
}
LEDGER = ("records", "stats", "sweeps", "health", "reports", "audits", "trackers")
VAGUE = {"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"}
MAX_FILE, MAX_FUNCTION = 400, 60


def room(module: str) -> str:
    """`bellmark.ops.returns` -> `ops`; empty for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def show(path: Path) -> str:
    return str(path.relative_to(ROOT))


def name_of(path: Path) -> str:
    return ".".join(("bellmark", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_module(dotted: str) -> bool:
    path = ROOT / "src" / dotted.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Every import of a file, wherever it stands, type-checking ones included: (file and line, dotted module)."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from ((f"{show(path)}:{node.lineno}", alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                yield f"{show(path)}:{node.lineno}", below if is_module(below) else str(node.module)


def in_rooms(*rooms: str) -> list[Path]:
    return [path for path in MODULES if room(name_of(path)) in rooms]


def test_the_table_of_rooms_has_no_cycle_and_names_every_room() -> None:
    placed: set[str] = set()
    while len(placed) < len(MAY_IMPORT):
        free = {name for name, below in MAY_IMPORT.items() if below <= placed} - placed
        assert free, f"cycle among {sorted(set(MAY_IMPORT) - placed)}"
        placed |= free
    found = {room(name_of(path)) for path in MODULES} - {""}
    assert found - set(MAY_IMPORT) == {"cli"}


def test_imports_point_strictly_down() -> None:
    wrong = [
        f"{where} imports {module}"
        for here in MAY_IMPORT
        for path in in_rooms(here)
        for where, module in imports(path)
        if module.split(".")[0] == "bellmark" and room(module) not in {"", here, *MAY_IMPORT[here]}
    ]
    assert not wrong


def test_a_family_knows_environments_by_protocol_and_no_other_family() -> None:
    wrong = []
    for path in in_rooms("agents"):
        family = path.relative_to(PACKAGE / "agents").parts[0]
        for where, module in imports(path):
            # a configuration names the tasks it can hold; all else meets them by protocol
            by_name = room(module) == "envs" and module != "bellmark.envs.api" and path.name != "config.py"
            foreign = room(module) == "agents" and module.split(".")[2:3] not in ([], ["api"], [family])
            if by_name or foreign:
                wrong.append(f"{where} imports {module}")
    assert not wrong


def test_the_ledger_wing_never_mentions_torch() -> None:
    assert not [
        where for path in in_rooms(*LEDGER) for where, module in imports(path) if module.split(".")[0] == "torch"
    ]


def test_ops_know_nothing_but_tensors() -> None:
    known = {"torch", "jaxtyping", "bellmark", *sys.stdlib_module_names}
    assert {module.split(".")[0] for path in in_rooms("ops") for _, module in imports(path)} <= known


WITHOUT_EXTRAS = """
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
for name in NAMES:
    importlib.import_module(name)
heavy = [m for m in HEAVY if m in sys.modules]
assert not heavy, f"imported too early: {heavy}"
"""


def run_without_extras(names: list[str], heavy: list[str]) -> None:
    absent = {*EXTRA_OF, "wandb", "mlflow", "tensorboard", "ray", "submitit", "starlette", "mani_skill"}
    code = f"ABSENT = {absent!r}\nNAMES = {names!r}\nHEAVY = {heavy!r}\n{WITHOUT_EXTRAS}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_ledger_wing_and_the_command_line_import_without_any_extra() -> None:
    rooms = (*LEDGER, "cli", *GROUND)
    names = [name_of(p) for p in MODULES if room(name_of(p)) in rooms and p.name != "__main__.py"]
    run_without_extras(names, ["scipy.stats"])


def test_configurations_import_without_any_extra() -> None:
    names = [name_of(p) for p in sorted((PACKAGE / "agents").glob("*/config.py"))]
    assert names
    run_without_extras(names, ["scipy"])


def test_files_stay_readable() -> None:
    lengths = {show(path): path.read_text(encoding="utf-8").count("\n") for path in EVERY_FILE if path.exists()}
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_FILE}


def test_functions_stay_readable() -> None:
    functions = [
        (f"{show(path)}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1)
        for path in MODULES
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert not [(name, lines) for name, lines in functions if lines > MAX_FUNCTION]


def test_what_is_caught_is_named() -> None:
    handlers = [(p, n) for p in MODULES for n in ast.walk(parse(p)) if isinstance(n, ast.ExceptHandler)]
    assert not [f"{show(path)}:{node.lineno}" for path, node in handlers if node.type is None]


def test_no_vague_names() -> None:
    assert not [show(p) for p in EVERY_FILE if VAGUE & set(p.relative_to(ROOT).with_suffix("").parts)]


def test_every_module_says_what_it_is_for() -> None:
    assert not [show(path) for path in MODULES if not ast.get_docstring(parse(path))]
