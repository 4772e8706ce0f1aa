"""One job as several processes on this machine, each with its own devices, started again when one is lost.

    python launch/local.py --processes 2 --devices 4 -- --config configs/shapes.py --workdir runs/two [...]

Process 0 writes to the terminal; what the others say has their number before it. When one process dies or hangs, the
others end within a minute, and all are started again, from the last checkpoint. Exit status: that of launch.py.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

LAUNCH = Path(__file__).resolve().parents[1] / "launch.py"
# After one has ended the others should end by themselves; then they are killed.
GRACE = 75.0
# Of launch.py: what only the user can mend.
ERRORS = (1, 2)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="local.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="how many (default: 2)")
    parser.add_argument(
        "--devices", type=int, metavar="N", help="pretended CPU devices of each (default: what JAX finds)"
    )
    parser.add_argument("--restarts", type=int, default=3, metavar="N", help="at most (default: 3)")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="-- ARGUMENTS", help="of launch.py")
    args = parser.parse_args()
    arguments = args.arguments[1:] if args.arguments[:1] == ["--"] else args.arguments
    if args.processes < 1 or args.restarts < 0 or (args.devices is not None and args.devices < 1):
        parser.error("--processes and --devices: expected 1 or more; --restarts: 0 or more")
    if not arguments:
        parser.error("give launch.py's arguments after --, such as -- --config configs/shapes.py --workdir runs/two")
    told = _Told()
    for start in range(args.restarts + 1):
        if start:
            _say(f"start {start + 1} of at most {args.restarts + 1}")
        statuses = _run(args.processes, args.devices, arguments, told)
        for index, status in enumerate(statuses):
            if status:
                _say(f"process {index} ended with {_name(status)}")
        if not any(statuses):
            return 0
        errors = [status for status in statuses if status in ERRORS]
        if errors or told.signal:
            return errors[0] if errors else 128 + told.signal
    _say("it was started as often as --restarts allows")
    worst = next(status for status in statuses if status)
    return worst if worst > 0 else 128 - worst


class _Told:
    """SIGTERM and Ctrl-C are passed on to all processes."""

    def __init__(self):
        self.signal, self.processes = None, []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)

    def _pass_on(self, number, frame):
        self.signal = number
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)


def _run(count: int, devices: int | None, arguments: list[str], told: _Told) -> list[int]:
    """Exit statuses of one start, by process."""
    environ = dict(os.environ, CAPJAX_COORDINATOR=f"127.0.0.1:{_free_port()}", CAPJAX_PROCESSES=str(count))
    if devices:
        flags = f"{environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        environ |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags.strip()}
    processes, readers = [], []
    for index in range(count):
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if index else {}
        process = subprocess.Popen(  # noqa: S603 - arguments go as they are to launch.py, through no shell
            [sys.executable, LAUNCH, *arguments], env=environ | {"CAPJAX_PROCESS": str(index)},
            start_new_session=True,  # so that Ctrl-C reaches each once, from here
            **piped,
        )  # fmt: skip
        if index:
            readers.append(threading.Thread(target=_copy, args=(index, process.stdout)))
            readers[-1].start()
        processes.append(process)
    told.processes = processes
    if told.signal:  # it came between two starts
        told._pass_on(told.signal, None)
    ended = None
    while any(process.poll() is None for process in processes):
        now = time.monotonic()
        if ended is None and any(process.poll() for process in processes):
            ended = now
        if ended is not None and now - ended > GRACE:
            for index, process in enumerate(processes):
                if process.poll() is None:
                    _say(f"process {index} did not end within {GRACE:.0f} s of another's end, and is killed")
                    process.kill()
        time.sleep(0.1)
    for reader in readers:
        reader.join()
    return [process.returncode for process in processes]


def _copy(index: int, stream):
    for line in stream:
        sys.stderr.buffer.write(b"[%d] " % index + line)
        sys.stderr.buffer.flush()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _name(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"


def _say(text: str):
    print(f"local.py: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
