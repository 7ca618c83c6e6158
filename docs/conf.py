"""The documentation site. Its source is the whole repository, so that links mean what they mean there."""

from __future__ import annotations

from vaebm_toolkit import __version__

project = "vaebm_toolkit"
version = release = __version__
copyright = ""

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/metrics/*.md",
    "docs/reference/*.md",
    "plugins/*/README.md",
    "examples/*/README.md",
    "vaebm_toolkit/builtin/data/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
exclude_patterns = [".*", "**/.*", "runs", "docs/_build"]

myst_heading_anchors = 4
smartquotes = False  # a quoted "none" is to be typed as it stands
highlight_language = "text"

html_theme = "furo"
html_title = f"vaebm_toolkit {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "redirect.html"}
templates_path = ["_templates"]
html_use_index = False
html_show_copyright = html_show_sphinx = html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f4e8d", "color-brand-content": "#1f4e8d"},
    "dark_css_variables": {"color-brand-primary": "#8fb8f0", "color-brand-content": "#8fb8f0"},
}
