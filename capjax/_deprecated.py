"""Modules, names, methods and attributes of capjax 0.1 under their old names, for one release.

An old name gives the present object and a DeprecationWarning that names the present one. Nothing is imported before an
old path is used.
"""

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import cast

# Old module: present module. Submodules follow.
MODULES = {
    "capjax.compile.command": "capjax.compile.compile_job",
    "capjax.compile.elementwise": "capjax.compile.loop_fusions",
    "capjax.compile.flops": "capjax.models.flops",
    "capjax.compile.programs": "capjax.compile.compiler",
    "capjax.compile.report": "capjax.compile.compile_report",
    "capjax.compile.stand_in": "capjax.compile.dummy_vocabulary",
    "capjax.compile.traffic": "capjax.compile.memory_traffic",
    "capjax.data.raw": "capjax.data.media_reader",
    "capjax.evals.forms": "capjax.evals.output_formats",
    "capjax.evals.generate": "capjax.decode.generator",
    "capjax.evals.windows": "capjax.decode.merge_windows",
    "capjax.export.command": "capjax.export.export_job",
    "capjax.export.pictures": "capjax.export.jpeg",
    "capjax.export.programs": "capjax.export.jax_programs",
    "capjax.export.served": "capjax.export.saved_model_generator",
    "capjax.metrics.command": "capjax.metrics.cli",
    "capjax.metrics.dense_traps": "capjax.metrics.dense_warnings",
    "capjax.metrics.ids": "capjax.metrics.id_matching",
    "capjax.metrics.pairs": "capjax.metrics.pair_scoring",
    "capjax.metrics.score": "capjax.metrics.scoring",
    "capjax.models.changes": "capjax.models.frame_difference",
    "capjax.models.functional": "capjax.models.pure_model",
    "capjax.parallel.lookout": "capjax.parallel.liveness",
    "capjax.parallel.meeting": "capjax.parallel.rendezvous",
    "capjax.parallel.rules": "capjax.parallel.sharding_rules",
    "capjax.train.checkpoint": "capjax.workdir.checkpoint",
    "capjax.train.programs": "capjax.train.train_programs",
    "capjax.train.report": "capjax.train.reporter",
    "capjax.train.workdir": "capjax.workdir.layout",
    "capjax.watch": "capjax.predict.localize",
    "data_prep.moving": "data_prep.synthetic.moving",
    "data_prep.mp4": "data_prep.synthetic.mp4",
    "data_prep.report": "data_prep.build_report",
    "data_prep.shapes": "data_prep.synthetic.shapes",
    "data_prep.slideshow": "data_prep.synthetic.slideshow",
    "data_prep.stage": "data_prep.staging",
    "data_prep.truth": "data_prep.synthetic.truth",
}

