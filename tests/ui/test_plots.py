import subprocess
import sys

from tests.conftest import ROOT

TWO_SESSIONS = """
import sys, threading, time
from ui.plots import history_plot

threading.Thread(target=__import__, args=("pandas",)).start()
while "pandas" not in sys.modules:
    time.sleep(0.001)
history_plot({"loss": [1.0]}, "loss", "loss")
"""


def test_plot_waits_while_another_session_imports_pandas() -> None:
    ended = subprocess.run([sys.executable, "-c", TWO_SESSIONS], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
