"""The short form of every proof."""

import contextlib

import pytest

from tests.chaos.proof import Means, proofs
from tests.servers import Missing, required


@pytest.mark.parametrize("name", proofs())
def test_short(name, tmp_path):
    with contextlib.ExitStack() as ends:
        try:
            proof = proofs()[name].prove(Means(False, 20261122, tmp_path, ends))
        except Missing as missing:
            (pytest.fail if required(missing.kind) else pytest.skip)(str(missing))
    assert proof.runs > 0 and proof.wrong == 0, proof
