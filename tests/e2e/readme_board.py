"""The board at the top of README.md, cut out of leaderboards/digits; run this to write it anew."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("Method", "Accuracy %", "Gain over scratch", "Agreement %", "KL", "Overhead ×", "n")
BEGIN, END = "<!-- board:digits -->\n", "<!-- /board -->"


def excerpt(board: str) -> str:
    """A few columns of every pair's tables in a board's Markdown, under its heading, as one."""
    parts = []
    for section in board.split("\n## ")[1:]:
        if "Teacher: accuracy " not in section:  # over all pairs
            continue
        rows: dict[str, dict[str, str]] = {}
        for table in section.split("\n### ")[1:]:
            lines = [line for line in table.splitlines() if line.startswith("|")]
            cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            for row in cells[2:]:
                found = dict(zip(cells[0], row, strict=True))
                rows.setdefault(found["Method"], {}).update(found)
        head = [list(COLUMNS), ["---"] * len(COLUMNS)]
        grid = [*head, *([row[column] for column in COLUMNS] for row in rows.values())]
        lines = ["| " + " | ".join(row) + " |" for row in grid]
        teacher = section.partition("Teacher: accuracy ")[2].partition(",")[0]
        parts.append("\n".join([f"**{section.splitlines()[0]}** ({teacher})", "", *lines]))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Put the excerpt between the marks in README.md."""
    readme = ROOT / "README.md"
    head, _, rest = readme.read_text("utf-8").partition(BEGIN)
    board = (ROOT / "leaderboards/digits/README.md").read_text("utf-8")
    readme.write_text(head + BEGIN + excerpt(board) + END + rest.partition(END)[2], "utf-8")


if __name__ == "__main__":
    main()
