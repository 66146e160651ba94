import pytest

from support.backends import BACKENDS, running


@pytest.fixture(params=BACKENDS)
def backend(request):
    with running(request.param) as name:
        yield name
