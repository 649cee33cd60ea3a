"""URIs given by a user: which are local paths, and which parts may be shown."""

import re


def is_local_path(uri: str) -> bool:
    """Return whether a URI is a path on this machine, not `scheme://...`."""
    return "://" not in uri


def redact_credentials(text: str) -> str:
    """Return a URI, or a text with URIs in it, without user, password and query. A query may contain a signature."""
    without_user = re.sub(r"(\w+://)[^\s/]*@", r"\1", text)  # a password may contain @
    return re.sub(r"(\w+://(?!\?)[^\s?]*)\?\S*", r"\1", without_user)
