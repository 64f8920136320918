"""The bytes of one encoded image -> the image, or an error that says which and why."""

import io

from PIL import Image

from kdbench.errors import DataError

CHANNELS = {"1": 1, "L": 1, "LA": 1, "P": 3, "RGB": 3, "RGBA": 3}
"""Channels that an image of each of Pillow's modes has here; transparency is dropped.

Other modes (16-bit, CMYK, ...) are refused.
"""


def decoded(data: bytes | None, what: str) -> Image.Image:
    """The image in `data`, its pixels read.

    Raises:
        DataError: There is none, it is broken, or it is not 8-bit gray or color.
    """
    if not data:
        raise DataError(
            f"{what} has no image",
            "its bytes are empty",
            "embed the image files in the Parquet files",
        )
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{what} cannot be decoded", str(error), "replace that image") from error
    if image.mode not in CHANNELS:
        expected = f"expected one of {', '.join(CHANNELS)}"
        raise DataError(
            f"{what} has Pillow mode {image.mode}", expected, "convert it to 8-bit RGB or gray"
        )
    return image
