"""Protocols, teachers and conditions in words, for captions."""

from kdbench.leaderboard.board import Board, Gap, Table
from kdbench.leaderboard.spec import BoardSpec
from kdbench.leaderboard.text import figures, fixed
from kdbench.record import Question, TrainingProtocol
from kdbench.statistics import LEAST_CELLS, LEAST_METHODS, MOST_SEEDS, Contrast, mean

_ACCURACY = (
    'Mean ± half-width of the 95 % t interval over n seeds; "identical" where all seeds gave the '
    "same value. Gains are differences of accuracy in points, paired by seed; a gain in bold is "
    "told from 0 by a paired t test at the 5 % level of its whole column (Holm). Rank: by "
    "accuracy, in 95 % of resamples of the seeds. Methods of the same group (letter) are not told "
    "apart; with more than a dozen groups there are no letters. Contenders: with 95 % confidence "
    "the best method is one of them. Baselines are bold. A method that holds out a quiz split "
    "trains on fewer rows and is compared with baselines on those rows."
)
_FIDELITY = (
    "Agreement with the teacher, on all rows and on those where it errs, and KL(teacher‖student) "
    "are measured on the same split as accuracy or, where it says so, on the transfer set; NLL and "
    "ECE are against the labels. By agreement."
)
_COST = (
    "Overhead is relative to the first baseline, with its 95 % interval over n trials. Step, "
    "images/s, teacher passes an image, extra parameters and peak memory are of training, latency "
    "(batch 1), throughput (batch 256) and parameters of the deployed student. By overhead."
)
_CPU = "CPU overhead is the same ratio in processor time, which others hardly move."
_SHARED = (
    "Step ms and overhead charge every method a whole pass of the live teacher. Warm ms is a step "
    "that reads the teacher's kept answer, amortised ms one in which the methods of a cohort pay "
    "in equal parts what its teacher took, first answers included."
)
_TUNED = (
    "Settings: of each method those that the suite has for this pair; the baselines are those of "
    "the defaults."
)


def how(board: Board) -> dict[str, str]:
    """What the figures of each of a table's boards are, by the board's name."""
    rows = [row for table in board.tables for row in table.rows]
    cost = [_COST]
    cost += [_CPU] if any(row.cpu_overhead for row in rows) else []
    cost += [_SHARED] if any(row.expense and row.expense.shared for row in rows) else []
    return {"Accuracy": _ACCURACY, "Fidelity": _FIDELITY, "Cost": " ".join(cost)}


def facts(table: Table, spec: BoardSpec) -> list[str]:
    """What a table is of, but for its hardware, a line each."""
    short, changes = share(table.question), spec.changes(table.key)
    lines = [f"Variant: {changes}."] if changes else []
    lines += [
        f"Teacher: {teacher(table)}",
        f"Student: {training(table.question.protocol)}; {rows(table)}; "
        f"{seeds(table)}; protocol {table.key[:12]}{f'; only {short}' if short else ''}.",
    ]
    return lines if table.part == "defaults" else [*lines, _TUNED]


def viewed(shown: str) -> str:
    """That it is not the whole board."""
    return f"Shown: {shown}. Means, ranks and tests are those of the whole board."


def critical(board: Board) -> str:
    """What the ranks over all cells tell, or why there are none."""
    found, cells = board.critical, sum(table.part == "defaults" for table in board.tables)
    if board.spec.variants:
        return "No ranks over all tables: variants ask different things, and are no cells of one."
    if found is None:
        return (
            f"No critical-difference diagram: it takes {LEAST_METHODS} methods without holes and "
            f"{LEAST_CELLS} cells (data sets times pairs); this board has {cells}."
        )
    told = "; ".join(", ".join(clique) for clique in found.cliques) or "none"
    return (
        f"Mean rank: over {found.cells} cells; methods whose mean ranks are more than "
        f"{fixed(found.difference, 2)} apart are told apart (Nemenyi's test, 5 % level). "
        f"Not told apart: {told}."
    )


def training(protocol: TrainingProtocol) -> str:
    """How a network is trained, in one line."""
    share = "" if protocol.budget == 1 else f" (of which {protocol.budget:.4g} is spent)"
    length = f"{protocol.steps} steps" if protocol.steps else f"{protocol.epochs:.6g} epochs{share}"
    words = [f"{length} of batch {protocol.batch_size}"]
    if protocol.optimizer == "sgd":
        nesterov = "Nesterov " if protocol.nesterov else ""
        words.append(f"SGD with {nesterov}momentum {protocol.momentum:.6g}")
    else:
        words.append("AdamW")
    words.append(f"weight decay {protocol.weight_decay:.6g}")
    rate = f"learning rate {protocol.learning_rate:.6g}"
    if protocol.schedule == "cosine":
        rate += " falling along a cosine"
    elif protocol.milestones:
        shares = ", ".join(f"{100 * share:.4g}" for share in protocol.milestones)
        rate += f" times {protocol.gamma:.6g} at {shares} % of the budget"
    words.append(rate)
    if protocol.warmup:
        words.append(f"warm-up over {100 * protocol.warmup:.4g} %")
    views = [f"shifts of {protocol.shift} pixels"] if protocol.shift else []
    views += ["mirroring"] if protocol.flip else []
    views += [f"then {protocol.transfer}"] if protocol.transfer else []
    words.append(" and ".join(views) if views else "no augmentation")
    words += [f"rows from {protocol.first} on"] if protocol.first else []
    if protocol.last_batch == "drop":
        words.append("ragged last batch dropped")
    if protocol.answers != "float32":
        words.append(f"the teacher's answers kept in {protocol.answers}")
    if protocol.compile == "on":
        words.append("compiled")
    if start := protocol.start:
        anew = " and statistics estimated anew" if start.statistics == "estimated" else ""
        words.append(f"from {100 * start.share:.4g} % of the teacher's {start.of} weights{anew}")
    return ", ".join([*words, protocol.precision])


