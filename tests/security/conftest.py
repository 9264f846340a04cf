"""What the tests of TLS and SASL share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zkcoord
from salt._logging import shutdown_temp_handler

from tests.support.calls import settings

# Longer than any test may take: who gives up before has not waited for it.
PATIENCE = settings(connect_timeout=3600)


@pytest.fixture(autouse=True)
def every_session_is_closed() -> Iterator[None]:
    shutdown_temp_handler()  # of Salt, which keeps warnings for the end of the process
    yield
    zkcoord.close()
