"""A spec and its plugins -> the method that is trained by."""

from collections.abc import Sequence

from kdbench.api import Method, Sum
from kdbench.record import Spec
from kdbench.registry import Source, build, load


def assemble(spec: Spec, sources: Sequence[Source]) -> Method:
    """The method that `spec` writes, or the sum of its members; imports the plugins.

    Args:
        spec: Of a method or of a sum of methods.
        sources: The plugin of each member.

    Raises:
        UsageError: An option is not possible; or whatever a plugin raises.
    """
    members = []
    for member, source in zip(spec.members, sources, strict=True):
        found = build(load(source)["method", member.name], member)
        assert isinstance(found, Method)
        members.append(found)
    if len(members) == 1:
        return members[0]
    return Sum(tuple(member.name for member in spec.members), tuple(members))
