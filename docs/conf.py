"""Sphinx configuration: Markdown pages, warnings are errors."""

project = "Isthmus"
author = "The Isthmus developers"
extensions = ["myst_parser"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "Isthmus"
exclude_patterns = ["_build", "requirements.txt"]
suppress_warnings = ["myst.header"]
