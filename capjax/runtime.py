"""Setup of every command: errors in one line, logging, JAX's compilation cache, memory that is kept between steps."""

import _thread
import ctypes
import importlib.metadata
import importlib.util
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from capjax import extras
from capjax.metrics.cache import cache_dir
from capjax.metrics.messages import describe_unforeseen
from capjax.metrics.writing import standard_output_named

# Parameters of glibc's mallopt (malloc.h).
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def run_guarded(program: str, work: Callable[[], int]) -> int:
    """Runs a command; prints an error that the user can correct in one line, and returns the exit status.

    An unforeseen error is printed with its traceback, and a last line that names what was being processed.
    """
    try:
        with standard_output_named():
            return work()
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe; Python must not flush to it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        explanation = extras.explain(error)
        if explanation is None:
            raise
        print(f"{program}: {explanation}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if _was_interrupted(error):
            return 130
        traceback.print_exc()
        print(f"{program}: {describe_unforeseen(error)}", file=sys.stderr)
        return 1


def available_cores() -> int:
    """Returns the number of cores that this process may use, in a container fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether an error follows from Ctrl-C, which compiled modules that are being imported turn into an ImportError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def cpu_only() -> bool:
    """Whether JAX will compute on the CPU, by choice or for lack of another device. Does not start JAX."""
    if platforms := os.environ.get("JAX_PLATFORMS"):
        return platforms == "cpu"
    return not importlib.metadata.entry_points(group="jax_plugins") and not has_tpu()


def has_tpu() -> bool:
    """Whether this machine has a TPU. An installed libtpu is not enough: other machines have it to compile for TPUs."""
    # Chips are /dev/accel0, ... or, on hosts of newer TPUs, numbers in /dev/vfio.
    chips = (*Path("/dev").glob("accel*"), *Path("/dev/vfio").glob("[0-9]*"))
    return bool(chips and importlib.util.find_spec("libtpu"))


def keep_memory(*, training: bool):
    """Lets glibc keep freed memory for the next step, if XLA computes on the CPU.

    XLA takes its working memory from malloc at every step. By default glibc returns blocks of that size to the system,
    which clears every page when it is allocated again; this can take much of a training step. MALLOC_* environment
    variables take precedence.

    Args:
      training: use one heap for all threads, because the blocks of a training step are larger than the heap of a thread
        may be. Small programs are slower with it, because their threads wait for each other.
    """
    configured = any(name.startswith("MALLOC_") for name in os.environ)
    if not sys.platform.startswith("linux") or configured or not cpu_only():
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    if training:
        mallopt(_ARENA_MAX, 1)


def _print_unraisable(unraisable: "sys.UnraisableHookArgs"):
    """Prints an error that could not be raised, but for two kinds.

    When one of several reads or writes fails, Orbax raises its error and closes the event loop. TensorStore still
    reports the others to the loop, and fails for each. And a Ctrl-C that arrives in a callback of the garbage
    collector, of which JAX has one, would be lost: it is repeated after the callback.
    """
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        repeat = threading.Timer(0.05, _thread.interrupt_main)
        repeat.daemon = True
        repeat.start()
    elif str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def start(level: int = logging.INFO, *, training: bool = False, compiles_only: bool = False):
    """Sets up quiet logs, memory that is kept, and a compilation cache on disk, which makes later starts fast.

    Call it before JAX is imported.

    Args:
      level: level of capjax's own log.
      training: see `keep_memory`.
      compiles_only: programs are compiled for other machines: no accelerator is searched for, and nothing is cached.
    """
    keep_memory(training=training)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("capjax").setLevel(level)
    # Orbax, and asyncio in its threads, log errors of a save, with a traceback, that are also raised.
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = _print_unraisable
    # Fatal errors only, read when JAX is imported. Among XLA's other errors is "Very slow compile?" after two minutes,
    # which asks for a bug report; training reports long compilations itself.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax

    if compiles_only or cpu_only():
        # By the config, since JAX may have been imported already. Otherwise libtpu searches for chips for seconds.
        jax.config.update("jax_platforms", "cpu")
    if compiles_only:
        return
    jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
