"""Check every link within the built site, without a network: the file is there, and so is the place in it."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The links of a page, and the places that others can lead to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.places.update(given[name] for name in ("id", "name") if given.get(name))
        self.links += [given[name] for name in ("href", "src") if given.get(name)]


def broken(folder):
    """Every link that leads nowhere, as a pair of the page and the link."""
    pages = {path.resolve(): _Page(path) for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            known = pages[target].places if target in pages else None
            if "_modules" in path.parts:  # sphinx.ext.viewcode leads back to names that are documented under others
                place = ""
            if not target.exists() or (place and known is not None and place not in known):
                yield path.relative_to(folder.resolve()), link


def check(app, exception):
    """A warning for each, which ``-W`` makes an error."""
    from sphinx.util import logging

    logger = logging.getLogger(__name__)
    if exception is None and app.builder.format == "html":
        for page, link in broken(Path(app.outdir)):
            logger.warning("%s links to %s, which is not there", page, link)


def setup(app):
    """When all is written."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
