"""The board at the top of README.md, cut out of leaderboards/digits; run this to write it anew."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("Method", "Accuracy %", "Gain over scratch", "Agreement %", "KL", "Overhead ×", "n")
BEGIN, END = "<!-- board:digits -->\n", "<!-- /board -->"


def excerpt(board: str) -> str:
    """A few columns of every pair's table in a board's Markdown, under its heading."""
    parts = []
    for section in board.split("\n## ")[1:]:
        if "Teacher: accuracy " not in section:  # over all pairs
            continue
        rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
        names = [cell.strip() for cell in rows[0]]
        places = [names.index(column) for column in COLUMNS]
        table = [[row[place].strip() for place in places] for row in rows]
        table[1] = ["---"] * len(COLUMNS)
        lines = ["| " + " | ".join(row) + " |" for row in table]
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
