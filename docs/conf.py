"""Sphinx: `make docs`, where warnings are errors."""

from importlib.metadata import version as installed

project = "zkcoord"
author = "the zkcoord founders"
copyright = "2026, the zkcoord founders"
release = installed("zkcoord")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary"]
html_theme = "furo"
html_title = f"zkcoord {release}"
nitpicky = False

# Members as they stand in the file: take a slot, give it back, look who has one.
autodoc_member_order = "bysource"
# Salt puts these into a module when it loads it.
autodoc_default_options = {"members": True}
