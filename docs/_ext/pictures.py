"""The pictures of the site: the networks on the pages of the formats, and those of the chapters."""

from pathlib import Path

from sphinx_gallery.scrapers import figure_rst

import tlinear
from tlinear import plot
from tlinear.formats import FORMATS


def figures(block, block_vars, gallery_conf):
    """Save what a block of a chapter has left as ``figure``, and give back the reStructuredText that shows it."""
    figure = block_vars["example_globals"].pop("figure", None)
    if figure is None:
        return ""
    path = Path(next(block_vars["image_path_iterator"])).with_suffix(".svg")
    plot.save(figure, path)
    return figure_rst([str(path)], gallery_conf["src_dir"])


def draw_formats(app):
    """The network of a layer in every format, beside its page."""
    for name in FORMATS:
        rank = "same" if name == "dense" else 3
        layer = tlinear.FactorizedLinear((4, 4, 4), (2, 5, 3), factorization=name, rank=rank, rng=0)
        plot.save(plot.draw_network(layer), Path(app.srcdir) / "specification" / f"{name}.svg")


def setup(app):
    """Before anything is read."""
    app.connect("builder-inited", draw_formats)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
