"""Keys for the tests, made anew in each run."""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


def key_pair(curve: ec.EllipticCurve | None = None) -> tuple[str, str]:
    """Return a private and its public key, as PEM text."""
    private = ec.generate_private_key(curve or ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode(), private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
