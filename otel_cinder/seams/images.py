"""Images: their way from Glance to a volume and back, with the bytes that were moved.

The commands below (``qemu-img``) have spans of their own. Where nothing is traced, nothing begins.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import Span

from otel_cinder import conventions, redaction
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.spans import calls
from otel_cinder.spans.runtime import runtime

SEAM: Final = "images"

_MODULE: Final = "cinder.image.image_utils"

_SECTOR: Final = 512
"""Bytes of the unit in which Linux counts the size of every device."""

Arguments = Mapping[str, Any]
"""A call's arguments by name: their order differs between releases."""


def patch(patches: PatchSet) -> None:
    """Patch the functions with which Cinder and its drivers move images."""
    for function, (name, describe, measure) in _FUNCTIONS.items():
        wrapper = functools.partial(_call, name, describe, measure)
        patches.wrap(SEAM, f"{_MODULE}:{function}", wrapper)


def _download(arguments: Arguments) -> dict[str, Any]:
    return _image(arguments.get("image_id"))


def _downloaded(arguments: Arguments) -> int | None:
    return _size(arguments.get("path"))


def _convert(arguments: Arguments) -> dict[str, Any]:
    return _image(arguments.get("image_id"), arguments.get("out_format"))


def _converted(arguments: Arguments) -> int | None:
    """Return the bytes written; for a device, or a name that is no file here (``rbd:…``), the bytes read."""
    written = _size(arguments.get("dest"), devices=False)
    return _size(arguments.get("source")) if written is None else written


def _upload(arguments: Arguments) -> dict[str, Any]:
    meta = arguments.get("image_meta") or {}
    return _image(meta.get("id"), meta.get("disk_format"))


def _uploaded(arguments: Arguments) -> int | None:
    """The volume's size, if it was uploaded unchanged; otherwise the conversion below has the bytes."""
    meta = arguments.get("image_meta") or {}
    as_it_is = meta.get("disk_format") == arguments.get("volume_format", "raw")
    if not as_it_is or meta.get("container_format") == "compressed":
        return None
    return _size(arguments.get("volume_path"))


_FUNCTIONS: Final = {
    "fetch": ("download image", _download, _downloaded),
    "convert_image": ("convert image", _convert, _converted),
    "upload_volume": ("upload image", _upload, _uploaded),
}
"""Function -> its span's name, attributes from its arguments, and bytes once it is done."""


def _call(
    name: str,
    describe: Callable[[Arguments], dict[str, Any]],
    measure: Callable[[Arguments], int | None],
    wrapped: Callable[..., Any],
    _module: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    def begin(context: Context) -> tuple[Span, Context]:
        attributes = describe(_bind(wrapped, args, kwargs))
        return runtime.start_span(name, context, attributes=attributes), context

    def succeed(span: Span) -> None:
        size = measure(_bind(wrapped, args, kwargs))
        if size is not None:
            span.set_attribute(conventions.IMAGE_BYTES, size)

    return calls.traced(SEAM, begin, wrapped, args, kwargs, succeed=succeed)


_signature = functools.lru_cache(maxsize=16)(inspect.signature)


def _bind(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    try:
        return _signature(function).bind_partial(*args, **kwargs).arguments
    except TypeError:  # a call that does not fit: the function will say so itself
        return {}


def _image(image_id: Any, image_format: Any = None) -> dict[str, Any]:
    attributes = {}
    for attribute, value in (
        (conventions.IMAGE_ID, image_id),
        (conventions.IMAGE_FORMAT, image_format),
    ):
        if isinstance(value, str) and value:
            attributes[attribute] = redaction.identifier(value, 128)
    return attributes


def _size(path: Any, *, devices: bool = True) -> int | None:
    """Bytes of a file, or of a block device; None where there is neither."""
    with contextlib.suppress(OSError, TypeError, ValueError):
        status = Path(path).stat()
        if stat.S_ISREG(status.st_mode):
            return status.st_size
        if devices and stat.S_ISBLK(status.st_mode):
            # From sysfs: to open the device may take privileges that Cinder has not.
            number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
            return int(Path(f"/sys/dev/block/{number}/size").read_text()) * _SECTOR
    return None
