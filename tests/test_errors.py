"""Every error names what was expected, what came and what to do."""

import pickle

import pytest

from vesselgraph import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_keeps_its_three_parts_between_processes(kind):
    error = pickle.loads(pickle.dumps(kind("a mask", "a drawing", "look again")))
    assert type(error) is kind
    assert (error.expected, error.got, error.do) == ("a mask", "a drawing", "look again")
    assert str(error) == "expected a mask; got a drawing; look again"
