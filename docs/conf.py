"""How the pages of this folder become a site: `make docs`. Nothing asks the network."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

# For the kernels that run the tutorials: threads that wait sleep, and nobody is asked for a model.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ["HF_HUB_OFFLINE"] = "1"

from synkern import __version__

project = "synkern"
author = "The synkern developers"
copyright = author  # the name that Sphinx reads
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "dead_links",
    "faces",
    "lattice_figure",
    "messages",
    "pages",
    "self_contained",
]
exclude_patterns = ["_build", "_extensions"]
nitpicky = True

# ---- Markdown, and the pages that are run ------------------------------------------------------
myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = 900  # of a cell: for what hangs; on a busy machine seconds become minutes
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_merge_streams = True

# ---- Docstrings --------------------------------------------------------------------------------
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 88

# ---- HTML --------------------------------------------------------------------------------------
html_theme = "furo"
html_title = f"synkern {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5f8b", "color-brand-content": "#1f5f8b"},
    "dark_css_variables": {"color-brand-primary": "#7ab8e0", "color-brand-content": "#7ab8e0"},
}
