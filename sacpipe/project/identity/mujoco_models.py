"""The files of a MuJoCo model, which MuJoCo opens itself, unseen by Python.

`record_models` keeps the path of each model that this process compiles; `model_files` walks a model's XML:
includes, attached models, meshes, textures, height fields and skins.
References: MuJoCo 3.17, XML reference, sections compiler, include and asset.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

_LOADERS = (
    ("MjModel", "from_xml_path"),
    ("MjModel", "from_binary_path"),
    ("MjSpec", "from_file"),
    ("MjSpec", "from_zip"),
)
_STRING_LOADERS = (("MjModel", "from_xml_string"), ("MjSpec", "from_string"))
_FILE_ATTRIBUTES = (
    "file",
    "fileright",
    "fileleft",
    "fileup",
    "filedown",
    "filefront",
    "fileback",
    "content_file",
)
_FOLDER_ATTRIBUTES = ("assetdir", "meshdir", "texturedir")

_recorded: dict[Path, None] = {}


def record_models(is_recording: Callable[[], bool]) -> bool:
    """Record the models that this process compiles from now on, whenever `is_recording` returns true.

    Returns:
        Whether recording began with this call: False where MuJoCo is not imported, or is recorded already.
    """
    mujoco = sys.modules.get("mujoco")
    if mujoco is None or hasattr(mujoco.MjModel.from_xml_path, "__wrapped__"):
        return False
    for kind, name in _LOADERS:
        _wrap(getattr(mujoco, kind), name, is_recording, _record_path)
    for kind, name in _STRING_LOADERS:
        _wrap(getattr(mujoco, kind), name, is_recording, _record_text)
    compiled = mujoco.MjSpec.compile

    @functools.wraps(compiled)
    def recorded(spec: Any, *arguments: Any, **options: Any) -> Any:
        if is_recording():
            _record_spec(spec)
        return compiled(spec, *arguments, **options)

    mujoco.MjSpec.compile = recorded
    return True


def recorded_models() -> tuple[Path, ...]:
    """Return the files of every model that was compiled since `record_models`."""
    return tuple(dict.fromkeys(file for model in list(_recorded) for file in model_files(model)))


def model_files(model: Path) -> list[Path]:
    """Return a model's file and all that it names, in order; names without a file are left out.

    A relative name is looked for in the folder of the file that has it, in that of the first file, and in
    the folders that `compiler` elements name: which one MuJoCo takes differs by element and by version.
    """
    if not model.is_file():
        return []
    found: dict[Path, None] = {model: None}
    tree = _parse(model.read_bytes)
    if tree is not None:
        _walk(tree, model.parent, [model.parent], found)
    return list(found)


def _walk(tree: ET.Element, top: Path, folders: list[Path], found: dict[Path, None]) -> None:
    asset_folders = [
        (folder / element.get(name, "")).absolute()
        for element in tree.iter("compiler")
        for name in _FOLDER_ATTRIBUTES
        if element.get(name)
        for folder in folders
    ]
    places = list(dict.fromkeys([*folders, *asset_folders, top]))
    for path in _named_files(tree, places):
        if path in found:
            continue
        found[path] = None
        part = _parse(path.read_bytes) if path.suffix.lower() in {".xml", ".mjcf", ".urdf"} else None
        if part is not None:
            _walk(part, top, list(dict.fromkeys([path.parent, *places])), found)


def _named_files(tree: ET.Element, places: list[Path]) -> Iterator[Path]:
    for element in tree.iter():
        for attribute in _FILE_ATTRIBUTES:
            name = element.get(attribute)
            if name is None and element.tag == "mesh" and attribute == "file":
                name = element.get("filename")  # URDF
            for place in places if name else ():
                path = Path(os.path.normpath(place / str(name)))
                if path.is_file():
                    yield path


def _parse(read: Callable[[], bytes]) -> ET.Element | None:
    try:
        return ET.fromstring(read())  # noqa: S314 - MuJoCo has compiled this file already
    except (ET.ParseError, OSError, ValueError):
        return None  # a binary model, or no XML


def _record_path(path: Any) -> None:
    _recorded.setdefault(Path(os.path.normpath(Path(os.fsdecode(path)).absolute())))


def _record_spec(spec: Any) -> None:
    """Record the files that a specification's assets name; the code of the task may have added them."""
    folder = Path(spec.modelfiledir or ".").absolute()
    places = dict.fromkeys(folder / name for name in ("", spec.meshdir or "", spec.texturedir or ""))
    assets = [*spec.meshes, *spec.hfields, *spec.skins, *spec.textures]
    names = [asset.file for asset in assets] + [name for asset in spec.textures for name in asset.cubefiles]
    for name in filter(None, names):
        for path in (Path(os.path.normpath(place / name)) for place in places):
            if path.is_file():
                _recorded.setdefault(path)


def _record_text(text: str) -> None:
    """Record what the XML in a string names; relative names are relative to the current folder."""
    tree = _parse(lambda: text.encode() if isinstance(text, str) else bytes(text))
    if tree is not None:
        found: dict[Path, None] = {}
        _walk(tree, Path.cwd(), [Path.cwd()], found)
        _recorded.update(found)


def _wrap(kind: Any, name: str, is_recording: Callable[[], bool], record: Callable[[Any], None]) -> None:
    original = getattr(kind, name)

    @functools.wraps(original)
    def recorded(*arguments: Any, **options: Any) -> Any:
        loaded = original(*arguments, **options)
        values = (*arguments, *options.values())  # the mapping of assets and an open file are no path
        path = next((value for value in values if isinstance(value, (str, bytes, os.PathLike))), None)
        if path is not None and is_recording():
            record(path)
        return loaded

    setattr(kind, name, staticmethod(recorded))
