"""`capjax serve`: captions over HTTP."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from capjax import plugins


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    return run(_parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="capjax serve", description="Captions photos and videos over HTTP, with a page to try it at /."
    )
    add = parser.add_argument
    add("--workdir", required=True, action="append", metavar="[NAME=]DIR", help="folder of a training run, and the "
        "model's name (default: the folder's); repeatable, the first is the default model")  # fmt: skip
    add("--model", type=Path, metavar="EXPORT", help="let this SavedModel of the workdir compute the captions")
    add("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1; 0.0.0.0 for all)")
    add("--port", type=int, default=8000, help="default: 8000")
    add("--decode", action="append", default=[], metavar="NAME=VALUE", help="a decoding option that differs from the "
        "run's config, such as num_beams=4; repeatable")  # fmt: skip
    count, amount = _at_least(1, int), _at_least(0, float)
    add("--beams", dest="num_beams", type=count, nargs="+", default=[], metavar="N", help="further numbers of beams "
        "that requests may choose")  # fmt: skip
    add("--max-len", type=count, nargs="+", default=[], metavar="N", help="further lengths that requests may choose")
    add("--jobs", metavar="DIR|URL", help="where jobs of long videos are kept: a folder, or redis://HOST:PORT/DB for "
        "several servers (default: a folder of the cache, for each port)")  # fmt: skip
    plugins.add_argument(parser)
    add = parser.add_argument_group("access").add_argument
    add("--api-keys", type=Path, metavar="FILE", help="a name and a key in each line (default: no key is needed)")
    add("--allow-origin", action="append", default=[], metavar="ORIGIN", help="a site whose pages may use the server; "
        "repeatable")  # fmt: skip
    add("--root-path", default="", metavar="PATH", help="path under which a proxy serves this server")
    add("--trust-proxy", default="127.0.0.1", metavar="ADDRESSES", help="proxies whose X-Forwarded headers count")
    add = parser.add_argument_group("limits").add_argument
    add("--rate", type=amount, default=0.0, metavar="N", help="requests per minute of a key or an address")
    add("--max-queue", type=count, default=256, metavar="N", help="photos that may wait (default: 256)")
    add("--max-requests", type=count, default=256, metavar="N", help="requests in progress (default: 256)")
    add("--reload-seconds", type=amount, default=30.0, metavar="S", help="how often to look for a new checkpoint "
        "(default: 30; 0: never)")  # fmt: skip
    add("--metrics-port", type=int, metavar="PORT", help="also serve /metrics at this port, without API keys, for a "
        "network that clients cannot reach")  # fmt: skip
    add("--drain-seconds", type=int, default=30, metavar="S", help="time for requests in progress after SIGTERM "
        "(default: 30)")  # fmt: skip
    return parser


def _at_least(minimum: int, number: type[int] | type[float]) -> Callable[[str], float]:
    """Returns the type of an argument that is a number within limits."""

    def parse(text: str) -> float:
        value = number(text)
        if not minimum <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text}: expected {minimum} or more")
        return value

    parse.__name__ = number.__name__  # argparse names the type in the error of a text that is no number
    return parse


def run(args) -> int:
    """Serves until SIGTERM or Ctrl-C."""
    from capjax import runtime

    runtime.start()
    plugins.import_plugins(args.plugins)
    from capjax.metrics.cache import cache_dir
    from capjax.serve.access import ApiKeys
    from capjax.serve.app import ServerOptions
    from capjax.serve.served_model import ModelSource
    from capjax.serve.server import serve
    from capjax.serve.settings import ServeSettings

    decode = tuple(decoding_option(each) for each in args.decode)
    if args.model and len(args.workdir) > 1:
        raise ValueError("--model goes with one --workdir")
    sources = tuple(
        ModelSource(name, path, args.model, decode, tuple(args.num_beams), tuple(args.max_len))
        for name, path in map(_named_workdir, args.workdir)
    )
    if len({source.name for source in sources}) < len(sources):
        raise ValueError("two workdirs have the same name; write --workdir NAME=DIR")
    keys = ApiKeys.read(args.api_keys) if args.api_keys else ApiKeys({})
    if not keys.required and args.host not in ("127.0.0.1", "localhost", "::1"):
        print("capjax serve: everyone who reaches this address may use the server; see --api-keys", file=sys.stderr)
    settings = ServeSettings(rate=args.rate, max_queued=args.max_queue, max_requests=args.max_requests)
    jobs = args.jobs or str(cache_dir() / "serve" / f"jobs-{args.port}")
    options = ServerOptions(
        sources, jobs, settings, keys,
        args.allow_origin, args.root_path, args.reload_seconds,
    )  # fmt: skip
    return serve(
        options, host=args.host, port=args.port, trusted_proxies=args.trust_proxy, drain_seconds=args.drain_seconds,
        metrics_port=args.metrics_port,
    )  # fmt: skip


def _named_workdir(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals:
        path, name = text, Path(text).resolve().name
    if not path:
        raise ValueError(f"--workdir {text}: expected NAME=DIR")
    return name, Path(path)


def decoding_option(text: str) -> tuple[str, Any]:
    """Returns name and value of an option `NAME=VALUE`, checked as the setting of a config."""
    from capjax.config import default_config, with_overrides
    from capjax.registry import nearest

    name, equals, _ = text.partition("=")
    if not equals:
        raise ValueError(f"--decode {text}: expected NAME=VALUE, such as num_beams=4")
    if name not in default_config().decode:
        raise ValueError(f"--decode {text}: no such option; {nearest(name, default_config().decode)}")
    return name, with_overrides(default_config(), [f"decode.{text}"]).decode[name]
