"""Pictures of networks, plans, errors, spectra and memory, drawn by matplotlib.

Each ``draw_`` function returns a :class:`matplotlib.figure.Figure`, which :func:`save` writes as SVG, PNG or PDF.
What is drawn can be had as numbers too: :func:`error_curves`, :func:`bond_spectra`, :func:`memory_timeline`.
matplotlib is imported when something is drawn: ``pip install 'tlinear[plot]'``.
"""

from tlinear.plot.canvas import check_path, save
from tlinear.plot.curves import Curve, as_tensor, draw_error_curves, error_curves
from tlinear.plot.diagram import Diagram, diagram_of
from tlinear.plot.memory import Alive, draw_memory, memory_timeline
from tlinear.plot.network import draw_network
from tlinear.plot.plan import draw_plan, places_of
from tlinear.plot.spectra import Spectrum, bond_spectra, draw_spectra

__all__ = [
    "Alive",
    "Curve",
    "Diagram",
    "Spectrum",
    "as_tensor",
    "bond_spectra",
    "check_path",
    "diagram_of",
    "draw_error_curves",
    "draw_memory",
    "draw_network",
    "draw_plan",
    "draw_spectra",
    "error_curves",
    "memory_timeline",
    "places_of",
    "save",
]
