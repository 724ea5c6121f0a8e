"""How the site is built: ``python -m sphinx -W --keep-going docs docs/_build``, after ``pip install '.[docs]'``.

Every example in it runs while it is built: the chapters in ``learn`` by sphinx-gallery, the prompts in
pages and docstrings by ``_ext/executed.py``.  A wrong output is an error, and so is a link that leads nowhere.
"""

import os
import sys
from pathlib import Path

# the matrices of the examples are small, and several threads would mostly wait for each other
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "tlinear"
author = "the tlinear developers"
project_copyright = "the tlinear developers"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",
    "executed",
    "pictures",
    "links",
]
root_doc = "index"
exclude_patterns = ["_build", "learn", "ports"]
nitpicky = False
html_theme = "furo"
html_title = "tlinear"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]  # the scraper of pictures is a setting that no cache can hold

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the parameters are described in the docstrings, with shapes
autodoc_default_options = {"show-inheritance": True}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

sphinx_gallery_conf = {
    "examples_dirs": "learn",
    "gallery_dirs": "chapters",
    "filename_pattern": r"/\d_",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("pictures.figures",),
    "capture_repr": ("__repr__",),
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "reset_modules": (),
    "copyfile_regex": "",
    "notebook_extensions": set(),
}
