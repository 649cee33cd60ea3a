from components.deploy.rollout import serving_uri


def test_serving_uri_is_the_registrys_or_below_the_serving_store() -> None:
    version = {"name": "brain-tumor", "version": 3, "uri": "s3://models/brain-tumor/3"}
    assert serving_uri(version, "") == "s3://models/brain-tumor/3"
    assert serving_uri(version, "pvc://claim/models/") == "pvc://claim/models/brain-tumor/3"
