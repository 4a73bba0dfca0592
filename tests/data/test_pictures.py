"""The decoder: what a file says is what comes out, and what it declares is not believed."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from cs231n.data import pictures
from cs231n.image_utils import load_image

RAMP = np.linspace(0, 1, 256).reshape(1, 256).repeat(4, axis=0)  # (4, 256), black to white
EXPECTED = np.rint(255 * RAMP).astype(np.uint8)


def saved(array, form, **options):
    """Return the bytes of an array as a picture of this format."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, form, **options)
    return file.getvalue()


def tiff(array, bits, sample_format, photometric=1, order="<"):
    """Return a TIFF of one strip with exactly these tags."""
    data = array.tobytes()
    height, width = array.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 0),
            (277, 1), (278, height), (279, len(data)), (339, sample_format)]  # fmt: skip
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack(order + "HHII", tag, 4, 1, start if tag == 273 else value)
        for tag, value in tags
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    return head + entries + struct.pack(order + "I", 0) + data


def integers(white, kind):
    """Return the ramp as integers up to white."""
    return np.rint(RAMP * white).astype(kind)


SCALED = {
    "PNG, 16 bits": saved(integers(65535, "u2"), "PNG"),
    "TIFF, 16 bits": tiff(integers(65535, "<u2"), 16, 1),
    "TIFF, 16 bits, big-endian": tiff(integers(65535, ">u2"), 16, 1, order=">"),
    "TIFF, 16 bits, 0 is white": tiff(65535 - integers(65535, "<u2"), 16, 1, photometric=0),
    "PGM, 16 bits": b"P5 256 4 65535\n" + integers(65535, ">u2").tobytes(),
    "PGM, 12 bits": b"P5 256 4 4095\n" + integers(4095, ">u2").tobytes(),
    "TIFF, floats": tiff(RAMP.astype("<f4"), 32, 3),
    "TIFF, floats, big-endian": tiff(RAMP.astype(">f4"), 32, 3, order=">"),
    "TIFF, floats, 0 is white": tiff((1 - RAMP).astype("<f4"), 32, 3, photometric=0),
    "PFM": b"Pf\n256 4\n-1.0\n" + RAMP.astype("<f4").tobytes(),
    "PNG, 8 bits": saved(EXPECTED, "PNG"),
}


class TestRange:
    @pytest.mark.parametrize("name", SCALED)
    def test_black_stays_black_and_white_white(self, name, tmp_path):
        (tmp_path / "x").write_bytes(SCALED[name])
        found = load_image(tmp_path / "x")
        assert found.shape == (4, 256, 3)
        worst = np.abs(found.astype(int) - EXPECTED[..., None]).max()
        assert worst <= ("12 bits" in name), name

    def test_twelve_bits_of_a_tiff(self, tmp_path):
        # Two pixels in three bytes: 0x000, 0xFFF, 0x800, 0x7FF.
        data = np.frombuffer(bytes.fromhex("000FFF8007FF"), np.uint8).reshape(1, 6)
        whole = tiff(data, 12, 1).replace(struct.pack("<HHII", 256, 4, 1, 6),
                                          struct.pack("<HHII", 256, 4, 1, 4))  # fmt: skip
        (tmp_path / "x").write_bytes(whole)
        assert load_image(tmp_path / "x")[0, :, 0].tolist() == [0, 255, 128, 127]

    @pytest.mark.parametrize(
        ("what", "content"),
        [
            ("signed or 32-bit integers", tiff(integers(2**31 - 1, "<u4"), 32, 1)),
            ("signed or 32-bit integers", tiff(integers(70_000, "<i4"), 32, 2)),
            ("signed or 32-bit integers", tiff(integers(32_767, "<i2"), 16, 2)),
            ("floats from 0 to 255", tiff((255 * RAMP).astype("<f4"), 32, 3)),
            ("floats from -0.5 to 0.5", tiff((RAMP - 0.5).astype("<f4"), 32, 3)),
            ("floats from nan to nan", tiff(np.full((2, 2), np.nan, "<f4"), 32, 3)),
            ("floats from 0 to inf", tiff(np.array([[0, np.inf]], "<f4"), 32, 3)),
        ],
    )
    def test_numbers_of_unknown_range_are_refused_by_name(self, what, content, tmp_path):
        (tmp_path / "x.tiff").write_bytes(content)
        with pytest.raises(ValueError, match=rf"^load_image: .*x\.tiff holds {what}.*; expected"):
            load_image(tmp_path / "x.tiff")


