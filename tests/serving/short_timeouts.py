"""`python -m serving` or its stand-in predictor, MODULE, with other timeouts, and another limit on open files."""

import os
import resource
import runpy

from serving import settings

if __name__ == "__main__":
    settings.CLIENT_TIMEOUT_SECONDS = int(os.environ.get("CLIENT_TIMEOUT_SECONDS", settings.CLIENT_TIMEOUT_SECONDS))
    settings.IDLE_SECONDS = int(os.environ.get("IDLE_SECONDS", settings.IDLE_SECONDS))
    settings.DRAIN_SECONDS = int(os.environ.get("DRAIN_SECONDS", settings.DRAIN_SECONDS))
    if "OPEN_FILES" in os.environ:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(os.environ["OPEN_FILES"]),) * 2)
    runpy.run_module(os.environ.get("MODULE", "serving"), run_name="__main__")
