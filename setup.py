"""What pyproject.toml cannot say: the example spaces of search_spaces/ go into the package, as blendsearch/examples."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithExamples(build_py):
    """Puts the example spaces beside the modules; in a clone they are read from where they are."""

    def run(self) -> None:
        """Copy the modules, then the examples."""
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib) / "blendsearch" / "examples"
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(Path("search_spaces").glob("*.yaml")):
            self.copy_file(str(file), str(folder / file.name))


setup(cmdclass={"build_py": BuildWithExamples})
