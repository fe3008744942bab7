"""Spans of images on their way, with Cinder's own functions and a real qemu-img."""

from __future__ import annotations

import contextlib
import inspect
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode
from oslo_config import cfg

import otel_cinder
from otel_cinder.patching import internal_errors
from otel_cinder.seams import images as seam
from tests.integration.processes import missing
from tests.unit.recording import Recorder

with warnings.catch_warnings():  # Cinder's policies say on import what is deprecated
    warnings.simplefilter("ignore")
    from cinder import objects, privsep

    objects.register_all()
    from cinder.image import image_utils

pytestmark = pytest.mark.filterwarnings("ignore:Using fork:DeprecationWarning")
"""eventlet's warning, if another test has imported it."""

IMAGE = "7a5a4a4c-0000-4000-8000-000000000001"
MIB = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def _qemu_img() -> None:
    if shutil.which("qemu-img") is None:
        missing("qemu-img is not installed (Debian: qemu-utils).")


@pytest.fixture(autouse=True)
def _folder_of_cinder(tmp_path: Path) -> Any:
    cfg.CONF.set_override("image_conversion_dir", str(tmp_path))
    privsep.sys_admin_pctxt.set_client_mode(False)  # no daemon: we may do what it would
    yield
    privsep.sys_admin_pctxt.set_client_mode(True)
    cfg.CONF.clear_override("image_conversion_dir")


class Glance:
    """An image service that has one image of 3 MiB, or none."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.got = b""

    def download(self, context: Any, image_id: str, file: Any) -> None:
        if self._error:
            raise self._error
        file.write(b"x" * 3 * MIB)

    def update(self, context: Any, image_id: str, meta: Any, file: Any, **_more: Any) -> None:
        self.got = file.read()


@pytest.fixture
def raw(tmp_path: Path) -> str:
    """A raw image of 2 MiB."""
    path = tmp_path / "source"
    path.write_bytes(b"\1" * 2 * MIB)
    return str(path)


def test_download(spans: Recorder, tmp_path: Path) -> None:
    """A download says which image it is, and its bytes."""
    with spans.tracer.start_as_current_span("request"):
        image_utils.fetch(None, Glance(), IMAGE, str(tmp_path / "x"), None, None)
    span = spans["download image"]
    assert dict(span.attributes) == {"cinder.image.id": IMAGE, "cinder.image.bytes": 3 * MIB}
    assert spans.children(spans["request"]) == ["download image"]


def test_failing_download(spans: Recorder, tmp_path: Path) -> None:
    """A download that fails is an error; the file is gone, and so it has no bytes."""
    failing = Glance(ValueError("no such image, token=hunter2"))
    with spans.tracer.start_as_current_span("request"), contextlib.suppress(ValueError):
        image_utils.fetch(None, failing, image_id=IMAGE, path=str(tmp_path / "x"), _user_id=None,
                          _project_id=None)  # fmt: skip
    span = spans["download image"]
    assert dict(span.attributes) == {"cinder.image.id": IMAGE, "error.type": "ValueError"}
    assert span.status.description == "ValueError: no such image, token=***"
    assert not (tmp_path / "x").exists()


def test_conversion(spans: Recorder, raw: str, tmp_path: Path) -> None:
    """A conversion has its format and the bytes it wrote; the command is below it."""
    dest = tmp_path / "dest.qcow2"
    with spans.tracer.start_as_current_span("request"):
        image_utils.convert_image(raw, str(dest), "qcow2", src_format="raw", run_as_root=False)
    span = spans["convert image"]
    assert dict(span.attributes) == {
        "cinder.image.format": "qcow2",
        "cinder.image.bytes": dest.stat().st_size,
    }
    assert "execute qemu-img" in spans.children(span)
    assert image_utils.qemu_img_info(str(dest), run_as_root=False).file_format == "qcow2"


def test_failing_conversion(spans: Recorder, tmp_path: Path) -> None:
    """Converting a missing file fails as before, and logs no error of ours."""
    with spans.tracer.start_as_current_span("request"), contextlib.suppress(Exception):
        image_utils.convert_image(
            str(tmp_path / "none"), str(tmp_path / "x"), out_format="raw", run_as_root=False
        )
    span = spans["convert image"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["cinder.image.format"] == "raw"
    assert "cinder.image.bytes" not in span.attributes


def test_upload_as_it_is(spans: Recorder, raw: str) -> None:
    """An upload without conversion has the volume's own size."""
    glance = Glance()
    meta = {"id": IMAGE, "disk_format": "raw", "container_format": "bare"}
    with spans.tracer.start_as_current_span("request"):
        image_utils.upload_volume(None, glance, meta, raw)
    assert len(glance.got) == 2 * MIB
    assert dict(spans["upload image"].attributes) == {
        "cinder.image.id": IMAGE,
        "cinder.image.format": "raw",
        "cinder.image.bytes": 2 * MIB,
    }


