"""The errors for invalid user input and for invalid image files."""


class InputError(ValueError):
    """Invalid user input. The message states where it is, the value received and the value expected."""


class ImageError(ValueError):
    """An invalid image file.

    Attributes:
        code: `not_an_image`, `unsupported_type`, `corrupt`, `too_large`, `invisible`, `several_images` or `bad_request`.
        images: Number of images in the file, if it is the reason.
    """

    def __init__(self, code: str, message: str, images: int = 1):
        super().__init__(message)
        self.code = code
        self.images = images

    def __reduce__(self) -> tuple[type, tuple[str, str, int]]:
        """Pickle all arguments: by default an exception is pickled with its message alone."""
        return type(self), (self.code, str(self), self.images)
