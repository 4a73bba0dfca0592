"""Single pictures: blur, normalisation for SqueezeNet, loading and resizing."""

import numpy as np
import pytest
from PIL import Image

from cs231n.image_utils import (
    SQUEEZENET_MEAN,
    SQUEEZENET_STD,
    blur_image,
    deprocess_image,
    load_image,
    preprocess_image,
)


def smooth_picture(height, width):
    """Return RGB pixels (height, width, 3) that change slowly: red down, green along."""
    down, along = np.mgrid[:height, :width]
    channels = [255 * down / height, 255 * along / width, np.full((height, width), 60)]
    return np.stack(channels, axis=2).astype(np.uint8)


class TestBlur:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("shape", [(2, 3, 6, 9), (1, 1, 1, 1), (1, 4, 2, 5), (0, 3, 4, 4)])
    def test_is_the_published_convolution(self, rng, shape, dtype):
        X = rng.uniform(-50, 200, shape).astype(dtype)
        kernel = np.array([[1, 2, 1], [2, 188, 2], [1, 2, 1]]) / 200
        padded = np.pad(X.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
        expected = np.zeros(shape)
        for row in range(shape[2]):
            for column in range(shape[3]):
                window = padded[:, :, row : row + 3, column : column + 3]
                expected[:, :, row, column] = (window * kernel).sum(axis=(2, 3))
        found = blur_image(X)
        assert found.dtype == X.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == "float32" else 1e-13,
                                   atol=1e-4 if dtype == "float32" else 1e-12)  # fmt: skip

    def test_leaves_its_argument_alone(self, rng):
        X = rng.standard_normal((1, 3, 5, 5))
        X.setflags(write=False)
        assert blur_image(X[:, :, ::-1, ::-1]).shape == X.shape

    def test_integers_and_wrong_shapes(self, rng):
        assert blur_image(np.ones((1, 1, 4, 4), np.uint8)).dtype == np.float64
        with pytest.raises(ValueError, match=r"blur_image: X has shape \(4, 4\)"):
            blur_image(np.ones((4, 4)))


class TestSqueezenet:
    def test_published_values(self):
        np.testing.assert_array_equal(SQUEEZENET_MEAN, np.float32([0.485, 0.456, 0.406]))
        np.testing.assert_array_equal(SQUEEZENET_STD, np.float32([0.229, 0.224, 0.225]))

    def test_preprocess(self):
        img = np.array([[[0, 255, 51], [124, 116, 104]]], np.uint8)
        found = preprocess_image(img)
        assert found.dtype == np.float32
        expected = [
            [[-2.117904, 2.428571, -0.915556], [0.005566, -0.004902, 0.008192]],
        ]
        np.testing.assert_allclose(found, expected, atol=2e-6)

    @pytest.mark.parametrize("shape", [(5, 7, 3), (2, 5, 7, 3)])
    def test_round_trip(self, rng, shape):
        img = rng.integers(0, 256, shape, dtype=np.uint8)
        np.testing.assert_array_equal(deprocess_image(preprocess_image(img)), img, strict=True)

    def test_deprocess_clips(self):
        found = deprocess_image(np.array([[[100.0, -100.0, 0.0]]]))
        assert found.tolist() == [[[255, 0, 104]]]

    def test_rescale_uses_the_whole_range(self, rng):
        found = deprocess_image(rng.standard_normal((6, 6, 3)) * 0.01, rescale=True)
        assert found.min() == 0
        assert found.max() == 255
        flat = preprocess_image(np.full((2, 2, 3), 9))
        assert deprocess_image(flat, rescale=True).max() == 0
        assert deprocess_image(np.zeros((0, 4, 3)), rescale=True).shape == (0, 4, 3)

    @pytest.mark.parametrize("shape", [(3, 8, 8), (8, 8), (8, 8, 4), (3,)])
    @pytest.mark.parametrize("function", [preprocess_image, deprocess_image])
    def test_channels_must_be_last(self, function, shape):
        with pytest.raises(ValueError, match=rf"{function.__name__}: img has shape"):
            function(np.zeros(shape))


