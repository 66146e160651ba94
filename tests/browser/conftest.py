"""A browser for the tests of pages; there is no use in these tests where there is none."""

import pytest

from support.chromium import Chromium


@pytest.fixture
def browser(tmp_path):
    """A new Chromium, which has complained of nothing in the end and asked nobody for anything."""
    one = Chromium(tmp_path / "profile")
    yield one
    one.close()
    assert one.errors == []
    assert [
        url[:80] for url in one.requests if not url.startswith(("file:", "data:", "blob:"))
    ] == []
