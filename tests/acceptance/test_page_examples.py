"""Every kind of example in W&B's documentation of `log`, run with only the import changed, and read back.

The scripts contain `import wandb`, like users' scripts; only that line is replaced. Each runs in a process of its own,
in an empty directory, against `stepwell up`. The results from SQL, `stepwell.Api` and HTTP are compared with the
script's data, which is known from its seeds: values to the bit, pixels of pictures, bytes of files.
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image
import PIL.ImageSequence
import pytest
from sklearn.metrics import precision_recall_curve

from fixtures.commands import Server
from fixtures.seen import Seen
from fixtures.server import PATIENCE_S

pytestmark = pytest.mark.db


RunExample = Callable[[str], Seen]


@pytest.fixture
def run_example(server: Server, command_environment: dict[str, str], tmp_path: Path) -> RunExample:
    def run(script: str) -> Seen:
        lines = textwrap.dedent(script).strip().splitlines()
        assert lines.count("import wandb") == 1
        program = tmp_path / "train.py"
        program.write_text("\n".join("import stepwell as wandb" if line == "import wandb" else line for line in lines))
        run_id = f"example-{tmp_path.name}"
        environment = {"STEPWELL_URL": server.url, "STEPWELL_RUN_ID": run_id, "MPLBACKEND": "Agg"}
        done = subprocess.run(
            [sys.executable, str(program)],
            cwd=tmp_path,
            env=command_environment | environment,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        seen = Seen(server.dsn, server.url, run_id)
        assert seen.through_api() == (seen.points(), seen.objects(), seen.summary())
        return seen

    return run


def test_basic(run_example: RunExample) -> None:
    seen = run_example("""
        import wandb

        run = wandb.init()
        run.log({"accuracy": 0.9, "epoch": 5})
    """)
    assert seen.points() == [(0, "accuracy", 0.9), (0, "epoch", 5)]
    assert seen.summary() == {"accuracy": 0.9, "epoch": 5}
    assert seen.about()["state"] == "finished"


def test_incremental_without_commit(run_example: RunExample) -> None:
    seen = run_example("""
        import wandb

        run = wandb.init()
        run.log({"loss": 0.2}, commit=False)
        # elsewhere, when the step is complete:
        run.log({"accuracy": 0.8})
        run.log({"loss": 0.1, "accuracy": 0.85})
    """)
    assert seen.points() == [(0, "accuracy", 0.8), (0, "loss", 0.2), (1, "accuracy", 0.85), (1, "loss", 0.1)]
    assert seen.summary() == {"loss": 0.1, "accuracy": 0.85}


def test_incremental_with_steps(run_example: RunExample) -> None:
    seen = run_example("""
        import wandb

        with wandb.init() as run:
            for step in range(3):
                wandb.log({"loss": 1 / (step + 1)}, step=step * 100)
                wandb.log({"accuracy": step / 4}, step=step * 100)
            run.log({"late": 1}, step=50)
    """)
    expected = []
    for step in range(3):
        expected += [(step * 100, "accuracy", step / 4), (step * 100, "loss", 1 / (step + 1))]
    assert seen.points() == expected
    assert seen.summary() == {"loss": 1 / 3, "accuracy": 0.5}


def test_histogram(run_example: RunExample) -> None:
    seen = run_example("""
        import numpy as np
        import wandb

        gradients = np.random.default_rng(7).standard_normal((100, 100))
        with wandb.init() as run:
            run.log({"gradients": wandb.Histogram(gradients)})
            run.log({"counted": wandb.Histogram(np_histogram=np.histogram(gradients, bins=10)), "raw": gradients})
    """)
    gradients = np.random.default_rng(7).standard_normal((100, 100))
    expected = {}
    for step, key, bins in ((0, "gradients", 64), (1, "counted", 10), (1, "raw", 32)):
        counts, edges = np.histogram(gradients, bins=bins)
        expected[step, key] = {"_type": "histogram", "values": counts.tolist(), "bins": edges.tolist()}
    assert seen.objects() == expected
    assert seen.summary()["gradients"] == expected[0, "gradients"]


def test_numpy_images(run_example: RunExample) -> None:
    seen = run_example("""
        import numpy as np
        import wandb

        rng = np.random.default_rng(7)
        with wandb.init() as run:
            examples = []
            for i in range(3):
                pixels = rng.integers(low=0, high=256, size=(100, 80, 3))
                examples.append(wandb.Image(pixels, caption=f"random field {i}"))
                pixels[:] = 0  # the next batch reuses the buffer
            run.log({"examples": examples, "loss": 0.5})
            run.log({"grey": wandb.Image(np.linspace(0, 1, 256).reshape(16, 16), caption="a gradient")})
    """)
    rng = np.random.default_rng(7)
    examples = seen.objects()[0, "examples"]
    assert (examples["width"], examples["height"], examples["format"]) == (80, 100, "png")
    assert examples["captions"] == ["random field 0", "random field 1", "random field 2"]
    for picture in seen.pictures(examples):
        assert np.array_equal(np.asarray(picture), rng.integers(low=0, high=256, size=(100, 80, 3)))
    grey = seen.objects()[1, "grey"]
    assert (grey["_type"], grey["caption"], grey["width"], grey["height"]) == ("image-file", "a gradient", 16, 16)
    pixels = np.asarray(PIL.Image.open(io.BytesIO(seen.file(grey))))
    assert np.array_equal(pixels, (np.linspace(0, 1, 256) * 255).astype(np.uint8).reshape(16, 16))
    assert seen.points() == [(0, "loss", 0.5)]
    assert seen.summary() == {"examples": examples, "grey": grey, "loss": 0.5}


def test_pillow_images(run_example: RunExample) -> None:
    seen = run_example("""
        import numpy as np
        from PIL import Image as PILImage
        import wandb

        rng = np.random.default_rng(7)
        with wandb.init() as run:
            examples = []
            for i in range(3):
                pixels = rng.integers(low=0, high=256, size=(100, 100, 3), dtype=np.uint8)
                pil_image = PILImage.fromarray(pixels, mode="RGB")
                examples.append(wandb.Image(pil_image, caption=f"random field {i}"))
            run.log({"examples": examples})
    """)
    rng = np.random.default_rng(7)
    examples = seen.objects()[0, "examples"]
    assert examples["captions"] == ["random field 0", "random field 1", "random field 2"]
    pictures = seen.pictures(examples)
    assert [picture.mode for picture in pictures] == ["RGB"] * 3
    for picture in pictures:
        expected = rng.integers(low=0, high=256, size=(100, 100, 3), dtype=np.uint8)
        assert np.array_equal(np.asarray(picture), expected)


def test_numpy_video(run_example: RunExample) -> None:
    """A video with few colours and different frames, since a gif has 256 colours and merges equal frames."""
    seen = run_example("""
        import numpy as np
        import wandb

        # axes are (time, channel, height, width)
        frames = np.zeros((10, 3, 64, 48), dtype=np.uint8)
        for t in range(10):
            frames[t, 0, 4 * t : 4 * t + 16, 8:24] = 255
            frames[t, 2, :, 30 + t] = 128
        with wandb.init() as run:
            run.log({"video": wandb.Video(frames, fps=4)})
            run.log({"film": wandb.Video(frames, fps=8, format="mp4", caption="a film")})
    """)
    frames = np.zeros((10, 3, 64, 48), dtype=np.uint8)
    for t in range(10):
        frames[t, 0, 4 * t : 4 * t + 16, 8:24] = 255
        frames[t, 2, :, 30 + t] = 128
    video = seen.objects()[0, "video"]
    assert (video["_type"], video["width"], video["height"]) == ("video-file", 48, 64)
    gif = PIL.Image.open(io.BytesIO(seen.file(video)))
    assert gif.info["duration"] == 250
    back = np.stack([np.asarray(frame.convert("RGB")) for frame in PIL.ImageSequence.Iterator(gif)])
    assert np.array_equal(back, np.moveaxis(frames, 1, -1))
    film = seen.objects()[1, "film"]
    assert film["caption"] == "a film"
    shape, worst = decoded_film(seen.file(film), np.moveaxis(frames, 1, -1))
    assert shape == (10, 64, 48, 3)
    assert worst < 20  # H.264 is lossy; this is the mean difference per picture, of 255


def decoded_film(data: bytes, expected: np.ndarray[Any, Any]) -> tuple[tuple[int, ...], float]:
    """The shape of the video, and the difference of its worst frame."""
    with av.open(io.BytesIO(data)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    return frames.shape, float(np.abs(frames.astype(int) - expected).mean(axis=(1, 2, 3)).max())


def test_matplotlib_plot(run_example: RunExample) -> None:
    seen = run_example("""
        import matplotlib.pyplot as plt
        import numpy as np
        import wandb

        with wandb.init() as run:
            fig, ax = plt.subplots()
            x = np.linspace(0, 10)
            y = x * x
            ax.plot(x, y)  # y = x^2
            run.log({"chart": fig})
            run.log({"chart": wandb.Image(fig)})
    """)
    interactive, drawn = seen.objects()[0, "chart"], seen.objects()[1, "chart"]
    assert interactive["_type"] == "plotly-file"
    line = json.loads(seen.file(interactive))["data"][0]
    x = np.linspace(0, 10)
    assert np.array_equal(numbers(line["x"]), x)
    assert np.array_equal(numbers(line["y"]), x * x)
    assert drawn["_type"] == "image-file"
    picture = PIL.Image.open(io.BytesIO(seen.file(drawn)))
    assert picture.size == (drawn["width"], drawn["height"])
    assert len(picture.convert("RGB").getcolors(1 << 24)) > 2  # it shows a line and letters


def numbers(axis: Any) -> np.ndarray[Any, Any]:
    """The values of a plotly trace, which are a list or in binary form."""
    if isinstance(axis, dict):
        return np.frombuffer(base64.b64decode(axis["bdata"]), np.dtype(axis["dtype"]))
    return np.asarray(axis)


def test_pr_curve(run_example: RunExample) -> None:
    seen = run_example("""
        import numpy as np
        import wandb

        rng = np.random.default_rng(7)
        y_test = rng.integers(0, 2, 200)
        y_probas = rng.random((200, 2))
        with wandb.init() as run:
            run.log({"pr": wandb.plot.pr_curve(y_test, y_probas, labels=["cat", "dog"])})
    """)
    rng = np.random.default_rng(7)
    y_test, y_probas = rng.integers(0, 2, 200), rng.random((200, 2))
    described = seen.objects()[0, "pr_table"]
    assert (described["_type"], described["ncols"], described["nrows"]) == ("table-file", 3, 42)
    table = json.loads(seen.file(described))
    assert table["columns"] == ["class", "precision", "recall"]
    for number, name in enumerate(("cat", "dog")):
        precision, recall, _ = precision_recall_curve(y_test == number, y_probas[:, number])
        rows = [row for row in table["data"] if row[0] == name]
        assert [row[2] for row in rows] == [round(0.05 * point, 3) for point in range(21)]
        best = [round(float(precision[recall >= at].max()), 3) for at in np.linspace(0, 1, 21)]
        assert [row[1] for row in rows] == best


def test_object3d(run_example: RunExample, tmp_path: Path) -> None:
    contents = {
        "sample.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "sample.gltf": b'{"asset": {"version": "2.0"}}',
        "sample.glb": b"glTF\x02\x00\x00\x00\x0c\x00\x00\x00",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    seen = run_example("""
        import numpy as np
        import wandb

        with wandb.init() as run:
            run.log(
                {
                    "generated_samples": [
                        wandb.Object3D(open("sample.obj")),
                        wandb.Object3D(open("sample.gltf")),
                        wandb.Object3D(open("sample.glb")),
                    ]
                }
            )
            run.log({"cloud": wandb.Object3D(np.random.default_rng(7).random((500, 3)))})
    """)
    samples = seen.objects()[0, "generated_samples"]
    assert samples["_type"] == "object3D"
    assert [seen.file(file) for file in samples["objects"]] == list(contents.values())
    assert [Path(name).suffix for name in samples["filenames"]] == [".obj", ".gltf", ".glb"]
    cloud = seen.objects()[1, "cloud"]
    assert np.array_equal(json.loads(seen.file(cloud)), np.random.default_rng(7).random((500, 3)))
