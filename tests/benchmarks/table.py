"""Printing a table."""


def show(rows: list[list[str]], markdown: bool) -> None:
    """Print rows of cells, of which the first is the head, in Markdown or with columns of equal width."""
    if markdown:
        rows = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
        print("\n".join("| " + " | ".join(row) + " |" for row in rows))
    else:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print("\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows))
    print()
