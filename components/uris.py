"""Addresses as a user gives them: what of one may be shown, and whether it is a folder."""

import re


def is_local_path(address: str) -> bool:
    """Tell whether an address is a path of this machine and not `scheme://...`."""
    return "://" not in address


def redact_credentials(address: str) -> str:
    """Return an address, or a text with addresses in it, without user, password and query: a query may be a signature."""
    shown = re.sub(r"(\w+://)[^\s/@]*@", r"\1", address)
    return re.sub(r"(\w+://(?!\?)[^\s?]*)\?\S*", r"\1", shown)
