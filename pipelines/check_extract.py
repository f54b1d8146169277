"""Every vector that `photorank extract` makes of some photos, against the libraries' own code on the same weights.

    python pipelines/check_extract.py PHOTOS... [--config random] [--json]

For `clip` the other side is open_clip's own preprocessing and `encode_image`, for `cnn` torchvision's own evaluation
transforms and forward pass, one photo at a time: on the RGB that photorank decodes, and, where the file has neither an
ICC profile nor an EXIF orientation, on the file as Pillow reads it. Prints the smallest cosine of each; exits with 1
where one is below .9999.
"""

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
import torchvision
from PIL import Image

from photorank.config import load_extract_config
from photorank.photos import decode_photo, photo_orientation, read_photo
from photorank.stages.extract import extract
from photorank.store import FeatureStore, Space

Encode = Callable[[Image.Image], np.ndarray]


def open_clips_own(space: Space) -> Encode:
    torch.manual_seed(space.spec["weights"]["random"])
    model, _, preprocess = open_clip.create_model_and_transforms(space.spec["model"])
    model.eval()
    return lambda image: model.encode_image(preprocess(image)[None])[0].numpy()


def torchvisions_own(space: Space) -> Encode:
    spec = space.spec
    torch.manual_seed(spec["weights"]["random"])
    model = torchvision.models.get_model(spec["model"], weights=None).eval()
    maps: list[torch.Tensor] = []
    model.get_submodule(spec["layer"]).register_forward_hook(lambda module, given, out: maps.append(out))
    sizes = {"crop_size": spec["preprocessing"]["size"], "resize_size": spec["preprocessing"]["resize"]}
    preset = torchvision.transforms._presets.ImageClassification(**sizes)

    def encode(image: Image.Image) -> np.ndarray:
        maps.clear()
        model(preset(image)[None])
        return maps[0].mean((2, 3))[0].numpy()

    return encode


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.astype(np.float64), other.astype(np.float64)
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@torch.inference_mode()
def check(photos: list[str], config: str, store: Path) -> dict[str, dict[str, float]]:
    """Space → how many photos, and the smallest cosine on decoded pixels and on plain files."""
    report = extract(photos, store, load_extract_config(config, (), "cpu", None, None))
    found: dict[str, dict[str, float]] = {}
    for space in FeatureStore.open(store).spaces():
        if space.spec["kind"] == "iqa":
            continue
        encode = {"clip": open_clips_own, "cnn": torchvisions_own}[space.spec["kind"]](space)
        decoded, plain = [], []
        for path, key in report.keys.items():
            vector, data = space.load([key])[1][0], read_photo(path)
            decoded.append(cosine(vector, encode(Image.fromarray(decode_photo(data).rgb))))
            with Image.open(io.BytesIO(data)) as image:
                if "icc_profile" not in image.info and photo_orientation(data) == 1:
                    plain.append(cosine(vector, encode(image.convert("RGB"))))
        counts = {"photos": len(decoded), "plain_files": len(plain)}
        found[space.name] = {**counts, "decoded": min(decoded), "from_file": min(plain, default=float("nan"))}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--config", default="random", help="an extract config with random weights")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = check(options.photos, options.config, Path(folder) / "store")
    if options.json:
        print(json.dumps(found))
    else:
        for name, each in found.items():
            print(f"{name}: {each['photos']} photos, smallest cosine {each['decoded']:.7f} on decoded pixels; ", end="")
            print(f"{each['plain_files']} plain files, {each['from_file']:.7f} straight from the file")
    worst = min(value for each in found.values() for value in (each["decoded"], each["from_file"]) if value == value)
    return 0 if worst >= 0.9999 else 1


if __name__ == "__main__":
    sys.exit(main())
