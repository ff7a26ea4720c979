"""Compiles the BPF programs into the wheel, so that installing it takes no compiler.

The wheel is tagged py3-none-any: the objects are BPF, little-endian, the same on every
architecture; the kernel of a big-endian machine refuses them. An editable install compiles
nothing: its objects come from bpf/build.py.
"""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ObjectsBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Runs before the files are gathered; a failure ends the build."""
        if version == "editable":
            return
        compiler = _compiler(Path(self.root))
        try:
            compiler.build()
        except compiler.BuildError as error:
            self.app.abort(f"the wheel needs the BPF objects, and they can't be built: {error}")


def _compiler(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_bpf", root / "bpf" / "build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