def teacher(table: Table) -> str:
    """How good and how large the teacher is, and how it came about."""
    protocol = table.question.teacher_protocol
    origin = "given weights" if protocol is None else f"trained for {training(protocol)}"
    if protocol is not None and protocol.rows:
        origin += f", {protocol.rows} rows"
    if protocol is not None and protocol.alone:
        origin += f"; without a teacher by {protocol.alone}"
    if protocol is not None and protocol.anchor != 1:
        origin += f"; teaches as it was after {100 * protocol.anchor:.4g} % of it"
    if protocol is not None and protocol.method:
        origin += f"; each learnt from the one before by {protocol.method}"
    if not table.teachers:
        return f"{origin}."
    accuracies = [card.quality["accuracy"] for card in table.teachers if "accuracy" in card.quality]
    first = table.teachers[0]
    million = figures(first.multiply_adds / 1e6)
    size = f"{first.parameters:,} parameters, {million} M multiply-adds"
    which = "weights " + ", ".join(card.weights[:12] for card in table.teachers)
    own = protocol is not None and protocol.seed == "trial"
    shared = "one teacher a seed" if own else "one teacher for all seeds"
    accuracy = f"accuracy {fixed(100 * mean(accuracies).mean, 2)} %, " if accuracies else ""
    return f"{accuracy}{size}, {which} ({shared}); {origin}."


def rows(table: Table) -> str:
    """How many rows teach, and what is measured."""
    evaluation = table.question.evaluation
    counts = sorted({row.rows for row in table.rows if not row.question.quiz})
    several = " or ".join(map(str, counts)) if counts else "an unknown number of"
    validation = evaluation.validation_rows
    held = f", {validation} rows held out" if validation else ""
    return f"{several} training rows{held}; measured on the {evaluation.split} split"


def disturbed(table: Table) -> str:
    """How many rounds of the cost pass do not count; nothing where no record tells."""
    known = [row.expense.discarded for row in table.rows if row.expense]
    counts = [count for count in known if count is not None]
    if not counts:
        return ""
    if not max(counts):
        return "Times: nobody else used the machine."
    most = max(counts)
    left = f"up to {most} round{'s' * (most != 1)} of a method"
    return f"Times: {left} left out because others used the machine."


def across(cells: int) -> str:
    """What a mean over so many tables holds for."""
    held = "these pairs and pairs like them" if cells >= LEAST_CELLS else "these pairs alone"
    return (
        "Points of accuracy, the mean of the tables' means, with its 95 % interval by bootstrap; "
        f"it holds for {held}. Rank: in 95 % of the resamples. Methods of the same group (letter) "
        "are not told apart. Contenders: with 95 % confidence the best method is one of them. Of "
        "each method the settings by default."
    )


def undecided(table: Table, spec: BoardSpec) -> list[str]:
    """What is not told from each baseline, and how many more seeds would tell; a line each."""
    lines = []
    for text in spec.baselines:
        open_ones = [
            (row.name, row.contrasts[text])
            for row in table.rows
            if text in row.contrasts and not row.contrasts[text].differs
        ]
        if open_ones:
            told = ", ".join(f"{name} ({_more(one)})" for name, one in open_ones)
            lines.append(
                f"Not told from {text}, and how many more seeds would tell, if the difference is "
                f"as it is seen now, in 4 of 5 cases: {told}."
            )
    return lines


def _more(one: Contrast) -> str:
    if one.more is not None:
        return str(one.more)
    if one.p is None:
        return "identical" if one.difference.identical else "unknown from one seed"
    return f"over {MOST_SEEDS - one.difference.n:,}"


def gap(one: Gap) -> list[tuple[str, str]]:
    """Each reason once, with the seeds it holds for."""
    reasons = dict.fromkeys(reason for _, reason in one.missing)
    return [
        (listed([seed for seed, why in one.missing if why == reason]), reason) for reason in reasons
    ]


def seeds(table: Table) -> str:
    """The seeds that every row has."""
    return listed(list(table.seeds))


def listed(values: list[int]) -> str:
    """Seeds as a list, a run of three or more as first-last."""
    if len(values) > 2 and values == list(range(values[0], values[0] + len(values))):
        return f"seeds {values[0]} to {values[-1]}"
    return f"seed{'s' * (len(values) != 1)} " + ", ".join(map(str, values))


def share(question: Question) -> str:
    """Why a table is not of the full protocol."""
    protocols = [
        p for p in (question.protocol, question.teacher_protocol) if p is not None and not p.full
    ]
    told = dict.fromkeys(
        f"{p.steps} steps" if p.steps else f"{100 * p.budget:.4g} % of the budget"
        for p in protocols
    )
    return " and ".join(told)


def partial(board: Board) -> str:
    """How many trials are kept off the full board."""
    count = sum(len(row.seeds) for table in board.partial for row in table.own)
    if count == 1:
        return "1 trial spent part of the budget and feeds no figure above."
    return f"{count} trials spent part of the budget and feed no figure above."
