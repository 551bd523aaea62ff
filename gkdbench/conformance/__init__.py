"""The conformance kit: does a method keep the contract? For a plugin author's pytest and `gkdbench check method`.

    from gkdbench.conformance import assert_conforms
    def test_conforms(): assert_conforms("my_kd.py:my_kd")
"""

from gkdbench.conformance.ranks import rank_rows
from gkdbench.conformance.report import Outcome, Row, Verdicts
from gkdbench.conformance.suite import assert_conforms, check

__all__ = ["Outcome", "Row", "Verdicts", "assert_conforms", "check", "rank_rows"]
