"""The parts of tools/check. A part takes a Tree and returns what is wrong, one line each; it raises Skip when it cannot
tell. Parts know the tree only through Tree, so that their tests can hand them a small made-up one."""
import dataclasses

from checks import docs, duplicates, evidence, formatting, isa_leak, layers, names, rollcall, sizes
from checks.tree import Skip, Tree

__all__ = ["PARTS", "Skip", "Tree", "Verdict", "run"]

PARTS = {
    "layers": layers.check,
    "rollcall": rollcall.check,
    "isa-leak": isa_leak.check,
    "docs": docs.check,
    "duplicates": duplicates.check,
    "sizes": sizes.check,
    "evidence": evidence.check,
    "format": formatting.check,
    "names": names.check,
}


@dataclasses.dataclass
class Verdict:
    part: str
    problems: list
    skipped: str = ""


def run(tree, parts=None):
    for part in parts or PARTS:
        try:
            yield Verdict(part, PARTS[part](tree))
        except Skip as reason:
            yield Verdict(part, [], str(reason))
