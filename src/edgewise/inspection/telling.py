"""The facts as text: one screen, and a line per layer for who wants them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from edgewise.inspection.facts import LayerFacts, ModelFacts, Support, TensorFacts

_KINDS = {
    "onnx": "ONNX", "ort": "ORT format", "tflite": "TFLite", "mlpackage": "Core ML package",
}  # fmt: skip
_LABEL = 13
_WIDTH = 100
#: refusals that are told of a target; `--json` has all
_TOLD = 8
_MOST_NAMES = 10
_UNKNOWN = "?"


def overview(facts: ModelFacts) -> Iterator[str]:
    """The lines of everything but layers and targets."""
    yield from _row("model", ", ".join(_heading(facts)))
    for index, tensor in enumerate(facts.inputs):
        yield from _row("" if index else "inputs", _tensor(tensor))
    for index, tensor in enumerate(facts.outputs):
        yield from _row("" if index else "outputs", _tensor(tensor))
    yield from _row("size", _size(facts))
    yield from _row("parameters", _parameters(facts))
    yield from _row("MACs", _macs(facts))
    for line in facts.macs.uncounted:
        text = f"not counted: {line.count} {line.operator}, {line.reason}"
        yield from _row("", text)
    yield from _row("activations", _memory(facts))
    yield from _row("precision", _precisions(facts))
    total = sum(facts.operators.values())
    yield from _row("operators", f"{total}: {_counts(facts.operators)}")
    if facts.needs:
        yield from _row("needs", ", ".join(f"{k} {v}" for k, v in facts.needs.items()))
    for remark in facts.remarks:
        yield from _row("remark", remark)


def support_lines(rows: Sequence[Support]) -> Iterator[str]:
    """A table of targets and precisions, then why not, and what there is to remark."""
    precisions = list(dict.fromkeys(row.precision for row in rows))
    targets = list(dict.fromkeys(row.target for row in rows))
    answers = {(row.target, row.precision): row for row in rows}
    table = [["target", *precisions]]
    table += [
        [target, *(_answer(answers.get((target, precision))) for precision in precisions)]
        for target in targets
    ]
    yield from _aligned(table)
    for target in targets:
        yield from _why(target, [row for row in rows if row.target == target])


def layer_lines(layers: Iterable[LayerFacts]) -> Iterator[str]:
    """One line per layer, in the order of execution."""
    table = [["layer", "operator", "output", "params", "MACs", "precision", "live bytes"]]
    for layer in layers:
        table.append(
            [
                _short(layer.name, 44),
                layer.operator,
                _UNKNOWN if layer.shape is None else _shape(layer.shape),
                f"{layer.parameters:,}" if layer.parameters else "",
                _UNKNOWN if layer.macs is None else f"{layer.macs:,}" if layer.macs else "",
                layer.precision,
                _UNKNOWN if layer.live_bytes is None else f"{layer.live_bytes:,}",
            ]
        )
    yield from _aligned(table, right=(3, 4, 6))


def _heading(facts: ModelFacts) -> Iterator[str]:
    yield facts.source
    yield _KINDS.get(facts.kind, facts.kind)
    yield from (f"{name.replace('_', ' ')} {text}" for name, text in facts.versions.items())
    if facts.producer:
        yield f"from {facts.producer.rstrip('.')}"


def _tensor(tensor: TensorFacts) -> str:
    shape = "" if tensor.shape is None else _shape(tensor.shape)
    text = "  ".join(part for part in (_short(tensor.name, 48), shape, tensor.dtype) if part)
    if tensor.scale is None:
        return text
    return f"{text}, scale {tensor.scale:.6g}, zero point {tensor.zero_point}"


def _shape(shape: Sequence[int | str | None]) -> str:
    return " x ".join(_UNKNOWN if size is None else str(size) for size in shape) or "scalar"


def _size(facts: ModelFacts) -> str:
    if facts.size_bytes is None:
        return "not a file"
    parts = [f"{part.name.rpartition('/')[2]} {_bytes(part.bytes)}" for part in facts.parts]
    told = f": {', '.join(parts)}" if 1 < len(parts) <= _MOST_NAMES else ""
    return f"{_bytes(facts.size_bytes)}{told}"


def _parameters(facts: ModelFacts) -> str:
    parameters = facts.parameters
    told = ", ".join(
        f"{amount.count:,} {dtype} ({_bytes(amount.bytes)})"
        for dtype, amount in parameters.by_dtype.items()
    )
    return f"{parameters.count:,}: {told}" if len(parameters.by_dtype) > 1 else told or "none"


def _macs(facts: ModelFacts) -> str:
    macs = facts.macs
    shares = ", ".join(f"{kind} {_count(n)}" for kind, n in list(macs.by_operator.items())[:6])
    free = macs.free_dimensions
    note = f"; for {', '.join(f'{name} = 1' for name in free)} (--input-shape)" if free else ""
    return f"{_count(macs.total)}{f': {shares}' if len(macs.by_operator) > 1 else ''}{note}"


def _memory(facts: ModelFacts) -> str:
    memory = facts.memory
    if memory.peak_bytes is None:
        text = f"not known: {memory.reason}"
    else:
        place = f" at '{_short(memory.peak_at, 48)}'" if memory.peak_at else ""
        text = f"{_bytes(memory.peak_bytes)} alive at once{place}"
    if memory.arena_bytes is None:
        return text
    return f"{text}; arena {_bytes(memory.arena_bytes)} ({memory.arena_of})"


def _precisions(facts: ModelFacts) -> str:
    return (
        ", ".join(
            f"{name} in {share.layers} {_plural('layer', share.layers)} ({_count(share.macs)})"
            for name, share in facts.precisions.items()
        )
        or "no layers with weights"
    )


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _counts(counts: Mapping[str, int]) -> str:
    told = list(counts.items())[:_MOST_NAMES]
    rest = sum(counts.values()) - sum(count for _, count in told)
    return ", ".join(f"{kind} {n}" for kind, n in told) + (f", {rest} others" if rest else "")


def _answer(row: Support | None) -> str:
    if row is None:
        return ""
    return {True: "yes", False: "no", None: "not asked"}[row.takes]


def _why(target: str, rows: Sequence[Support]) -> Iterator[str]:
    """Once for all precisions that have the same reason."""
    refusals = list(dict.fromkeys(refusal for row in rows for refusal in row.refusals))
    for refusal in refusals[:_TOLD]:
        head = f"'{refusal.node}'" if refusal.node else ""
        operator = f" ({refusal.operator})" if refusal.operator else ""
        where = f"{head}{operator}: " if head else ""
        remedy = f" {refusal.remedy}" if refusal.remedy else ""
        yield from _wrapped(f"{target}: {where}{refusal.reason.rstrip('.')}.{remedy}")
    if len(refusals) > _TOLD:
        yield f"{target}: {len(refusals) - _TOLD} more (--json)"
    for note in dict.fromkeys(row.note for row in rows if row.note):
        yield from _wrapped(f"{target}: {note}")
    remarks: dict[str, int] = {}
    for row in rows:
        for rule, count in (row.remarks or {}).items():
            remarks[rule] = max(count, remarks.get(rule, 0))
    if remarks:
        told = ", ".join(f"{rule.partition('/')[2]} {count}" for rule, count in remarks.items())
        yield from _wrapped(f"{target}: remarks: {told}")


def _row(label: str, text: str) -> Iterator[str]:
    yield from _wrapped(text, first=label.ljust(_LABEL), rest=" " * _LABEL)


def _wrapped(text: str, first: str = "", rest: str = "    ") -> Iterator[str]:
    yield from textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _short(name: str, length: int) -> str:
    """Long names lose their middle: converters join the names of all that they fused."""
    if len(name) <= length:
        return name
    return f"{name[: length // 2 - 1]}...{name[-(length - length // 2 - 2) :]}"


def _count(number: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            amount = number / size
            return f"{amount:.2f} {unit}" if amount < 10 else f"{amount:.1f} {unit}"
    return str(number)


def _bytes(count: int) -> str:
    """SI units, as the rest of Edgewise tells sizes in."""
    if count < 1_000:
        return f"{count} bytes"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.2f} MB"
