"""The client of the PACS: TLS, and responses that are too large, too slow or no DICOMweb."""

import subprocess
from datetime import date
from pathlib import Path

import pytest

from serving.dicomweb import pacs
from serving.dicomweb.errors import StepError
from serving.dicomweb.http import HttpClient
from serving.dicomweb.pacs import Pacs
from serving.dicomweb.settings import Settings
from tests.serving.dicomweb.fake_pacs import serving_fake_pacs
from tests.serving.dicomweb.series_files import series


def test_certificates_are_checked(tmp_path: Path) -> None:
    certificate = tmp_path / "pacs.pem"
    names = ["-subj", "/CN=pacs", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "-", "-out", "-", *names]
    certificate.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    with serving_fake_pacs(certificate) as fake:
        fake.add(*series(1))
        with pytest.raises(StepError, match="no connection") as raised:
            list(Pacs(Settings(dicomweb_url=fake.url)).mr_series())
        assert (raised.value.code, raised.value.is_permanent) == ("unreachable", False)
        (page,) = Pacs(Settings(dicomweb_url=fake.url, dicomweb_ca=str(certificate))).mr_series()
        assert [found.instances for found in page] == [1]


def test_all_pages_of_a_query_are_read() -> None:
    with serving_fake_pacs() as fake:
        uids = {fake.add(*series(count)) for count in (1, 2, 3, 4, 5)}
        client = Pacs(Settings(dicomweb_url=fake.url))
        pages = list(client.mr_series())
        assert [len(page) for page in pages] == [2, 2, 1]
        assert {found.series_uid for page in pages for found in page} == uids
        assert list(client.mr_series(since=date(2004, 1, 2))) == []
        study, uid, count = pages[-1][0]
        assert len(client.instances(study, uid)) == count


def test_a_file_that_is_too_large_or_too_slow_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_fake_pacs() as fake:
        fake.add(*series(1))
        (stored,) = fake.instances.values()
        client = Pacs(Settings(dicomweb_url=fake.url))
        assert client.fetch(*stored[:3]) == stored.file
        monkeypatch.setattr(pacs, "MAX_INSTANCE_BYTES", 1000)
        with pytest.raises(StepError, match="more than 1000 bytes") as raised:
            client.fetch(*stored[:3])
        assert (raised.value.code, raised.value.is_permanent) == ("too_large", True)
        with pytest.raises(StepError, match="too slow") as raised:
            HttpClient(fake.url).request("query", "GET", "/series?Modality=MR&offset=0", seconds=0)
        assert (raised.value.code, raised.value.is_permanent) == ("timeout", False)
