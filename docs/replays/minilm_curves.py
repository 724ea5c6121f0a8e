"""All linear layers of a sentence encoder compressed at once: what is left of its weights, and of what it says.

``python docs/replays/minilm_curves.py [--quick | --write | --render]``

It needs trained weights, which ``tests/weights/minilm.py`` says how to install.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from replay import Replay, run, say, styles, table
from weights.activations import CALIBRATION, HELD_OUT, embeddings, second_moments, tokens
from weights.minilm import EVERY, array, full_name

from tlinear import Calibration, FactorizedLinear, Linear

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = {"matrix": ("tt", 1), "TT": ("tt", 2), "BlockTT": ("blocktt", 2), "Tucker": ("tucker", 2), "CP": ("cp", 2)}
"""By label: the factorization, and the number of modes on each side."""

ONE_RANK = ("matrix", "CP")
"""Those that have nothing to share a budget among, however many modes they have."""

PLAIN, SPECTRUM, CALIBRATED = "proportional", "spectrum", "calibrated"
RULES = {PLAIN: "in proportion", SPECTRUM: "spectrum", CALIBRATED: "spectrum, calibrated"}
"""How a budget is shared among the ranks, and what it is called."""

BUDGETS = (0.1, 0.25, 0.5)
N_CALIBRATION, N_HELD_OUT = 96, 32
ITERATIONS, SWEEPS = 25, 50
"""At most: of the calibration, and of the algorithms that iterate."""


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
        inputs = Calibration(second_moment=moments[name], max_iterations=ITERATIONS) if rule == CALIBRATED else None
        return FactorizedLinear.from_linear(
            dense[name],
            factorization=factorization,
            n_tensorized_modes=n_modes,
            rank=budget,
            allocation="proportional" if rule == PLAIN else "spectrum",
            calibration=inputs,
            decomposition_options={"max_iterations": SWEEPS} if factorization in ("cp", "tucker") else None,
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
        for budget in BUDGETS[:1] if quick else BUDGETS:
            for rule in RULES:
                if label in ONE_RANK and rule == SPECTRUM:
                    continue
                start = time.process_time()
                found = compress(dense, label, rule, budget, moments)
                seconds = time.process_time() - start
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
                        "seconds": seconds,
                    }
                )
                reached = f"{rows[-1]['weight']:.3f} {rows[-1]['cosine']['mean']:.3f}"
                say(f"{label} {budget:g} {rule}: {reached}, {seconds:.0f} s")
    return {
        "rows": rows,
        "n_layers": len(dense),
        "n_texts": len(text),
        "between": float(between[~np.eye(len(text), dtype=bool)].mean()),
    }


def called(row: Mapping[str, Any]) -> str:
    """The rule of a row in words."""
    if row["format"] not in ONE_RANK:
        return RULES[row["rule"]]
    return "one, calibrated" if row["rule"] == CALIBRATED else "one"


def of_weights(row: Mapping[str, Any]) -> float:
    """The error of all weights together."""
    return row["weight"]


def of_embeddings(row: Mapping[str, Any]) -> float:
    """What the mean cosine lacks."""
    return 1.0 - row["cosine"]["mean"]


def blocks(measured: dict[str, Any]) -> dict[str, str]:
    """The table, and which rule and format keep the embeddings best."""
    rows = measured["rows"]
    found = {(row["format"], row["budget"], row["rule"]): row for row in rows}
    budgets = sorted({row["budget"] for row in rows})

    def better(rule: str, error: Callable[[Mapping[str, Any]], float]) -> str:
        """In how many cases a rule is better than the plain one, and in how many it gives the same weights."""
        pairs = [(row, found[row["format"], row["budget"], PLAIN]) for row in rows if row["rule"] == rule]
        same = sum(row["weight"] == than["weight"] for row, than in pairs)
        cases = f"{sum(error(row) < error(than) for row, than in pairs)} of {len(pairs)} cases"
        return f"{cases} ({same} the same)" if same else cases

    def least(rules: Collection[str], error: Callable[[Mapping[str, Any]], float]) -> list[dict[str, Any]]:
        """The best of each budget."""
        allowed = [row for row in rows if row["rule"] in rules]
        return [min((row for row in allowed if row["budget"] == budget), key=error) for budget in budgets]

    best, uncalibrated = least(RULES, of_embeddings), least((PLAIN, SPECTRUM), of_embeddings)
    cosines, plain_cosines = (
        "; ".join(
            f"at {row['budget']:g} {row['cosine']['mean']:.2f}, {row['format']}, ranks: {called(row)}" for row in own
        )
        for own in (best, uncalibrated)
    )
    errors = "; ".join(f"at {row['budget']:g} {row['weight']:.2f}, {row['format']}" for row in least(RULES, of_weights))
    above = [row["budget"] for row in uncalibrated if row["cosine"]["mean"] > measured["between"]]
    lost = f"below a budget of {above[0]:g}" if above else "at any of the budgets"
    verdict = (
        f"**Calibration keeps more of the embeddings than the plain rule in {better(CALIBRATED, of_embeddings)}, "
        f"ranks from the spectrum in {better(SPECTRUM, of_embeddings)}; but without fine-tuning the best cosine to the "
        f"original at a budget of {budgets[-1]:g} is {best[-1]['cosine']['mean']:.2f}.** The best cosine of each "
        f"budget: {cosines}. The best without calibration: {plain_cosines}. Two different texts have a cosine of "
        f"{measured['between']:.2f} in the mean: an encoder that keeps no more than that has lost what it says, as all "
        f"without calibration have {lost}. The least error of the weights: {errors}. Ranks from the spectrum lose less "
        f"of the weights in {better(SPECTRUM, of_weights)}."
    )
    header = (
        "budget",
        "format",
        "ranks",
        "parameters",
        "error of the weights",
        "cosine to the original, mean",
        "cosine, 5 % of texts below",
        "processor seconds",
    )
    cells = [
        (
            f"{row['budget']:g}",
            row["format"],
            called(row),
            f"{row['parameters']:,}",
            f"{row['weight']:.3f}",
            f"**{row['cosine']['mean']:.3f}**" if row in best else f"{row['cosine']['mean']:.3f}",
            f"{row['cosine']['low']:.3f}",
            f"{row['seconds']:.0f}",
        )
        for row in sorted(rows, key=lambda row: (row["budget"], list(FORMATS).index(row["format"])))
    ]
    note = (
        f"{measured['n_layers']} layers, {rows[0]['dense']:,} weights in all; {measured['n_texts']} texts of 128 "
        "tokens; the best of each budget in bold; the seconds are those that all layers took to compress."
    )
    return {"verdict": verdict, "table": f"{table(header, cells, right=(0, 3, 4, 5, 6, 7))}\n\n{note}"}


def draw(measured: dict[str, Any]) -> Figure:
    """Both over the budget: a column of panels for each rule; what has one rank is the same in the first two."""
    from matplotlib.figure import Figure

    figure, style = Figure(figsize=(11.5, 7.0), layout="constrained"), styles(FORMATS)
    panels = figure.subplots(2, len(RULES), sharex=True, sharey="row")
    for column, rule in zip(panels.T, RULES, strict=True):
        for label in FORMATS:
            shared = PLAIN if label in ONE_RANK and rule == SPECTRUM else rule
            own = [row for row in measured["rows"] if (row["format"], row["rule"]) == (label, shared)]
            x = [row["budget"] for row in own]
            column[0].plot(x, [row["weight"] for row in own], label=label, **style[label])
            column[1].plot(x, [row["cosine"]["mean"] for row in own], **style[label])
        column[0].set_title(f"ranks: {RULES[rule]}")
        column[1].axhline(measured["between"], color="grey", linewidth=0.8)
        column[1].set_xlabel("budget, fraction of the dense parameters")
        column[1].set_xticks(sorted({row["budget"] for row in measured["rows"]}))
        for axes in column:
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylabel("relative error of the weights")
    panels[1, 0].set_ylabel("cosine to the original embedding, mean")
    panels[1, 0].annotate(
        "two different texts",
        (0.02, measured["between"]),
        xycoords=("axes fraction", "data"),
        va="bottom",
        color="grey",
        fontsize="small",
    )
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


REPLAY = Replay("minilm_curves", measure, blocks, draw)

if __name__ == "__main__":
    run(REPLAY)
