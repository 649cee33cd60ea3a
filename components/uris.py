"""URIs: which are local paths, how a path becomes one, and which parts may be shown."""

import re
from pathlib import Path
from urllib.parse import quote


def is_local_path(uri: str) -> bool:
    """Return whether a URI is a path on this machine, not `scheme://...`."""
    return "://" not in uri


def signature_uri(uri: str) -> str:
    """Return the URI of the signature of a version, beside it in the model store.

    It has a folder of its own: KServe's S3 client downloads whatever begins with the version's URI, such as `brain-tumor/3.sig`.
    """
    store, _, version = uri.rstrip("/").rpartition("/")
    return f"{store}/signatures/{version}.sig"


def sqlite_uri(database: Path) -> str:
    """Return the URI of a SQLite database. SQLAlchemy takes `?` for a query and unquotes the path, Optuna fills in braces."""
    path = str(database.resolve())
    # Slashes are quoted, too: MLflow makes the parent folders of the path as it stands in the URI.
    return f"sqlite:///{quote(path, safe='') if re.search('[%?{}]', path) else path}"


def redact_credentials(text: str) -> str:
    """Return a URI, or a text with URIs in it, without user, password and query. A query may contain a signature."""
    without_user = re.sub(r"(\w+://)[^\s/?#]*@", r"\1", text)  # a password may contain @
    return re.sub(r"(\w+://(?!\?)[^\s?]*)\?\S*", r"\1", without_user)
