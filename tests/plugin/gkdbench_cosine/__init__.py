"""A package of a stranger, which offers gkdbench a method and a combinator."""
