"""A module whose calls crash, hang or exhaust memory."""

import os
import sys
import time


def answer(request: str | int) -> object:
    """Do what the request says; a number is a number of bytes to take."""
    match request:
        case int():
            try:
                return len(bytearray(request))
            except MemoryError:
                return "MemoryError"
        case "abort":
            os.abort()
        case "exit":
            os._exit(3)
        case "hang":
            time.sleep(60)
        case "nap":
            time.sleep(0.3)
        case "print":
            os.write(2, b"Zyxmann^Quirina")
            print("Zyxmann^Quirina", file=sys.stderr, flush=True)
            return "printed"
    return os.getpid()
