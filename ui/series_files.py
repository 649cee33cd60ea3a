"""The files of a series that a user chose: many, or one zip of them. Each is in memory once."""

import io
import zipfile
import zlib
from collections.abc import Sequence
from functools import cached_property

from brain_tumor.dicom import is_slice_path
from ui.batch import MAX_FILE_BYTES, Slice, distinct_names
from ui.errors import RequestError

ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # of one with members, and of an empty one


class SeriesFiles:
    """The files, as the service numbers them, from 0: those of the form, or the members of the zip in the order of their bytes.

    What a folder of DICOM files has in addition is left out: a DICOMDIR, hidden files, and those of macOS. A zip is opened only
    after the service, with its limits, has opened it: its answer has the number of a file.

    Attributes:
        parts: What is sent: the files, or the zip.
    """

    def __init__(self, uploads: Sequence[Slice]):
        self._uploads = [each for each in uploads if each.error or is_slice_path(each.name)]
        self.parts = [each.data for each in self._uploads]
        self._is_zip = len(self._uploads) == 1 and _is_zip(self._uploads[0])

    def check(self, max_bytes: int) -> None:
        """Check the files for what the service would reject anyway.

        Args:
            max_bytes: Maximum size of all files.

        Raises:
            RequestError: A file did not arrive or is too large, all are too large together, or one of several is a zip.
        """
        for number, each in enumerate(self._uploads):
            if each.error:
                raise RequestError(each.error, file=number)
            if not self._is_zip and _is_zip(each):
                raise RequestError("series_mixed", file=number)
            if not self._is_zip and len(each.data) > MAX_FILE_BYTES:
                raise RequestError("too_large", file=number)
        if sum(map(len, self.parts)) > max_bytes:
            raise RequestError("series_too_large")

    def name(self, number: int) -> str:
        """Return a file's name without its folders, numbered if several have it. It is shown to the user, and never sent."""
        return self._names[number] if number < len(self._names) else ""

    def read(self, number: int) -> bytes:
        """Return a file.

        Raises:
            RequestError: There is no such file, or it cannot be inflated.
        """
        try:
            if not self._is_zip:
                return self.parts[number]
            with self._zip() as archive, archive.open(_members(archive)[number]) as file:
                return file.read(MAX_FILE_BYTES)
        except IndexError as error:
            raise RequestError("wrong_shape") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise RequestError("corrupt", file=number) from error

    @cached_property
    def _names(self) -> list[str]:
        files = self._uploads
        if self._is_zip:
            with self._zip() as archive:
                names = [member.filename.replace("\\", "/").rpartition("/")[2] for member in _members(archive)]
            files = [Slice(str(number), name, b"") for number, name in enumerate(names)]
        return list(distinct_names(files).values())

    def _zip(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(io.BytesIO(self.parts[0]))


def _is_zip(file: Slice) -> bool:
    return file.data.startswith(ZIP_STARTS)


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = [member for member in archive.infolist() if is_slice_path(member.filename)]
    return sorted(members, key=lambda member: member.header_offset)
