"""`capjax explain`: heat maps of what the words of captions were written from."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from capjax import plugins
from capjax.commands.media_arguments import expand, printable
from capjax.metrics.messages import noting


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    return run(_parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    description = "Explains the captions of photos and videos: which parts each word was written from."
    parser = argparse.ArgumentParser(prog="capjax explain", description=description)
    add = parser.add_argument
    add("media", nargs="+", metavar="MEDIA", help="photos, videos, or folders of them")
    add("--workdir", required=True, type=Path, help="folder of a training run")
    add("--output", required=True, type=Path, metavar="DIR", help="folder to write to")
    add("--method", default="attention,gradcam", help="methods, separated by commas (default: attention,gradcam)")
    add("--word", metavar="WORD", help="draw this word alone (default: every word, and the whole caption)")
    add("--caption", metavar="TEXT", help="explain this caption (default: the one that the model writes)")
    add("--lang", help="language of the caption (default: the first language of the model)")
    add("--batch", type=int, default=8, help="captions in a batch (default: 8)")
    plugins.add_argument(parser)
    add = parser.add_argument_group("attention").add_argument
    add("--layer", type=int, help="layer of the decoder, from 0 (default: the mean over layers)")
    add("--head", type=int, help="attention head, from 0 (default: the mean over heads)")
    add("--rollout", action="store_true", help="follow the attention on through that of the encoder")
    add = parser.add_argument_group("gradcam").add_argument
    add("--encoder-layer", metavar="NAME", help="layer of the encoder (default: features, its output)")
    add = parser.add_argument_group("occlusion and lime").add_argument
    add("--segments", type=int, help="about how many parts of a photo, or at most of a video (default: 50)")
    add("--samples", type=int, help="perturbed inputs of lime (default: 1000)")
    return parser


def run(args) -> int:
    """Writes a folder for each explanation, and a page that links to them. Media that cannot be explained are named on
    standard error, and the exit status is then 1."""
    from capjax import runtime
    from capjax.files import check_output, make_folder, write_text

    check_output(args.output)
    runtime.start()
    from capjax.explain import explain_each  # imports JAX, which then reads the environment that `start` sets
    from capjax.explain.page import contents_page
    from capjax.predict import load

    with noting(f"the workdir {args.workdir}"):
        model = load(args.workdir, plugins=args.plugins)
    paths, any_failed = expand("capjax explain", args.media, videos_only=model.dense)
    options = {"attention_layer": args.layer, "attention_head": args.head, "rollout": args.rollout}
    own = {"gradcam_layer": args.encoder_layer, "segments": args.segments, "samples": args.samples}
    options |= {name: value for name, value in own.items() if value is not None}
    explanations = explain_each(
        model, map(Path, paths), method=args.method, caption=args.caption, lang=args.lang, batch_size=args.batch,
        **options,
    )  # fmt: skip
    make_folder(args.output)
    names, written, errors = {"index.html"}, {}, []
    for explanation in explanations:
        message = str(explanation.error) if explanation.error else None
        if not message:
            name = _folder_name(explanation.media, names)
            try:
                _write(explanation, args.output / name, args.word)
                written[name] = explanation.caption
                print(f"{printable(str(args.output / name))}\t{explanation.caption}", flush=True)
            except ValueError as error:
                message = str(error)
        if message:
            any_failed = True
            errors.append(message)
            print(printable(f"capjax explain: {message}"), file=sys.stderr)
    write_text(args.output / "index.html", contents_page([*written], [*written.values()], errors))
    return 1 if any_failed or not written else 0


def _folder_name(media: str, taken: set[str]) -> str:
    """Returns a name for the folder of an explanation that no other has, and adds it to `taken`."""
    stem = re.sub(r"[^\w.-]+", "_", Path(media).stem).strip(".") or "media"
    name, number = stem[:100], 1
    while name in taken:
        number += 1
        name = f"{stem[:100]}-{number}"
    taken.add(name)
    return name


def _write(explanation, folder: Path, word: str | None):
    """Writes an explanation, with a page as index.html, and overlays as METHOD/NUMBER-WORD.png and METHOD/caption.png.

    The folder appears once it is complete, and replaces one of that name.

    Raises:
      ValueError: the word is not in the caption.
    """
    from capjax.explain.explanation import save
    from capjax.explain.overlay import png, word_overlay
    from capjax.explain.page import explanation_page
    from capjax.files import make_folder, remove_tree, write_bytes, write_text

    words: Sequence[int] = range(len(explanation.words)) if word is None else [explanation.find(word)]
    partial = folder.with_name(f".{folder.name}.partial")
    remove_tree(partial)
    make_folder(partial)
    save(explanation, partial)
    write_text(partial / "index.html", explanation_page(explanation))
    for method, maps in explanation.maps.items():
        make_folder(partial / method)
        for number in words if len(maps.values) > 1 else ():
            text = re.sub(r"[^\w-]+", "_", explanation.words[number].text)[:50]
            path = partial / method / f"{number:02}-{text}.png"
            write_bytes(path, png(word_overlay(explanation, method, number)))
        if word is None:
            write_bytes(partial / method / "caption.png", png(word_overlay(explanation, method)))
    remove_tree(folder)
    partial.rename(folder)