class TestLoad:
    @pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tiff", "webp", "jpg"])
    def test_formats(self, tmp_path, suffix):
        pixels = smooth_picture(20, 30)
        options = {"webp": {"lossless": True}, "jpg": {"quality": 95}}.get(suffix, {})
        Image.fromarray(pixels).save(tmp_path / f"x.{suffix}", **options)
        found = load_image(tmp_path / f"x.{suffix}")
        assert found.shape == (20, 30, 3)
        assert found.dtype == np.uint8
        assert found.flags.writeable
        tolerance = {"jpg": 12, "gif": 30}.get(suffix, 0)
        assert np.abs(found.astype(int) - pixels).max() <= tolerance

    @pytest.mark.parametrize("mode", ["L", "1", "LA", "RGBA", "P", "CMYK", "I;16"])
    def test_other_modes_become_rgb(self, tmp_path, mode):
        Image.new(mode, (6, 4)).save(tmp_path / "x.tiff")
        assert load_image(str(tmp_path / "x.tiff")).shape == (4, 6, 3)

    @pytest.mark.parametrize(
        ("shape", "size", "expected"),
        [
            ((20, 30), 10, (10, 15)),
            ((30, 20), 10, (15, 10)),
            ((20, 30), 40, (40, 60)),
            ((33, 50), 10, (10, 15)),
            ((7, 7), 1, (1, 1)),
        ],
    )
    def test_shortest_side(self, tmp_path, shape, size, expected):
        Image.fromarray(smooth_picture(*shape)).save(tmp_path / "x.png")
        found = load_image(tmp_path / "x.png", size=size)
        assert found.shape == (*expected, 3)
        if size > 5:  # neither transposed nor flipped
            assert found[-1, 0, 0] > found[0, 0, 0] + 150
            assert found[0, -1, 1] > found[0, 0, 1] + 150
            assert np.abs(found[:, :, 2].astype(int) - 60).max() <= 1

    def test_camera_orientation(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # turn a quarter clockwise
        Image.fromarray(smooth_picture(8, 20)).save(tmp_path / "x.png", exif=exif)
        found = load_image(tmp_path / "x.png")
        np.testing.assert_array_equal(found, np.rot90(smooth_picture(8, 20), -1))

    def test_missing_file_and_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="gone"):
            load_image(tmp_path / "gone.png")
        with pytest.raises(IsADirectoryError):
            load_image(tmp_path)

    def test_addresses_are_not_opened(self):
        with pytest.raises(
            ValueError, match=r"load_image: https://x/y\.jpg is an address; download"
        ):
            load_image("https://x/y.jpg")

    @pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError),
                                                 (2.5, TypeError)])  # fmt: skip
    def test_bad_size(self, tmp_path, size, error):
        Image.fromarray(smooth_picture(5, 5)).save(tmp_path / "x.png")
        with pytest.raises(error, match="load_image: size is"):
            load_image(tmp_path / "x.png", size=size)

    def test_no_picture(self, tmp_path):
        (tmp_path / "x.png").write_text("no picture")
        with pytest.raises(ValueError, match=r"load_image: .*x\.png is not a whole picture"):
            load_image(tmp_path / "x.png")

    @pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff"])
    def test_broken_pictures_load_or_are_refused(self, tmp_path, suffix, rng):
        path = tmp_path / f"x.{suffix}"
        Image.fromarray(smooth_picture(24, 24)).save(path)
        data = path.read_bytes()
        for length in np.linspace(0, 0.6 * len(data), 20).astype(int):
            path.write_bytes(data[:length])
            with pytest.raises(ValueError, match=rf"x\.{suffix} is not a whole picture"):
                load_image(path)
        for position in rng.integers(0, len(data), 60):
            flipped = bytearray(data)
            flipped[position] ^= 1 << rng.integers(8)
            path.write_bytes(flipped)
            try:
                assert load_image(path).ndim == 3
            except ValueError as error:
                assert path.name in str(error)  # noqa: PT017 - most flips still load

    @pytest.mark.parametrize("factor", [0.7, 0.4])
    def test_pillows_limit_is_our_error(self, tmp_path, monkeypatch, factor):
        Image.new("1", (200, 100)).save(tmp_path / "x.png")
        # Pillow warns above its limit and refuses above twice that.
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(factor * 20_000))
        if factor == 0.7:
            assert load_image(tmp_path / "x.png").shape == (100, 200, 3)
        else:
            with pytest.raises(ValueError, match=r"x\.png is not a whole picture of at most"):
                load_image(tmp_path / "x.png")

    def test_the_limit_can_be_moved(self, tmp_path):
        Image.new("1", (200, 100)).save(tmp_path / "x.png")
        with pytest.raises(
            ValueError, match=r"x\.png .* 19999 pixels \(200 x 100 pixels; max_pixels lets more in"
        ):
            load_image(tmp_path / "x.png", max_pixels=19_999)
        assert load_image(tmp_path / "x.png", max_pixels=20_000).shape == (100, 200, 3)
        with pytest.raises(ValueError, match="load_image: max_pixels is 0"):
            load_image(tmp_path / "x.png", max_pixels=0)

    def test_result_may_not_be_too_large_either(self, tmp_path):
        Image.new("1", (30_000, 1)).save(tmp_path / "x.png")
        with pytest.raises(ValueError, match=r"x\.png with size 224 would have 6720000 x 224"):
            load_image(tmp_path / "x.png", size=224)
