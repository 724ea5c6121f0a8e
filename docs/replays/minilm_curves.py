"""All linear layers of a sentence encoder compressed at once: what is left of its weights, and of what it says.

``python docs/replays/minilm_curves.py [--quick | --write | --render]``

It needs trained weights, which ``tests/weights/minilm.py`` says how to install.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from replay import Replay, figure_with, run, say, styles, table
from weights.activations import CALIBRATION, HELD_OUT, embeddings, second_moments, tokens
from weights.minilm import EVERY, array, full_name

from tlinear import Calibration, FactorizedLinear, Linear

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = {"matrix": ("tt", 1), "TT": ("tt", 3), "BlockTT": ("blocktt", 3)}
"""By label: the factorization, and the number of modes on each side."""

RULES = {"proportional": "in proportion", "spectrum": "spectrum", "calibrated": "spectrum, calibrated"}
"""How a budget is shared among the ranks, and what the table calls it."""

BUDGETS = (0.1, 0.25, 0.5)
N_CALIBRATION, N_HELD_OUT = 96, 32
ITERATIONS = 25


def layers() -> dict[str, Linear]:
    """Every linear layer of the encoder, by the short name of its weight."""
    return {
        name: Linear.from_arrays(*(array(f"{full_name(name)}.{part}") for part in ("weight", "bias"))) for name in EVERY
    }


def compress(
    dense: Mapping[str, Linear], label: str, rule: str, budget: float, moments: Mapping[str, np.ndarray]
) -> dict[str, FactorizedLinear]:
    """Every layer in the same format at the same budget."""
    factorization, n_modes = FORMATS[label]

    def one(name: str) -> FactorizedLinear:
        inputs = Calibration(second_moment=moments[name], max_iterations=ITERATIONS) if rule == "calibrated" else None
        return FactorizedLinear.from_linear(
            dense[name],
            factorization=factorization,
            n_tensorized_modes=n_modes,
            rank=budget,
            allocation="proportional" if rule == "proportional" else "spectrum",
            calibration=inputs,
        )

    return {name: one(name) for name in dense}


def similarity(found: np.ndarray, original: np.ndarray) -> dict[str, float]:
    """The cosine of each embedding to the original one of the same text: the mean, and the fifth of a hundred."""
    cosines = np.sum(found * original, axis=1)
    return {"mean": float(cosines.mean()), "low": float(np.quantile(cosines, 0.05))}


def measure(quick: bool) -> dict[str, Any]:
    """Every format, budget and rule."""
    n_calibration, n_held_out = (4, 4) if quick else (N_CALIBRATION, N_HELD_OUT)
    dense = layers()
    if quick:
        dense = dict(list(dense.items())[:6])
    say("reading text")
    # query, key and value are given the same
    own = tuple(name for name in dense if not name.endswith((".key", ".value")))
    seen = second_moments(CALIBRATION, n_calibration, own)
    moments = {name: seen[name.replace("key", "query").replace("value", "query")] for name in dense}
    text = tokens(HELD_OUT)
    text = text[:: len(text) // n_held_out][:n_held_out]
    original = embeddings(text)
    between = original @ original.T
    rows = []
    for label in FORMATS:
        for budget in BUDGETS[1:2] if quick else BUDGETS:
            for rule in RULES:
                if FORMATS[label][1] == 1 and rule == "spectrum":
                    continue  # one rank has nothing to share
                found = compress(dense, label, rule, budget, moments)
                squares = [
                    (layer.decomposition.relative_error * np.linalg.norm(dense[name].weight.astype(np.float64))) ** 2
                    for name, layer in found.items()
                ]
                norms = [np.linalg.norm(layer.weight.astype(np.float64)) ** 2 for layer in dense.values()]
                # dense again: the same function, and as fast as the original
                instead = {full_name(name): layer.to_linear() for name, layer in found.items()}
                rows.append(
                    {
                        "format": label,
                        "budget": budget,
                        "rule": rule,
                        "parameters": sum(layer.weight.n_parameters for layer in found.values()),
                        "dense": sum(layer.weight.size for layer in dense.values()),
                        "weight": float(np.sqrt(sum(squares) / sum(norms))),
                        "cosine": similarity(embeddings(text, instead), original),
                    }
                )
                say(f"{label} {budget:g} {rule}: {rows[-1]['weight']:.3f} {rows[-1]['cosine']['mean']:.3f}")
    return {
        "rows": rows,
        "n_layers": len(dense),
        "n_texts": len(text),
        "between": float(between[~np.eye(len(text), dtype=bool)].mean()),
    }


def blocks(measured: dict[str, Any]) -> dict[str, str]:
    """The table, and which rule and format keep the embeddings best."""
    rows = measured["rows"]
    found = {(row["format"], row["budget"], row["rule"]): row for row in rows}
    budgets = sorted({row["budget"] for row in rows})

    def better(rule: str, than: str, *, least: bool) -> tuple[int, int]:
        pairs = [(found[key], found[*key[:2], than]) for key in found if key[2] == rule and (*key[:2], than) in found]
        if least:
            return sum(a["weight"] < b["weight"] for a, b in pairs), len(pairs)
        return sum(a["cosine"]["mean"] > b["cosine"]["mean"] for a, b in pairs), len(pairs)

    weights, n_weights = better("spectrum", "proportional", least=True)
    cosines, n_cosines = better("spectrum", "proportional", least=False)
    calibrated, n_calibrated = better("calibrated", "proportional", least=False)
    best = [max((row for row in rows if row["budget"] == b), key=lambda row: row["cosine"]["mean"]) for b in budgets]
    said = "; ".join(
        f"at {row['budget']:g} {row['cosine']['mean']:.2f}, {row['format']}, {row['rule']}" for row in best
    )
    verdict = (
        f"**Calibration keeps more of the embeddings than the plain rule in {calibrated} of {n_calibrated} cases, "
        f"ranks from the spectrum in {cosines} of {n_cosines}; but without fine-tuning the best cosine to the original "
        f"at a budget of {budgets[-1]:g} is {best[-1]['cosine']['mean']:.2f}.** Ranks from the spectrum lose less of "
        f"the weights in {weights} of {n_weights} cases. The best cosine of each budget: {said}. Two different texts "
        f"have a cosine of {measured['between']:.2f} in the mean: an encoder that keeps no more than that has lost "
        "what it says."
    )
    header = (
        "budget",
        "format",
        "ranks",
        "parameters",
        "error of the weights",
        "cosine to the original, mean",
        "cosine, 5 % of texts below",
    )
    cells = [
        (
            f"{row['budget']:g}",
            row["format"],
            RULES[row["rule"]],
            f"{row['parameters']:,}",
            f"{row['weight']:.3f}",
            f"**{row['cosine']['mean']:.3f}**" if row in best else f"{row['cosine']['mean']:.3f}",
            f"{row['cosine']['low']:.3f}",
        )
        for row in sorted(rows, key=lambda row: (row["budget"], list(FORMATS).index(row["format"])))
    ]
    note = (
        f"{measured['n_layers']} layers, {rows[0]['dense']:,} weights in all; {measured['n_texts']} texts of 128 "
        "tokens; the best of each budget in bold."
    )
    return {"verdict": verdict, "table": f"{table(header, cells, right=(0, 3, 4, 5, 6))}\n\n{note}"}


def draw(measured: dict[str, Any]) -> Figure:
    """Both over the budget: a colour for each format, a line for each rule."""
    from matplotlib.lines import Line2D

    figure, panels = figure_with(2, width=5.0, height=4.4)
    style, lines = styles(FORMATS), dict(zip(RULES, (":", "--", "-"), strict=True))
    for label in FORMATS:
        for rule in RULES:
            own = [row for row in measured["rows"] if (row["format"], row["rule"]) == (label, rule)]
            if own:
                x = [row["budget"] for row in own]
                panels[0].plot(x, [row["weight"] for row in own], linestyle=lines[rule], **style[label])
                panels[1].plot(x, [row["cosine"]["mean"] for row in own], linestyle=lines[rule], **style[label])
    panels[1].axhline(measured["between"], color="grey", linewidth=0.8)
    panels[1].annotate(
        "two different texts",
        (0.99, measured["between"]),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="top",
        color="grey",
        fontsize="small",
    )
    panels[0].set_title("relative error of the weights")
    panels[1].set_title("cosine to the original embedding, mean")
    for axes in panels:
        axes.set_xlabel("budget, fraction of the dense parameters")
    handles = [Line2D([], [], label=label, **style[label]) for label in FORMATS]
    handles += [Line2D([], [], color="grey", linestyle=lines[rule], label=rule) for rule in RULES]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


REPLAY = Replay("minilm_curves", measure, blocks, draw)

if __name__ == "__main__":
    run(REPLAY)