class TestModes:
    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
    def test_what_is_transparent_shows_white(self, mode, tmp_path):
        picture = Image.new("RGBA", (8, 4), (0, 0, 0, 0))  # hidden black
        picture.paste((0, 0, 0, 255), (0, 0, 4, 4))
        picture.convert(mode).save(tmp_path / "x.png")
        found = load_image(tmp_path / "x.png")
        assert found[:, :4].max() == 0
        assert found[:, 4:].min() == 255

    def test_half_transparent_pixels_are_blended(self, tmp_path):
        Image.new("RGBA", (2, 2), (200, 100, 0, 128)).save(tmp_path / "x.png")
        with pictures.quiet():
            picture = pictures.open_picture("f", tmp_path / "x.png", background=(0, 0, 100))
        np.testing.assert_allclose(np.asarray(picture)[0, 0], (100, 50, 50), atol=1)

    def test_palette_grey_and_cmyk_keep_their_colours(self, tmp_path):
        for mode, colour in (("P", (255, 0, 0)), ("L", (76, 76, 76)), ("CMYK", (255, 0, 0))):
            Image.new("RGB", (4, 4), (255, 0, 0)).convert(mode).save(tmp_path / "x.tiff")
            np.testing.assert_allclose(load_image(tmp_path / "x.tiff")[1, 1], colour, atol=1)

    @pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
    def test_a_film_gives_its_first_frame(self, form, tmp_path):
        first, second = Image.new("RGB", (5, 5), (255, 0, 0)), Image.new("RGB", (5, 5))
        options = {"lossless": True} if form == "WEBP" else {}
        first.save(tmp_path / "x", form, save_all=True, append_images=[second], **options)
        assert load_image(tmp_path / "x")[2, 2].tolist() == [255, 0, 0]

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
    def test_every_orientation(self, orientation, form, tmp_path):
        down, along = np.mgrid[:16, :32]
        upright = np.stack([down * 12, along * 7, 0 * down], axis=-1).astype(np.uint8)
        # What the camera stores is the upright picture turned the other way.
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright),
            7: upright[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(upright, -1),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}
        Image.fromarray(np.ascontiguousarray(stored)).save(
            tmp_path / "x", form, exif=exif, **options.get(form, {})
        )
        found = load_image(tmp_path / "x").astype(int)
        assert found.shape == upright.shape
        assert np.abs(found - upright).max() <= (8 if form == "JPEG" else 0)


def scan_bomb(scans, side=512):
    """Return a progressive JPEG whose last scan comes again and again."""
    data = saved(np.zeros((side, side), np.uint8), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


class TestBombs:
    def test_a_jpeg_of_many_scans_is_refused_before_decoding(self, tmp_path, monkeypatch):
        (tmp_path / "x.jpg").write_bytes(scan_bomb(2500, side=2000))
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
        with pytest.raises(ValueError, match=r"x\.jpg .*more than 50 scans"):
            load_image(tmp_path / "x.jpg")

    def test_as_many_scans_as_programs_write_load(self, tmp_path):
        (tmp_path / "x.jpg").write_bytes(scan_bomb(20))
        assert load_image(tmp_path / "x.jpg").max() == 0

    def test_scans_are_counted_in_the_picture_itself(self, rng):
        """A thumbnail in a camera's notes, and a film behind the picture, hold the same bytes."""
        rgb = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        plain, progressive = saved(rgb, "JPEG"), saved(rgb, "JPEG", progressive=True)
        assert pictures.count_scans(plain) == 1
        assert pictures.count_scans(progressive) == 10
        notes = b"\xff\xe1" + struct.pack(">H", 4002) + b"\xff\xda" * 2000
        assert pictures.count_scans(plain[:2] + notes + plain[2:] + b"\xff\xda\0\2" * 5000) == 1
        assert pictures.count_scans(scan_bomb(30)) > 30
        assert pictures.count_scans(saved(rgb, "PNG")) == 0
        assert pictures.count_scans(b"") == pictures.count_scans(b"\xff\xd8\xff") == 0

    @pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "GIF", "BMP"])
    def test_more_pixels_than_training_needs_are_refused_before_decoding(
        self, form, tmp_path, monkeypatch
    ):
        options = {"WEBP": {"lossless": True, "method": 0}, "TIFF": {"compression": "tiff_lzw"}}
        Image.new("L", (800, 500)).save(tmp_path / "x", form, **options.get(form, {}))
        monkeypatch.setattr(pictures, "MAX_PIXELS", 399_999)
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
        match = r"x .* 399999 pixels \(800 x 500 pixels"
        with pictures.quiet(), pytest.raises(ValueError, match=match):
            pictures.open_picture("load_image", tmp_path / "x")

    def test_a_large_photograph_is_decoded_at_reduced_size(self, tmp_path, monkeypatch):
        Image.new("RGB", (1600, 1200), (10, 200, 30)).save(tmp_path / "x.jpg")
        with pictures.quiet():
            picture = pictures.open_picture("f", tmp_path / "x.jpg", least=32, max_pixels=200_000)
            assert picture.size == (200, 150)
            with pytest.raises(ValueError, match=r"x\.jpg .*1600 x 1200 pixels"):
                pictures.open_picture("f", tmp_path / "x.jpg", max_pixels=200_000)
            with pytest.raises(ValueError, match=r"x\.jpg .*1600 x 1200 pixels"):
                pictures.open_picture("f", tmp_path / "x.jpg", least=32, max_pixels=100_000)

    def test_a_progressive_one_counts_in_full(self, tmp_path):
        """For its decoder holds all coefficients, whatever size comes out."""
        Image.new("RGB", (1600, 1200)).save(tmp_path / "x.jpg", progressive=True)
        with pictures.quiet():
            with pytest.raises(ValueError, match=r"x\.jpg .*1600 x 1200 pixels"):
                pictures.open_picture("f", tmp_path / "x.jpg", least=32, max_pixels=200_000)
            assert pictures.open_picture("f", tmp_path / "x.jpg", least=32).size == (200, 150)

    @pytest.mark.parametrize(("limit", "places"), [(99, True), (100, False)])
    def test_few_large_pictures_are_decoded_at_once(self, tmp_path, monkeypatch, limit, places):
        Image.new("RGB", (10, 10)).save(tmp_path / "x.png")
        free = (
            pictures._LARGE.acquire
        )  # a place that is taken is not free while a picture is decoded
        taken = []

        def decode(picture, background):
            taken.extend(iter(lambda: free(blocking=False), False))
            return picture

        monkeypatch.setattr(pictures, "LARGE_PIXELS", limit)
        monkeypatch.setattr(pictures, "_rgb", decode)
        with pictures.quiet():
            pictures.open_picture("f", tmp_path / "x.png")
        for _ in taken:
            pictures._LARGE.release()
        assert len(taken) == pictures.AT_ONCE - places
        assert sum(iter(lambda: free(blocking=False), False)) == pictures.AT_ONCE
        pictures._LARGE.release(pictures.AT_ONCE)

    def test_a_small_size_is_as_sharp_from_a_reduced_decoding(self, tmp_path, rng):
        smooth = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth.resize((1600, 1200)).save(tmp_path / "x.jpg", quality=95)
        smooth.resize((1600, 1200)).save(tmp_path / "x.png")
        found, expected = load_image(tmp_path / "x.jpg", 60), load_image(tmp_path / "x.png", 60)
        assert found.shape == expected.shape == (60, 80, 3)
        assert np.abs(found.astype(int) - expected).mean() < 3


