"""The engine's inner loop in C (`sweep.c`): compiled by the system's compiler at first use, kept in the user's cache.

A queue of worlds and the threads that step them, in calls of MuJoCo's functions; without a compiler, or under
`BELLMARK_NATIVE=0`, the same loop runs in Python with the same results, slower on several threads. MuJoCo's fatal
errors (a model with too little memory for its contacts), which its Python bindings turn into exceptions, end the
process when they happen in C.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import subprocess
import sysconfig
from functools import cache
from pathlib import Path
from typing import NamedTuple

import mujoco

SOURCE = Path(__file__).with_name("sweep.c")
FLAGS = ("-O2", "-shared", "-fPIC", "-pthread")
COMPILE_SECONDS = 60
log = logging.getLogger(__name__)


class Sweep(ctypes.Structure):
    """`struct sweep` of the C file, field by field."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("model", "datas", "ctrl", "warned")),
        *((name, ctypes.c_void_p) for name in ("before", "slots", "controls", "status")),
        *((name, ctypes.c_void_p) for name in ("first", "whole", "second", "get_state")),
        *((name, ctypes.c_int64) for name in ("state_size", "control_size")),
        *((name, ctypes.c_int32) for name in ("spec", "leads", "steps", "trails", "first_bad", "bad_count")),
    ]


CREW, COUNT = ctypes.c_void_p, ctypes.c_int64
SIGNATURES = {
    "hire": ((ctypes.c_void_p, COUNT, COUNT, ctypes.c_int), CREW),
    "start": ((CREW, COUNT), None),
    "next": ((CREW, COUNT), COUNT),
    "rest": ((CREW,), None),
    "dismiss": ((CREW,), None),
}


class Native(NamedTuple):
    """The compiled loop and the addresses of MuJoCo's functions in the library that Python has loaded."""

    loop: ctypes.CDLL
    functions: dict[str, int]


@cache
def native() -> Native | None:
    """The compiled loop, or None where it cannot be had; the reason goes to the log."""
    if os.environ.get("BELLMARK_NATIVE") == "0":
        return None
    try:
        loop, engine = ctypes.CDLL(str(_compiled())), _loaded_mujoco()
        for name, (arguments, result) in SIGNATURES.items():
            function = getattr(loop, name)
            function.argtypes, function.restype = arguments, result
        names = {"first": "mj_step1", "whole": "mj_step", "second": "mj_step2", "get_state": "mj_getState"}
        functions = {field: ctypes.cast(getattr(engine, name), ctypes.c_void_p).value for field, name in names.items()}
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        log.info("worlds are stepped from Python, for the loop in C cannot be had: %s", error)
        return None
    return Native(loop, {field: address or 0 for field, address in functions.items()})


def _compiled() -> Path:
    """The shared library of this source, compiler and machine; compiled unless it is there."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[:1]
    source = SOURCE.read_bytes()
    key = hashlib.sha256(repr((source, compiler, FLAGS, platform.machine(), platform.system())).encode())
    cache_dir = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bellmark" / "native"
    library = cache_dir / f"sweep-{key.hexdigest()[:16]}.so"
    if not library.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        part = library.with_name(f".{library.name}-{os.getpid()}")
        command = [*compiler, *FLAGS, "-o", str(part), str(SOURCE)]
        subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_SECONDS)
        os.replace(part, library)
    return library


def _loaded_mujoco() -> ctypes.CDLL:
    """The very MuJoCo library that the Python package runs on, not another copy of it.

    Raises:
        OSError: it is not where it is expected, or not loaded.
    """
    found = sorted(Path(mujoco.__file__).parent.glob("libmujoco*"))
    if len(found) != 1:
        raise OSError(f"expected one MuJoCo library beside {mujoco.__file__}, found {len(found)}")
    return ctypes.CDLL(str(found[0]), mode=os.RTLD_NOLOAD | os.RTLD_NOW)
