"""A small model that sees, and pictures and videos to show it, for the benchmarks of vision.

The model has random weights and the settings, tokenizer and processor of Qwen2.5-VL: what is measured is what
happens before and beside it. All is kept in a folder of the system's temporary one.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
HERE = Path(tempfile.gettempdir()) / "qwen-vision-benchmarks"


def model(context: int = 32_768) -> Path:
    """The folder of the model; `context` tokens are what it says that it was trained for."""
    from qwen_cli.models.formats import gguf_import
    from qwen_cli.models.hub import starter

    folder = HERE / f"model-{context}"
    if (folder / "preprocessor_config.json").exists() or (folder / "processor_config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(ROOT / "tests"))
    import small_models

    text = starter.safetensors_path()
    if not (text / "config.json").is_file():
        gguf_import.to_safetensors(starter.fetch(), text)
    small_models._FIELDS["Qwen2_5_VL"]["text_config"]["max_position_embeddings"] = context
    return small_models.make_seeing("Qwen2_5_VL", folder, text)


def picture(number: int = 0, size: tuple[int, int] = (1600, 1200)) -> Path:
    """A JPEG with the grain of a photograph."""
    path = HERE / f"picture-{size[0]}x{size[1]}-{number}.jpg"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 255, (size[1] // 8, size[0] // 8, 3), np.uint8)
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
    return path


def film(seconds: int, size: tuple[int, int], rate: int) -> Path:
    """A video in H.264, a keyframe every ten seconds: a bright square wanders over a still picture."""
    import av

    path = HERE / f"film-{seconds}s-{size[0]}x{size[1]}-{rate}.mp4"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"half-{path.name}")
    with Image.open(picture(size=size)) as still:
        ground = np.asarray(still)
    with av.open(str(half), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.gop_size = 10 * rate
        for number in range(seconds * rate):
            shown = ground.copy()
            left, top = number * 7 % (size[0] - 100), number * 5 % (size[1] - 100)
            shown[top : top + 100, left : left + 100] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())
    half.replace(path)
    return path
