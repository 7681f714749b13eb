"""Representations by name, as field types spell them, and all that makes them.

====================== =============================================================
``trivial``            every group
``irrep(k)``           C_N and SO(2), rotation frequency k
``irrep(j,k)``         D_N and O(2), j = 1 where the reflection changes the sign
``regular``            functions on a finite group
``bandlimited(L)``     functions on SO(2) or O(2), frequencies up to L
``quotient(K)``        functions on the cosets of a subgroup K
``induced(K,NAME)``    induced from the representation NAME of a subgroup K
``restricted(G,NAME)`` restricted from the representation NAME of a larger group G
====================== =============================================================
"""

from __future__ import annotations

import re

from equilens.models.continuous_groups import named_group
from equilens.models.decomposition import Decomposition, decompose, multiplicity
from equilens.models.errors import FieldTypeError
from equilens.models.groups import Group
from equilens.models.induction import bandlimited, direct_sum, induce, quotient, regular, restrict
from equilens.models.irreps import TOLERANCE, Representation, irreducible, irreducibles, trivial

__all__ = [
    "TOLERANCE",
    "Decomposition",
    "Representation",
    "bandlimited",
    "decompose",
    "direct_sum",
    "induce",
    "irreducible",
    "irreducibles",
    "multiplicity",
    "parse_representation",
    "quotient",
    "regular",
    "restrict",
    "trivial",
]

_IRREP = re.compile(r"irrep\((?:([01]),)?(\d+)\)")
_BANDLIMITED = re.compile(r"bandlimited\((\d+)\)")
_QUOTIENT = re.compile(r"quotient\((\w+)\)")
_MOVED = re.compile(r"(induced|restricted)\((\w+),(.+)\)")


def parse_representation(group: Group, name: str) -> Representation:
    """Return the representation of that name.

    Raises
    ------
    FieldTypeError
        Where the name is none of those above, or the group lacks it.
    GroupError
        Where K is no subgroup of the group, or the group none of G.
    """
    if name == "trivial":
        return trivial(group)
    if name == "regular":
        return regular(group)
    if match := _IRREP.fullmatch(name):
        sign = None if match[1] is None else int(match[1])
        return irreducible(group, int(match[2]), sign)
    if match := _BANDLIMITED.fullmatch(name):
        return bandlimited(group, int(match[1]))
    if match := _QUOTIENT.fullmatch(name):
        return quotient(group, named_group(match[1]))
    if match := _MOVED.fullmatch(name):
        inner = parse_representation(named_group(match[2]), match[3])
        return (induce if match[1] == "induced" else restrict)(inner, group)
    raise FieldTypeError(
        f"a representation of {group!r} must be trivial, regular, irrep(k), irrep(j,k), "
        f"bandlimited(L), quotient(K), induced(K,NAME) or restricted(G,NAME), got {name!r}"
    )
