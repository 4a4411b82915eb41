"""The short form of every proof."""

import contextlib

import pytest

from tests.chaos.proof import Means, proofs
from tests.servers import Missing, required

# Their claims are in seconds, which a shared machine cannot be held to: `make chaos` runs them and shows the figures.
IN_SECONDS = {"outage"}


@pytest.mark.parametrize("name", [name for name in proofs() if name not in IN_SECONDS])
def test_short(name, tmp_path):
    with contextlib.ExitStack() as ends:
        try:
            proof = proofs()[name].prove(Means(False, 20261122, tmp_path, ends))
        except Missing as missing:
            (pytest.fail if required(missing.kind) else pytest.skip)(str(missing))
    assert proof.runs > 0 and proof.wrong == 0, proof
