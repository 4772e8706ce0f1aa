"""Runs one job as several processes on this machine, each with its own devices, and restarts it when one is lost.

    python launch/local.py --processes 2 --devices 4 -- --config configs/shapes.py --workdir runs/two [...]

Process 0 writes to the terminal; lines of the others are prefixed with their number. When a process dies or hangs, the
others end within a minute, and all are restarted from the last checkpoint. After an error that only you can mend, and
after any failure before the first training step, nothing is restarted. The exit status is that of launch.py (see
docs/guides/hosts.md, section "Exit statuses").
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
# Seconds in which the others should end by themselves once one has ended; then they are killed.
GRACE = 75.0
# Exit statuses of launch.py after which a restart is useless.
FINAL = (1, 2)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="local.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="how many (default: 2)")
    parser.add_argument(
        "--devices", type=int, metavar="N", help="simulated CPU devices of each (default: the devices that JAX finds)"
    )
    parser.add_argument("--restarts", type=int, default=3, metavar="N", help="at most (default: 3)")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="-- ARGUMENTS", help="of launch.py")
    args = parser.parse_args()
    arguments = args.arguments[1:] if args.arguments[:1] == ["--"] else args.arguments
    if args.processes < 1 or args.restarts < 0 or (args.devices is not None and args.devices < 1):
        parser.error("--processes and --devices: expected 1 or more; --restarts: 0 or more")
    if not arguments:
        parser.error("give launch.py's arguments after --, such as -- --config configs/shapes.py --workdir runs/two")
    forwarder = _SignalForwarder()
    for start in range(args.restarts + 1):
        if start:
            _say(f"start {start + 1} of at most {args.restarts + 1}")
        statuses = _run(args.processes, args.devices, arguments, forwarder)
        for index, status in enumerate(statuses):
            if status:
                _say(f"process {index} ended with {_name(status)}")
        if not any(statuses):
            return 0
        final = [status for status in statuses if status in FINAL]
        if final or forwarder.signal:
            return final[0] if final else 128 + forwarder.signal
    _say("--restarts is used up")
    status = next(status for status in statuses if status)
    return status if status > 0 else 128 - status


class _SignalForwarder:
    """Forwards SIGTERM and Ctrl-C to all processes; `signal` is the last one that came."""

    def __init__(self):
        self.signal, self.processes = None, []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._forward)

    def watch(self, processes: list[subprocess.Popen]):
        self.processes = processes
        if self.signal:  # it came between two starts
            self._forward(self.signal, None)

    def _forward(self, number, frame):
        self.signal = number
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)


def _run(count: int, devices: int | None, arguments: list[str], forwarder: _SignalForwarder) -> list[int]:
    """Starts all processes once and returns their exit statuses."""
    environ = dict(os.environ, CAPJAX_COORDINATOR=f"127.0.0.1:{_free_port()}", CAPJAX_PROCESSES=str(count))
    if devices:
        flags = f"{environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        environ |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags.strip()}
    processes, readers = [], []
    for index in range(count):
        process = subprocess.Popen(  # noqa: S603 - the arguments reach launch.py unchanged, through no shell
            [sys.executable, LAUNCH, *arguments], env=environ | {"CAPJAX_PROCESS": str(index)},
            start_new_session=True,  # so that Ctrl-C reaches each process once, from `forwarder`
            stdout=subprocess.PIPE if index else None,
            stderr=subprocess.STDOUT if index else None,
        )  # fmt: skip
        if index:
            readers.append(threading.Thread(target=_prefix_lines, args=(index, process.stdout)))
            readers[-1].start()
        processes.append(process)
    forwarder.watch(processes)
    first_end = None
    while any(process.poll() is None for process in processes):
        now = time.monotonic()
        if first_end is None and any(process.poll() for process in processes):
            first_end = now
        if first_end is not None and now - first_end > GRACE:
            for index, process in enumerate(processes):
                if process.poll() is None:
                    _say(f"process {index} did not end within {GRACE:.0f} s after another had ended: killing it")
                    process.kill()
        time.sleep(0.1)
    for reader in readers:
        reader.join()
    return [process.returncode for process in processes]


def _prefix_lines(index: int, stream):
    for line in stream:
        sys.stderr.buffer.write(b"[%d] " % index + line)
        sys.stderr.buffer.flush()


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _name(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"


def _say(text: str):
    print(f"local.py: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
