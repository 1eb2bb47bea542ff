"""For MkDocs: every notebook of docs/notebooks/ becomes a page, its code as blocks and the notebook to download."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each notebook; called by MkDocs."""
    for file in [one for one in files if one.src_uri.endswith(".ipynb")]:
        name = Path(file.src_uri).name
        text = as_markdown(json.loads(Path(file.abs_src_path).read_text()), name)
        files.append(File.generated(config, file.src_uri.removesuffix(".ipynb") + ".md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links to notebooks, which are read where no site is built, to their pages; called by MkDocs."""
    return re.sub(r"(\]\((?:[\w./-]+/)?[\w-]+)\.ipynb\)(?!\{: download\})", r"\1.md)", markdown)


def as_markdown(notebook: dict[str, Any], name: str) -> str:
    """Return the cells of a notebook as a page; outputs are left out."""
    parts = []
    for number, cell in enumerate(notebook["cells"]):
        text = "".join(cell["source"]).strip()
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        if number == 0:
            parts.append(f"[Download the notebook]({name}){{: download}}")
    return "\n\n".join(parts) + "\n"
