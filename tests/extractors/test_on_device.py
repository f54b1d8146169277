"""`decode: device`: JPEGs decoded, turned, resized and cut where the model runs; here that is the processor."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.io
from PIL import Image, ImageCms

from photorank.config import ClipConfig, CnnConfig, ExtractConfig
from photorank.errors import ConfigError
from photorank.extractors import Resized
from photorank.extractors.device import Forward
from photorank.extractors.on_device import PixelsOnDevice
from photorank.photos.preprocessing import Preprocessing
from photorank.photos.undecoded import undecoded
from photorank.stages.extract import extract
from photorank.store import FeatureStore
from tests.conftest import Run, make_picture

SMALL = {"kind": "cnn", "library": "timm", "model": "test_resnet", "weights": "random", "precision": "float32"}
WAYS = {
    "standard": Preprocessing("shortest", (64, 64), (56, 56)),
    "bicubic": Preprocessing("shortest", (56, 56), (56, 56), "bicubic"),
    "paper": Preprocessing("longest", (56, 56), (56, 56), fill=(117, 115, 110)),
    "enlarged": Preprocessing("shortest", (300, 300), (288, 288)),
    "squash": Preprocessing("squash", (40, 56), (40, 56)),
}


def jpeg(picture: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(make_picture(3, 161, 120), exif=exif)


def on_device(preprocess: Preprocessing, data: bytes, decoder: str | None = None) -> np.ndarray:
    photo = undecoded(data, 10**8)
    assert photo is not None
    pixels, failed = PixelsOnDevice(preprocess, "cpu", decoder)([Resized(preprocess).undecoded(photo)])
    assert failed == []
    return pixels[0].numpy()


@pytest.mark.parametrize("decoder", [None, "cpu"], ids=["turbo", "torchvision"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("way", WAYS)
def test_pixels_are_pillows_but_for_rounding(way: str, orientation: int, decoder: str | None) -> None:
    from photorank.photos import decode_photo

    data, preprocess = turned(orientation), WAYS[way]
    photo = decode_photo(data)
    found, wanted = on_device(preprocess, data, decoder), preprocess(photo.rgb)
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).max() <= 1
    seen = undecoded(data, 10**8)
    assert seen is not None
    for name in ("height", "width", "orientation", "taken_at", "camera"):
        assert getattr(seen, name) == getattr(photo, name)


def test_what_is_left_to_a_device_and_what_is_not(tmp_path: Path) -> None:
    picture = make_picture(1)
    assert undecoded(jpeg(picture), 10**8) is not None
    assert undecoded(jpeg(picture, progressive=True, subsampling=0), 10**8) is not None
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert undecoded(jpeg(picture, icc_profile=srgb), 10**8) is not None
    whole, coded_as_rgb = jpeg(picture), jpeg(picture, keep_rgb=True)
    adobe = b"\xff\xee\x00\x0eAdobe\x00d\x00\x00\x00\x00\x00"
    assert adobe in coded_as_rgb  # without it the names of the components say the same
    others = [
        jpeg(picture.convert("L")), jpeg(picture.convert("CMYK")), whole[: len(whole) // 2], b"\xff\xd8\xff\xe0",
        jpeg(picture.resize((400, 10))), b"no photo", coded_as_rgb, coded_as_rgb.replace(adobe, b""),
    ]  # fmt: skip
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    for data in [*others, buffer.getvalue()]:
        assert undecoded(data, 10**8) is None


def test_a_profile_other_than_srgbs_is_left_to_the_decoder_that_knows_it() -> None:
    picture = make_picture(1)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert undecoded(jpeg(picture, icc_profile=lab), 10**8) is not None  # not a profile of RGB: nothing to be done
    assert undecoded(jpeg(picture, icc_profile=swapped()), 10**8) is None


def swapped() -> bytes:
    """sRGB's profile with the names of two primaries exchanged: a valid one that changes colours."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


def test_vectors_are_those_of_an_exact_decode_but_for_rounding(photo_folder: Path, tmp_path: Path) -> None:
    found = {}
    for decode in ("exact", "device"):
        config = ExtractConfig.model_validate({"features": {"look": {**SMALL, "decode": decode}}, "device": "cpu"})
        report = extract([photo_folder], tmp_path / decode, config)
        assert not report.failures
        space = FeatureStore.open(tmp_path / decode).space("look")
        assert space.spec["decode"] == decode
        found[decode] = dict(zip(map(bytes, space.load()[0]), space.load()[1].astype(np.float64), strict=True))
    assert found["exact"].keys() == found["device"].keys()
    for key, vector in found["exact"].items():
        other = found["device"][key]
        assert vector @ other / np.linalg.norm(vector) / np.linalg.norm(other) >= 0.9999