# Old path of a name: its present path. Other names of an old module have the same name in the present module.
NAMES = {
    "capjax.compile.hlo.Program": "capjax.compile.hlo.HloProgram",
    "capjax.compile.programs.Compiled": "capjax.compile.compiler.CompiledProgram",
    "capjax.compile.programs.Lowered": "capjax.compile.compiler.LoweredProgram",
    "capjax.compile.stand_in.stand_in": "capjax.compile.dummy_vocabulary.dummy_vocabulary",
    "capjax.data.pipeline.Part": "capjax.data.pipeline.DatasetSplit",
    "capjax.data.pipeline.model_inputs": "capjax.data.batch.model_inputs",
    "capjax.data.raw.Reader": "capjax.data.media_reader.MediaReader",
    "capjax.data.raw.Seen": "capjax.data.media_reader.MediaSample",
    "capjax.data.record.Caption": "capjax.data.record.RecordCaption",
    "capjax.data.record.Speech": "capjax.data.record.TranscriptSegment",
    "capjax.data.video.Shown": "capjax.data.video.TimedFrame",
    "capjax.data.video.Video": "capjax.data.video.VideoFile",
    "capjax.data.windows.Windows": "capjax.data.windows.WindowSettings",
    "capjax.decode.consensus.Neighbours": "capjax.decode.consensus.Neighbors",
    "capjax.evals.forms.FORMS": "capjax.evals.output_formats.FORMATS",
    "capjax.evals.forms.to_form": "capjax.evals.output_formats.to_output_format",
    "capjax.evals.generate.Event": "capjax.decode.results.Event",
    "capjax.evals.windows.Window": "capjax.decode.merge_windows.WindowEvents",
    "capjax.evals.windows.merge": "capjax.decode.merge_windows.merge_windows",
    "capjax.export.command.about": "capjax.export.export_job.read_metadata",
    "capjax.export.pictures.pictures": "capjax.export.jpeg.decode_jpegs",
    "capjax.export.programs.Model": "capjax.export.jax_programs.ExportModel",
    "capjax.export.programs.Program": "capjax.export.jax_programs.JaxProgram",
    "capjax.export.programs.take_apart": "capjax.export.jax_programs.make_export_model",
    "capjax.export.served.Served": "capjax.export.saved_model_generator.SavedModelGenerator",
    "capjax.metrics.DEFAULT": "capjax.metrics.DEFAULT_FAMILIES",
    "capjax.metrics.NAMES": "capjax.metrics.FAMILIES",
    "capjax.metrics.activitynet.Event": "capjax.metrics.activitynet.TimedSentence",
    "capjax.metrics.agreement.Judgement": "capjax.metrics.agreement.Judgment",
    "capjax.metrics.agreement.judgements": "capjax.metrics.agreement.judgments",
    "capjax.metrics.check_metrics": "capjax.metrics.check_families",
    "capjax.metrics.default_metrics": "capjax.metrics.default_families",
    "capjax.metrics.dense_traps.find": "capjax.metrics.dense_warnings.dense_warnings",
    "capjax.metrics.files.kind_of": "capjax.metrics.files.file_format",
    "capjax.metrics.ids.align": "capjax.metrics.id_matching.match_ids",
    "capjax.metrics.score.DEFAULT": "capjax.metrics.names.DEFAULT_FAMILIES",
    "capjax.metrics.score.NAMES": "capjax.metrics.names.FAMILIES",
    "capjax.metrics.score.check_metrics": "capjax.metrics.names.check_families",
    "capjax.metrics.score.default_metrics": "capjax.metrics.scoring.default_families",
    "capjax.models.build.make_functional": "capjax.models.build.make_pure_model",
    "capjax.models.captioner.Fuser": "capjax.models.connector.Connector",
    "capjax.models.changes.FrameChanges": "capjax.models.frame_difference.FrameDifference",
    "capjax.models.changes.FrameSimilarities": "capjax.models.frame_difference.FrameSimilarity",
    "capjax.models.functional.Functional": "capjax.models.pure_model.PureModel",
    "capjax.models.functional.stats_of": "capjax.models.pure_model.batch_stats_of",
    "capjax.parallel.hosts.Ballot": "capjax.parallel.hosts.SignalAllReduce",
    "capjax.parallel.hosts.at": "capjax.parallel.hosts.heartbeat",
    "capjax.parallel.hosts.blame": "capjax.parallel.hosts.attribute_failure",
    "capjax.parallel.hosts.fetch": "capjax.parallel.hosts.allgather",
    "capjax.parallel.hosts.gather": "capjax.parallel.hosts.allgather_objects",
    "capjax.parallel.hosts.leave": "capjax.parallel.hosts.shut_down",
    "capjax.parallel.lookout.Lookout": "capjax.parallel.liveness.LivenessMonitor",
    "capjax.parallel.lookout.Others": "capjax.parallel.liveness.Peers",
    "capjax.parallel.meeting.Place": "capjax.parallel.rendezvous.ProcessInfo",
    "capjax.parallel.meeting.meet": "capjax.parallel.rendezvous.rendezvous",
    "capjax.parallel.meeting.place_of": "capjax.parallel.rendezvous.process_info_of",
    "capjax.parallel.rules.Rules": "capjax.parallel.sharding_rules.ShardingRules",
    "capjax.predict.Parts": "capjax.predict.predictor.Parts",
    "capjax.text.time_tokens.Told": "capjax.text.time_tokens.TimedText",
    "capjax.train.loop.NotFiniteError": "capjax.train.train_run.NotFiniteError",
    "capjax.train.report.Silent": "capjax.train.reporter.SilentReporter",
    "capjax.train.report.read_metrics": "capjax.workdir.metrics_log.read_metrics",
    "capjax.watch.Watched": "capjax.predict.localize.LocalizedVideo",
    "capjax.watch.watch": "capjax.predict.localize.localize",
    "data_prep.shapes.scene.COLOURS": "data_prep.synthetic.shapes.scene.COLORS",
}
_MODULES_WITH_OLD_NAMES = {path.rpartition(".")[0] for path in NAMES}


