"""Fused passes in C on processors: compiled by the system's compiler at first use, kept in the user's cache.

For tensors of single precision in the processor's memory; all else, and a machine without a compiler or a BLAS that
can be called, or `BELLMARK_NATIVE=0`, runs PyTorch's own operations. Both compute the same to rounding (tests hold them
together), so runs that are to be compared bit for bit must all have it or all lack it.
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
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).parent
REDUCED = ("half", "bfloat", "amx")  # what the names of passes of factors of sixteen bits begin with
NAMES = ("layers", "latents", "cells", "rssm", "places", "bins", "normed", "tanh", "adam", "gauss", *REDUCED)
SOURCES = tuple(HERE / f"{name}.c" for name in NAMES)
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-shared", "-fPIC")
COMPILE_SECONDS = 120
log = logging.getLogger(__name__)

P, N, F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
SIGNATURES = {
    "use": (P,),
    "norm_silu": (N, N, P, N, P, P, P, N, P, N, P),
    "norm_silu_back": (N, N, P, N, P, N, P, P, P, N, P, P),
    "norm_silu_narrow": (N, N, *[P] * 5),
    "norm_silu_narrow_back": (N, N, *[P] * 6),
    "perceptron": (P, N, N, N, N, *[P] * 6),
    "advance": (P,),
    "unroll": (P,),
    "unroll_back": (P,),
    "mean_bin": (N, N, *[P] * 4),
    "normaliser": (N, N, P, P),
    "weighed_softmax": (N, N, *[P] * 4),
    "layer_norm": (N, N, N, *[P] * 7),
    "layer_norm_back": (N, N, N, *[P] * 7),
    "simnorm": (N, N, N, P, P),
    "simnorm_back": (N, N, N, P, P, P),
    "gradient_squares": (P, N, P),
    **{f"{name}_sgemm": (P,) * 13 for name in REDUCED},
    **{f"{name}_pack": (P, N, P, P) for name in REDUCED},
    **{f"{name}_perceptron": (P, N, P, P, N, P, P) for name in REDUCED},
    **{f"{name}_ready": (P,) for name in REDUCED},
    "adam": (P, N, *[F] * 6),
    "gauss_log_prob": (N, N, *[P] * 3, F, P, P),
    "gauss_log_prob_back": (N, N, *[P] * 5),
    "tanh_layers": (P, N, N, N, N, *[P] * 3),
    "tanh_layers_back": (P, N, N, N, *[P] * 4, N),
}


@cache
def library() -> ctypes.CDLL | None:
    """The compiled passes, or None where they cannot be had; the reason goes to the log."""
    if os.environ.get("BELLMARK_NATIVE") == "0":
        return None
    try:
        loaded = ctypes.CDLL(str(_compiled()))
        for name, arguments in SIGNATURES.items():
            function = getattr(loaded, name)
            function.argtypes, function.restype = arguments, None
        loaded.use(ctypes.cast(_product(), P))
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        log.info("PyTorch's own operations are used, for the fused ones in C cannot be had: %s", error)
        return None
    return loaded


def fused(x: Tensor) -> ctypes.CDLL | None:
    """The compiled passes where they can work on `x`: single precision, in the processor's memory."""
    return library() if x.dtype == torch.float32 and x.device.type == "cpu" else None


def call(name: str, *arguments: Any) -> None:
    """A compiled pass: tensors by where they lie, all else as it is; for those who have asked `fused`."""
    lib = library()
    assert lib is not None
    getattr(lib, name)(*(x.data_ptr() if isinstance(x, Tensor) else x for x in arguments))


def _product() -> Any:
    """The single-precision matrix product that PyTorch itself was built with.

    Raises:
        AttributeError: its library does not offer it by the usual Fortran name.
    """
    folder = Path(torch.__file__).parent / "lib"
    found = sorted(folder.glob("libtorch_cpu.*"))
    if len(found) != 1:
        raise OSError(f"expected one libtorch_cpu in {folder}, found {len(found)}")
    return ctypes.CDLL(str(found[0])).sgemm_


def _compiled() -> Path:
    """The shared library of these sources, compiler and processor; compiled unless it is there."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[:1]
    flags = FLAGS + (("-mprefer-vector-width=512",) if platform.machine() == "x86_64" else ())
    texts = [path.read_bytes() for path in (*SOURCES, *sorted(HERE.glob("*.h")))]
    key = hashlib.sha256(repr((texts, compiler, flags, platform.system(), _processor())).encode())
    cache_dir = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bellmark" / "native"
    target = cache_dir / f"rssm-{key.hexdigest()[:16]}.so"
    if not target.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}-{os.getpid()}")
        command = [*compiler, *flags, "-o", str(part), *map(str, SOURCES), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_SECONDS)
        os.replace(part, target)
    return target


def _processor() -> str:
    """What `-march=native` depends on: a cache shared by several machines keeps a library for each kind."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    wanted = ("flags", "model name", "Features", "CPU part")
    return "|".join([platform.machine(), platform.processor(), *[s for s in lines if s.startswith(wanted)][:2]])
