"""How the documentation site is built: ``sphinx-build -W docs docs/_build/html`` with the extra ``l0quad[docs]``."""

import re
from typing import Any

import matplotlib
from cycler import cycler

import l0quad

project = "l0quad"
author = "The l0quad developers"
copyright = author
release = version = l0quad.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinx_llms_txt",
]
exclude_patterns = ["_build", "gallery", "examples", "**/sg_execution_times.*", "**/*.py"]
suppress_warnings = [
    "config.cache",  # sphinx-gallery's order of the examples is a function
]
default_role = "py:obj"

# Markdown: GitHub's and this site's reading of the same pages.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# API reference: a page for every public name, made from the lists in api/*.rst.
autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
# What scikit-learn adds to every estimator is described there.
autodoc_default_options = {"exclude-members": "set_fit_request, set_score_request, set_predict_request"}
templates_path = ["_templates"]


def style(_: dict[str, Any], __: str) -> None:
    """Set how the pictures of the gallery look: without a ground, so that one serves the light and the dark theme.

    The colours are Okabe and Ito's, which stay apart for everyone; the grey of the text reads on white and on black.
    """
    matplotlib.rcdefaults()
    grey = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "legend.edgecolor"), "#777777"
    )
    bare = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor"), "none")
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
    matplotlib.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=colours),
            **grey,
            **bare,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "figure.dpi": 100,
        }
    )


sphinx_gallery_conf = {
    "examples_dirs": ["gallery"],
    "gallery_dirs": ["auto_gallery"],
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"__init__|conftest",
    "within_subsection_order": "FileNameSortKey",
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1,
    "abort_on_example_error": True,
    "matplotlib_animations": False,
    "reset_modules": (style,),
    "image_scrapers": ("matplotlib",),
    "capture_repr": (),
}

html_theme = "pydata_sphinx_theme"
html_title = "l0quad"
html_static_path = ["_static"]
html_css_files = ["l0quad.css"]
html_show_sourcelink = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "github_url": "https://github.com/l0quad/l0quad",
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars: dict[str, list[str]] = {"install": [], "changelog": []}

llms_txt_title = "l0quad"
llms_txt_summary = "Least squares with at most k nonzeros, and a proven lower bound in every result."
llms_txt_full_file = True


def escape_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Let ``|S|`` in a docstring be a number of elements, not a substitution of reStructuredText."""
    for number, line in enumerate(lines):
        parts = re.split(r"(``.*?``)", line)
        lines[number] = "".join(part if part.startswith("``") else part.replace("|", r"\|") for part in parts)


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", escape_bars)