def install():
    """Makes the old paths importable. Idempotent."""
    if not any(isinstance(finder, _OldPathFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OldPathFinder())


def _present_module(module: str) -> str | None:
    """The present path of an old module or of a module in an old package; None for other modules."""
    package, submodule = module, ""
    while package:
        if package in MODULES:
            return MODULES[package] + submodule
        package, _, last = package.rpartition(".")
        submodule = f".{last}{submodule}"
    return None


class _OldPathFinder(MetaPathFinder):
    """Finds old modules, and adds old names to modules that still exist."""

    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        if not fullname.startswith(("capjax.", "data_prep.")):
            return None
        if present := _present_module(fullname):
            present_spec = importlib.util.find_spec(present)
            is_package = present_spec is not None and present_spec.submodule_search_locations is not None
            return ModuleSpec(fullname, _OldModuleLoader(present), is_package=is_package)
        if fullname not in _MODULES_WITH_OLD_NAMES or not (spec := PathFinder.find_spec(fullname, path, target)):
            return None
        loader = spec.loader
        assert loader is not None  # only namespace packages have none
        execute = loader.exec_module

        def execute_with_old_names(module: ModuleType):
            execute(module)
            vars(module)["__getattr__"] = _getter(module, fullname, vars(module).get("__getattr__"))

        loader.exec_module = execute_with_old_names  # type: ignore[method-assign]
        return spec


class _OldModuleLoader(Loader):
    """Loads a module whose names are those of a present module."""

    def __init__(self, present: str):
        self.present = present

    def exec_module(self, module: ModuleType):
        module.__doc__ = f"Deprecated path of {self.present}."
        vars(module)["__getattr__"] = _getter(module, self.present)

    def get_code(self, fullname: str):
        """Returns the code that `python -m` runs."""
        _warn(fullname, self.present)
        spec = importlib.util.find_spec(self.present)
        assert spec is not None
        return cast(InspectLoader, spec.loader).get_code(self.present)


def _getter(
    module: ModuleType, present_module: str, own: Callable[[str], object] | None = None
) -> Callable[[str], object]:
    """Returns the `__getattr__` of a module; `own` is one that the module defines for its present names."""

    def get(name: str):
        old = f"{module.__name__}.{name}"
        if own and old not in NAMES:
            return own(name)
        present = NAMES.get(old, f"{present_module}.{name}")
        if name.startswith("__") or present == old:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        parent, _, attribute = present.rpartition(".")
        value = getattr(importlib.import_module(parent), attribute)
        _warn(old, present)
        setattr(module, name, value)
        return value

    return get


class OldName:
    """The old name of a method or attribute, as an attribute of its class.

    Args:
      present: the present name.
    """

    def __init__(self, present: str):
        self._present = present

    def __set_name__(self, owner: type, name: str):
        self._name = name

    def __get__(self, instance, owner: type):
        _warn(f"{owner.__name__}.{self._name}", f"{owner.__name__}.{self._present}")
        return getattr(owner if instance is None else instance, self._present)


def _warn(old: str, present: str):
    warnings.warn(f"{old} is now {present}", DeprecationWarning, stacklevel=3)