def test_upload_that_converts(spans: Recorder, raw: str) -> None:
    """If the volume is converted first, the conversion has the bytes."""
    glance = Glance()
    meta = {"id": IMAGE, "disk_format": "qcow2", "container_format": "bare"}
    with spans.tracer.start_as_current_span("request"):
        image_utils.upload_volume(None, glance, meta, raw, run_as_root=False)
    upload = spans["upload image"]
    assert "cinder.image.bytes" not in upload.attributes
    assert upload.attributes["cinder.image.format"] == "qcow2"
    assert "convert image" in spans.children(upload)
    assert spans["convert image"].attributes["cinder.image.id"] == IMAGE
    assert spans["convert image"].attributes["cinder.image.bytes"] == len(glance.got)


def test_nothing_is_traced_without_a_span(spans: Recorder, raw: str, tmp_path: Path) -> None:
    """Outside of a request nothing begins."""
    image_utils.convert_image(raw, str(tmp_path / "x"), "raw", run_as_root=False)
    assert len(spans) == 0


def test_nothing_is_traced_in_an_unsampled_request(instrumented: Any, tmp_path: Path) -> None:
    """A request that is not sampled has no spans of images."""
    spans = instrumented(ALWAYS_OFF)
    with spans.tracer.start_as_current_span("request"):
        image_utils.fetch(None, Glance(), IMAGE, str(tmp_path / "x"), None, None)
    assert len(spans) == 0


def test_functions_are_put_back() -> None:
    """After uninstrument() Cinder's functions are its own."""
    before = [getattr(image_utils, name) for name in seam._FUNCTIONS]
    otel_cinder.instrument(tracer_provider=Recorder().provider)
    during = [getattr(image_utils, name) for name in seam._FUNCTIONS]
    otel_cinder.uninstrument()
    after = [getattr(image_utils, name) for name in seam._FUNCTIONS]
    for was, wrapped, now in zip(before, during, after, strict=True):
        assert wrapped is not was
        assert now is was


def test_call_that_does_not_fit(spans: Recorder) -> None:
    """A call that the function refuses is refused as ever."""
    with spans.tracer.start_as_current_span("request"), pytest.raises(TypeError, match="nonsense"):
        image_utils.fetch(nonsense=1)
    assert spans["download image"].attributes["error.type"] == "TypeError"


@pytest.mark.complains
def test_broken_measuring_does_not_hurt(
    spans: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If measuring fails, the result and the span are there, and the error is logged."""

    def broken(*_args: Any, **_kwargs: Any) -> int:
        raise RuntimeError("no")

    monkeypatch.setattr(seam, "_size", broken)
    with spans.tracer.start_as_current_span("request"):
        image_utils.fetch(None, Glance(), IMAGE, str(tmp_path / "x"), None, None)
    assert (tmp_path / "x").stat().st_size == 3 * MIB
    assert dict(spans["download image"].attributes) == {"cinder.image.id": IMAGE}
    assert ("images", RuntimeError) in internal_errors._logged


def older(source: str, dest: str, out_format: str, src_format: str | None = None) -> None:
    """convert_image of a release that knows no images' ids."""


def test_arguments_of_another_release() -> None:
    """Arguments are found by name, whatever their order, and may be missing."""
    assert seam._bind(older, ("a", "b"), {"out_format": "raw"}) == {
        "source": "a",
        "dest": "b",
        "out_format": "raw",
    }
    assert seam._convert({"out_format": "raw"}) == {"cinder.image.format": "raw"}
    assert seam._upload({}) == {}
    for name in seam._FUNCTIONS:  # those that are asked for are there in this release
        assert inspect.signature(getattr(image_utils, name)).parameters.keys() & {
            "path",
            "dest",
            "volume_path",
        }


def test_size_of_other_destinations(raw: str, tmp_path: Path) -> None:
    """Destinations that are no regular files have no size, so the bytes read count."""
    for path in (tmp_path / "none", tmp_path, "/dev/null", "rbd:pool/volume:id=x", None, "a\0b"):
        assert seam._size(path) is None
    assert seam._converted({"source": raw, "dest": "/dev/null"}) == 2 * MIB
    assert seam._converted({"source": raw, "dest": "rbd:pool/volume"}) == 2 * MIB


def test_size_of_a_block_device() -> None:
    """A block device's size is read without opening it, in bytes."""
    devices = [path for path in Path("/dev").iterdir() if path.is_block_device()]
    if not devices:
        pytest.skip("there is no block device here")
    sizes = [seam._size(path) for path in devices]
    assert all(size is None or size % 512 == 0 for size in sizes)
    assert all(seam._size(path, devices=False) is None for path in devices)
