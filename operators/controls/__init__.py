"""Controls: what changes how ``generate`` and ``edit`` denoise; each a file of its own, found by being here."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Annotated, Any

from pydantic import PlainSerializer

from operators.choice import Choice
from operators.controls.base import Control, ControlSpec, Touches

for _file in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")


def _below(spec: Any) -> list[type[ControlSpec]]:
    return [found for child in spec.__subclasses__() for found in (child, *_below(child)) if hasattr(found, "kind")]


CONTROLS: dict[str, type[ControlSpec]] = {spec.kind: spec for spec in sorted(_below(ControlSpec), key=lambda s: s.kind)}
"""Every control by the word that stands for it in a job file."""

AnyControl = Annotated[
    ControlSpec,
    Choice(
        ControlSpec,
        lambda: CONTROLS,
        lambda kind: [name for name, field in CONTROLS[kind].model_fields.items() if field.is_required()],
    ),
    PlainSerializer(lambda control: {control.kind: control.model_dump(mode="json")}),
]
"""One control, as it stands in a job file: ``sag``, or ``{sag: {its options}}``."""

__all__ = ["CONTROLS", "AnyControl", "Control", "ControlSpec", "Touches"]
