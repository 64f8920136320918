"""Contracts on other pairs and data sets: what a method cannot do, it declines with a reason."""

from kdbench.api import ContractError, Method, Unsupported
from kdbench.testing.bench import Bench, Case

TOKENS = "test_vit[patch_size=8]"
CASES = {
    "a teacher smaller than its student": Case(
        teacher="resnet8[width=0.25]", student="resnet8[width=0.5]", steps=2
    ),
    "a deeper teacher": Case(teacher="resnet14[width=0.5]", steps=2),
    "grey images": Case(image_shape=(1, 8, 8), steps=2),
    "images that are not square": Case(image_shape=(3, 16, 24), steps=2),
    "classes without coarse labels": Case(tree=False, steps=2),
    "two classes": Case(classes=2, steps=2),
    "bfloat16": Case(precision="bfloat16", steps=2),
    "an ensemble": Case(members=2, steps=2),
    "a teacher with tokens": Case(teacher=TOKENS, image_shape=(3, 32, 32), steps=2),
    "a student with tokens": Case(student=TOKENS, image_shape=(3, 32, 32), steps=2),
}
"""Pairs and data sets that a user may name, by what is special about them."""


def other_cases_run_or_say_why(method: Method) -> None:
    """Other pairs and data sets run, or raise Unsupported with a reason."""
    for name, case in CASES.items():
        try:
            Bench(method, case).train()
        except Unsupported as error:
            reasoned(error, name)
        except Exception as error:
            what = str(error).partition("\n")[0]
            raise ContractError(
                f"with {name}: {type(error).__name__}: {what}",
                "what a method cannot do, it declines before the first step",
                "raise Unsupported(what, why, what to do next) in init()",
            ).with_traceback(error.__traceback__) from error


def reasoned(error: Unsupported, case: str) -> None:
    """Raise where a method declines without what, why and what next."""
    if not (error.what and error.why and error.next):
        raise ContractError(
            f"with {case}: Unsupported{error.what, error.why, error.next}",
            "a user must know what is not possible, why, and what to do next",
            "raise Unsupported(what, why, what to do next)",
        ) from error
