"""``tlinear plot``: a picture of a layer or of a weight, saved from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from tlinear import plot
from tlinear.arrays import Array
from tlinear.contraction.options import Implementation, Memory, Mode
from tlinear.contraction.plan import Plan
from tlinear.decomposition import decompose
from tlinear.errors import OptionError, ShapeError
from tlinear.formats import FORMATS
from tlinear.layer import FactorizedLinear
from tlinear.parsing import integers, number_ranks, rank, words
from tlinear.shapes import tensorize_shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PURPOSE", "add_arguments"]

PURPOSE = "Save a picture of a layer's network, of its plan, of a plan's memory, or of what a weight keeps."


_RANK = "a budget such as 0.1, a rank such as 4, or one rank for each bond such as 1,4,4,1"
_RANKS = "budgets or ranks that every format can have, such as 0.05,0.1 or 4,8"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """State what the command takes."""
    pictures = parser.add_subparsers(required=True, metavar="picture")
    network = pictures.add_parser("network", help="the operands of a layer and what joins them")
    _add_layer(network)
    network.set_defaults(execute=lambda options: _save(options, plot.draw_network(_layer(options))))
    for name, purpose, draw in (
        ("plan", "the steps of a call, with their FLOPs and the sizes of their results", plot.draw_plan),
        ("memory", "the bytes alive at each moment of a call", plot.draw_memory),
    ):
        parser = pictures.add_parser(name, help=purpose)
        _add_layer(parser)
        parser.add_argument("--batch", type=int, default=1, metavar="N", help="the number of samples (%(default)s)")
        parser.add_argument("--mode", choices=get_args(Mode), default="forward", help="what is counted (%(default)s)")
        parser.add_argument("--implementation", choices=get_args(Implementation), default="factorized")
        parser.add_argument("--memory", choices=get_args(Memory), default="auto", help="what training keeps")
        parser.set_defaults(execute=lambda options, draw=draw: _save(options, draw(_plan(options))))
    curves = pictures.add_parser("curves", help="the error of a weight over the parameters, in every format")
    _add_weight(curves)
    curves.add_argument("--formats", type=words, default=("cp", "tucker", "tt", "blocktt"), help="such as cp,tt")
    curves.add_argument("--ranks", type=number_ranks, default=(0.02, 0.05, 0.1, 0.2, 0.4), help=_RANKS)
    curves.set_defaults(execute=lambda options: _save(options, _curves(options)))
    spectra = pictures.add_parser("spectra", help="the singular values that the ranks of a weight cut off")
    _add_weight(spectra)
    spectra.add_argument("--format", choices=list(FORMATS), default="tt", help="(%(default)s)")
    spectra.add_argument("--rank", type=rank, default=0.1, help=_RANK)
    spectra.set_defaults(execute=lambda options: _save(options, _spectra(options)))


def _add_layer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="where to save it: a name that ends in .svg, .png or .pdf")
    parser.add_argument("--in", dest="in_shape", type=integers, required=True, metavar="4,4", help="the input modes")
    parser.add_argument("--out", dest="out_shape", type=integers, required=True, metavar="2,5", help="the output modes")
    parser.add_argument("--format", choices=list(FORMATS), default="tt", help="(%(default)s)")
    parser.add_argument("--rank", type=rank, default=1.0, help=_RANK)


def _add_weight(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="where to save it: a name that ends in .svg, .png or .pdf")
    parser.add_argument(
        "--weight", type=Path, required=True, metavar="FILE.npy", help="an array (out_features, in_features)"
    )
    parser.add_argument(
        "--in", dest="in_shape", type=integers, metavar="8,8", help="the input modes; balanced unless given"
    )
    parser.add_argument("--out", dest="out_shape", type=integers, metavar="8,8", help="the output modes")


def _save(options: argparse.Namespace, figure: Figure) -> None:
    plot.save(figure, options.path)
    print(f"the plot is saved as {options.path}")


def _layer(options: argparse.Namespace) -> FactorizedLinear:
    plot.check_path(options.path)
    return FactorizedLinear(options.in_shape, options.out_shape, factorization=options.format, rank=options.rank, rng=0)


def _plan(options: argparse.Namespace) -> Plan:
    layer = _layer(options).with_options(implementation=options.implementation, memory=options.memory)
    return layer.plan(options.batch, options.mode)


def _weight(options: argparse.Namespace) -> tuple[Array, tuple[int, ...], tuple[int, ...]]:
    plot.check_path(options.path)
    try:
        weight = np.load(options.weight, allow_pickle=False)
    except ValueError as error:
        raise OptionError(f"{options.weight} is no array that numpy.load reads: {error}") from error
    if not isinstance(weight, np.ndarray) or weight.ndim != 2:
        raise ShapeError(
            f"{options.weight} must hold one array of shape (out_features, in_features), as numpy.save writes."
        )
    n_out, n_in = weight.shape
    return weight, options.in_shape or tensorize_shape(n_in, 2), options.out_shape or tensorize_shape(n_out, 2)


def _curves(options: argparse.Namespace) -> Figure:
    weight, in_shape, out_shape = _weight(options)
    shapes = [(in_shape, out_shape)]
    curves = plot.error_curves(weight, factorizations=options.formats, ranks=options.ranks, shapes=shapes)
    if not options.formats or not any(curve.decompositions for curve in curves):
        raise OptionError(
            f"--formats {','.join(options.formats)!r} and --ranks {','.join(map(str, options.ranks))} leave nothing to "
            "draw. Name a format, and ranks or budgets that it can have."
        )
    return plot.draw_error_curves(curves)


def _spectra(options: argparse.Namespace) -> Figure:
    weight, in_shape, out_shape = _weight(options)
    tensor = plot.as_tensor(weight, in_shape, out_shape)
    result = decompose(tensor, options.format, options.rank, n_in=len(in_shape))
    return plot.draw_spectra(plot.bond_spectra(tensor, result.tensor))
