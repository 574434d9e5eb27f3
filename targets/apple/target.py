"""The apple target: float or QDQ ONNX in, a Core ML ML Program (`.mlpackage`) out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgewise.calibration.scheme import Scheme
from edgewise.errors import EdgewiseError, ModelError, UnsupportedOperator
from edgewise.findings import Finding
from edgewise.graph import activation_dtypes, load
from edgewise.targets.apple.asked import Asked, check_asked, legal_for_check, lower_as_asked
from edgewise.targets.apple.classifier import score_remarks
from edgewise.targets.apple.deployment import SYSTEMS
from edgewise.targets.apple.fp16_scales import lossy_scales
from edgewise.targets.apple.functions import function_manifest
from edgewise.targets.apple.images import Picture
from edgewise.targets.apple.interface import Interface
from edgewise.targets.apple.metadata import facts_of, source_hash
from edgewise.targets.apple.options import KNOWN_OPTIONS, AppleOptions, scheme_with
from edgewise.targets.apple.promises import Promises, promises_of
from edgewise.targets.apple.scheme import SCHEMES
from edgewise.targets.apple.session import AppleSession, open_session
from edgewise.targets.base import Artifact, EmitOptions, Feeds, Manifest
from edgewise.targets.layerwise import LayerReport
from edgewise.targets.manifest import publish, tool_versions
from edgewise.targets.pictures import remaining_preprocessing
from edgewise.targets.preconditions import (
    artifact_of,
    check_precision,
    refusal,
    scheme_of,
)

if TYPE_CHECKING:
    from edgewise.targets.apple.package import Conversion
    from edgewise.targets.apple.quantized_form import QuantizedForm

TARGET_NAME = "apple"


class AppleTarget:
    """Implements `edgewise.targets.base.Target`."""

    name = TARGET_NAME
    precisions = tuple(SCHEMES)
    options = KNOWN_OPTIONS

    def scheme(self, precision: str, options: Mapping[str, Any] | None = None) -> Scheme:
        return scheme_with(scheme_of(TARGET_NAME, SCHEMES, precision), options or {})

    def check_options(self, options: Mapping[str, Any], precision: str) -> None:
        AppleOptions.of(options, self.scheme(precision, options))

    def check(
        self, model: ir.Model, precision: str | None = None, *, options: EmitOptions | None = None
    ) -> list[Finding]:
        """Every node that `emit` would refuse, the layers outside Core ML's quantized form, and
        what may keep the model off the Neural Engine."""
        from edgewise.targets.apple.lower import lower, refusals
        from edgewise.targets.apple.neural_engine import lint

        asked = None
        if precision is not None and options is not None:
            wanted = self.scheme(precision, options.options)
            asked = Asked(wanted, AppleOptions.of(options.options, wanted), options)
        try:
            ready = legal_for_check(model, asked)
        except ModelError as error:
            return [refusal("apple/refused", error)]
        refused = [_refusal(error) for error in refusals(ready, SYSTEMS[-1])]
        try:
            advice = lossy_scales(ready.model)
        except ModelError:  # scales that are not constant: among the refusals already
            return refused
        if refused:
            return refused + advice
        if asked is not None:
            check_asked(model, asked)
        main = lower(ready, SYSTEMS[-1]).program.functions["main"]
        if activation_dtypes(ready.model):
            from edgewise.targets.apple.program_view import view_of
            from edgewise.targets.apple.quantized_form import examine

            advice += examine(view_of(main), promises_of(ready.model).operators).findings()
        return advice + list(lint(main, narrowed=False).findings)

    def emit(
        self,
        model: str | Path | ir.Model,
        out_dir: str | Path,
        precision: str = "fp32",
        *,
        options: EmitOptions | None = None,
    ) -> Artifact:
        """Write `<name>.mlpackage` and `manifest.json`, for batch 1.

        Raises:
            UsageError: an unknown option, or a folder that cannot be written.
            UnsupportedPrecision: a precision other than `precisions`.
            UnsupportedOperator: Core ML cannot express a node.
            ModelError: the model is float where `precision` is quantized or the other way round,
                or has inputs that Core ML has not.
        """
        from edgewise.targets.apple.neural_engine import lint
        from edgewise.targets.apple.package import Conversion
        from edgewise.targets.apple.tables import check_values, store_as_tables

        options = options or EmitOptions()
        wanted = self.scheme(precision, options.options)
        asked = Asked(wanted, AppleOptions.of(options.options, wanted), options)
        source = load(model)
        if wanted.palette is not None:
            check_values(source, wanted)
        digest = source_hash(source)
        made = lower_as_asked(
            source,
            asked,
            owned=source is not model,
            admit=lambda legal: check_precision(legal, wanted, self.precisions),
        )
        ready, lowered, classifier = made.legal, made.fitted.program, made.classifier
        store_as_tables(lowered, wanted)
        ends = Interface(lowered, ready.model.graph, made.picture, classifier)
        with Conversion(lowered, asked.chosen.compute, ends) as conversion:
            form = _verified(conversion, promises_of(ready.model))
            activations = activation_dtypes(ready.model)
            facts = facts_of(options.name, wanted.precision, digest, ends)
            conversion.sign(options.about, facts)
            manifest = Manifest(
                name=options.name,
                target=TARGET_NAME,
                precision=wanted.precision,
                inputs=ends.inputs,
                outputs=ends.outputs,
                files={},
                versions=tool_versions("coremltools", "onnx", "onnx-ir"),
                labels=options.labels,
                preprocessing=_left_over(options.preprocessing, made.picture),
                options={
                    **conversion.describe(),
                    **ends.describe(),
                    "needs": made.fitted.describe(),
                    **({"quantized_form": form.describe()} if activations else {}),
                },
            )
            file_name = f"{options.name}.mlpackage"
            artifact = publish(out_dir, file_name, manifest, conversion.write, options.beside)
        scores = [] if classifier is None else score_remarks(classifier)
        remarks = [*lossy_scales(ready.model), *lint(conversion.main).findings, *scores]
        layers = form.findings() if activations else []
        findings = (*layers, *remarks)
        return Artifact(artifact.path, artifact.manifest, findings)

    def open(
        self,
        artifact: Artifact | str | Path,
        device: str = "local",
        *,
        threads: int = 1,
        function: str | None = None,
    ) -> AppleSession:
        """Open on `local` (Core ML on a Mac, the interpreter elsewhere), `mac` or `mac:HOST`.

        Args:
            function: of a package that has several; its default one without.

        Raises:
            DeviceError: another device, or a Mac that is not there.
            UsageError: the package has no such function.
        """
        known = artifact_of(TARGET_NAME, artifact)
        manifest, name = function_manifest(known, function)
        return open_session(known.path, manifest, device, threads, name)

    def compare_layers(
        self, model: ir.Model, artifact: Artifact, feeds: Iterable[Feeds], *, threads: int = 1
    ) -> LayerReport:
        """Each layer of the package, interpreted, against that of the QDQ model.

        Raises:
            UsageError: the package takes pictures.
            ModelError: the package cannot be read, or was not emitted from this model.
        """
        from edgewise.targets.apple.compare import compare_layers

        return compare_layers(model, artifact, feeds, threads=threads)


def _left_over(
    preprocessing: Mapping[str, Any] | None, picture: Picture | None
) -> Mapping[str, Any] | None:
    """The preprocessing that the application still has to do."""
    if picture is None:
        return preprocessing
    return remaining_preprocessing(preprocessing or {}, "NCHW")


def _verified(conversion: Conversion, promises: Promises) -> QuantizedForm:
    """The form of the layers in the finished program, once it is proved to be the QDQ model's."""
    from edgewise.targets.apple.quantized_form import examine
    from edgewise.targets.apple.verify_program import verify_program

    program = conversion.read_back()
    verify_program(program, promises)
    return examine(program, promises.operators)


def _refusal(error: EdgewiseError) -> Finding:
    unsupported = isinstance(error, UnsupportedOperator)
    return refusal("apple/unsupported-operator" if unsupported else "apple/refused", error)
