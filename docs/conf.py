"""Sphinx: `make docs`, where warnings are errors."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "zkcoord"
author = "the zkcoord founders"
copyright = "2026, the zkcoord founders"
release = installed("zkcoord")

# `rust_header` is in docs/_extensions: the headers of the recipes are a part of the manual.
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "rust_header"]
# Sections of the docstrings of `zkcoord` that are lists of parameters as well.
napoleon_custom_sections = [(name, "params_style") for name in ("Connection", "Ending a call", "Asking", "Trust")]
napoleon_numpy_docstring = False
html_theme = "furo"
html_title = f"zkcoord {release}"
nitpicky = False

# Members as they stand in the file: take a slot, give it back, look who has one.
autodoc_member_order = "bysource"
# Salt puts these into a module when it loads it.
autodoc_default_options = {"members": True}
autodoc_typehints = "none"