def test_a_damaged_jpeg_costs_itself_only_and_is_listed_with_its_cause(photo_folder: Path, tmp_path: Path) -> None:
    data = bytearray(jpeg(make_picture(7)))
    data[data.index(b"\xff\xda") + 5] = 99  # the scan is said to be of a component that there is not
    (photo_folder / "bad.jpg").write_bytes(data)
    config = ExtractConfig.model_validate({"features": {"look": {**SMALL, "decode": "device"}}, "device": "cpu"})
    report = extract([photo_folder], tmp_path / "S", config)
    (failure,) = report.failures
    assert failure.path.endswith("bad.jpg")
    assert "truncated or damaged" in failure.error
    assert len(FeatureStore.open(tmp_path / "S").space("look")) == 6


def test_the_option_says_it_for_all_features_that_have_a_choice(
    photo_folder: Path, tmp_path: Path, photorank: Run
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "features: {look: {kind: cnn, library: timm, model: test_resnet, weights: random}, iqa: {kind: iqa}}\n"
    )
    done = photorank(
        "extract", photo_folder, "--store", tmp_path / "S", "--config", config, "--device", "cpu", "--decode-device"
    )
    assert done.returncode == 0, done.stderr
    spaces = {space.name: space.spec for space in FeatureStore.open(tmp_path / "S").spaces()}
    assert spaces["look"]["decode"] == "device"
    assert spaces["iqa"]["decode"] == "exact"


def test_a_torchvision_without_a_decoder_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise RuntimeError("decode_jpegs_cuda: torchvision not compiled with nvJPEG support")

    monkeypatch.setattr(torchvision.io, "decode_jpeg", lacking)
    with pytest.raises(ConfigError, match=r"cannot decode JPEGs on cpu here .*use `decode: exact`"):
        PixelsOnDevice(WAYS["standard"], "cpu", "cpu")


def test_one_that_torchvision_refuses_leaves_the_others_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from photorank import photos

    elsewhere, decode_photo = [], photos.decode_photo
    monkeypatch.setattr(photos, "decode_photo", lambda data: elsewhere.append(data) or decode_photo(data))
    good, preprocess = turned(1), WAYS["standard"]
    photo = undecoded(good, 10**8)
    assert photo is not None
    prepared = Resized(preprocess).undecoded(photo)
    cut = (prepared[0][: len(prepared[0]) // 2],)
    pixels, failed = PixelsOnDevice(preprocess, "cpu", "cpu")([prepared, cut, prepared])
    assert failed == [1]
    assert elsewhere == [cut[0][1:].tobytes()], "the others went to the other decoder too"
    assert not pixels[1].any()
    assert np.array_equal(pixels[0], on_device(preprocess, good))
    assert np.array_equal(pixels[2], pixels[0])


def out_of_memory(*_: object, **__: object) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB.")


@pytest.mark.parametrize("where", ["torchvision.io.decode_jpeg", "torch.nn.functional.interpolate"])
def test_want_of_memory_is_no_damaged_photo(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    preprocess, photo = WAYS["standard"], undecoded(turned(1), 10**8)
    assert photo is not None
    spec = {"precision": "float32", "preprocessing": {"mean": [0.0] * 3, "std": [1.0] * 3}, "decode": "device"}
    forward = Forward(lambda batch: batch.mean((2, 3)), spec, Resized(preprocess), "cpu", 4)
    forward._decode = PixelsOnDevice(preprocess, "cpu", "cpu")  # as on a device with a decoder of its own
    monkeypatch.setattr(where, out_of_memory)
    with pytest.raises(ConfigError, match=r"memory of cpu does not hold a batch of 4 photos; .* say --batch-size 2"):
        forward.embed([Resized(preprocess).undecoded(photo)])
    if where.startswith("torchvision"):
        with pytest.raises(torch.OutOfMemoryError):
            PixelsOnDevice(preprocess, "cpu", "cpu")


@pytest.mark.parametrize("config", [ClipConfig, CnnConfig])
def test_the_choice_is_part_of_the_spec(config: type[ClipConfig] | type[CnnConfig]) -> None:
    from photorank.extractors import describe

    specs = [describe("x", config(weights="random", decode=decode)).spec for decode in ("exact", "fast", "device")]
    assert len({str(spec) for spec in specs}) == 3


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    from photorank.photos import decode_photo

    data, preprocess = turned(6), WAYS["standard"]
    photo = undecoded(data, 10**8)
    assert photo is not None
    pixels, failed = PixelsOnDevice(preprocess, "cuda")([Resized(preprocess).undecoded(photo)])
    assert failed == []
    assert np.abs(pixels[0].cpu().numpy().astype(int) - preprocess(decode_photo(data).rgb)).mean() < 2