class TestFit:
    def picture(self, width, height):
        down, along = np.mgrid[:height, :width]
        return Image.fromarray(np.stack([down, along, 0 * down], axis=-1).astype(np.uint8))

    def test_cover_fills_and_crops_the_middle(self):
        wide = np.asarray(pictures.fit_picture(self.picture(200, 100), 50, 50))
        assert wide.shape == (50, 50, 3)
        np.testing.assert_allclose(wide[25, :, 1], 50.5 + 2 * np.arange(50), atol=2)
        np.testing.assert_allclose(wide[:, 25, 0], 0.5 + 2 * np.arange(50), atol=2)
        tall = np.asarray(pictures.fit_picture(self.picture(100, 200), 50, 25))
        assert tall.shape == (50, 25, 3)
        np.testing.assert_allclose(tall[:, 12, 0], 1.5 + 4 * np.arange(50), atol=3)

    def test_letterbox_shows_everything_between_bars(self):
        found = np.asarray(
            pictures.fit_picture(self.picture(200, 100), 40, 40, "letterbox", (1, 2, 3))
        )
        assert found.shape == (40, 40, 3)
        assert (found[:10] == (1, 2, 3)).all()
        assert (found[30:] == (1, 2, 3)).all()
        np.testing.assert_allclose(found[20, :, 1], 2 + 5 * np.arange(40), atol=3)

    def test_the_right_size_is_left_alone(self, rng):
        pixels = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
        for fit in ("cover", "letterbox"):
            found = pictures.fit_picture(Image.fromarray(pixels), 8, 12, fit)
            np.testing.assert_array_equal(np.asarray(found), pixels)

    @pytest.mark.parametrize("fit", ["cover", "letterbox"])
    @pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 3), (3000, 1), (1, 3000), (31, 33)])
    def test_tiny_and_narrow_pictures(self, size, fit):
        found = pictures.fit_picture(Image.new("RGB", size, (9, 9, 9)), 32, 32, fit)
        assert found.size == (32, 32)
        assert (np.asarray(found) == 9).all(axis=2).any()


def test_a_png_that_declares_more_than_it_holds_costs_nothing(tmp_path):
    def chunk(kind, content):
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    head = chunk(b"IHDR", struct.pack(">2I5B", 9400, 9400, 8, 2, 0, 0, 0))
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b""))
    with pytest.raises(ValueError, match=r"x\.png .*9400 x 9400 pixels; max_pixels lets more in"):
        load_image(tmp_path / "x.png")


def test_the_tags_that_the_tests_write_are_those_of_the_format():
    assert TiffImagePlugin.PHOTOMETRIC_INTERPRETATION == 262
    assert TiffImagePlugin.BITSPERSAMPLE == 258
