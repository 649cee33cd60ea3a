"""A real nginx in front of the web page."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.serving.processes import Service, free_ports, wait_for
from tests.tools import tool

KEEP_HOST = "proxy_set_header Host $http_host;"
PASS_WEBSOCKETS = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
CONFIGURATION = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location = /proxy-is-up {{ return 200; }}
    location / {{ proxy_pass {upstream}; {directives} }}
    {more}
  }}
}}
"""


@dataclass
class Proxy:
    """A proxy at `url`, which can be stopped and started again with other directives."""

    url: str
    upstream: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self, directives: str = f"{KEEP_HOST} {PASS_WEBSOCKETS} client_max_body_size 12m;", more: str = "") -> None:
        """Start nginx.

        Args:
            directives: Of the location with the page.
            more: Further locations.
        """
        configuration, output = self.folder / "nginx.conf", self.folder / "output.txt"
        port = self.url.rpartition(":")[2]
        values = {"folder": self.folder, "port": port, "upstream": self.upstream, "directives": directives, "more": more}
        configuration.write_text(CONFIGURATION.format(**values))
        with output.open("wb") as file:
            command = [tool("nginx"), "-e", "stderr", "-p", str(self.folder), "-c", str(configuration)]
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        wait_for(f"{self.url}/proxy-is-up", Service(self.process, output))

    def stop(self) -> None:
        """Stop nginx and cut its connections."""
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=20)
            self.process = None


@contextmanager
def proxy(upstream: str, folder: Path) -> Iterator[Proxy]:
    """Give a proxy in front of the URL `upstream`, not yet started."""
    given = Proxy(f"http://localhost:{free_ports(1)[0]}", upstream, folder)
    try:
        yield given
    finally:
        given.stop()
