"""Space files are read without torch, so that a mistake in one is told at once."""

import subprocess
import sys


def test_the_configuration_is_read_without_torch():
    code = "import blendsearch.config, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
