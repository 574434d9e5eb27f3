"""Packages whose inputs may have several sizes.

`sizes` is what a user asks for, `unify` makes one program out of the programs for single sizes, and
`rules` says which parameters may differ between these.
"""
