"""Timed leases, as the functions of a runner call them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from saltext.zkcoord.utils.errors import runner_errors
from saltext.zkcoord.utils.lease_client import LeaseClient


class MasterLeaseClient(LeaseClient):
    """The calls of one runner function: with errors that ``salt-run`` shows in one line."""

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn errors of the core into those of a runner."""
        with runner_errors(), super().errors():
            yield


def shown(opts: Mapping[str, Any], function: str, answer: Any) -> Any:
    """Tell ``salt-run`` to show a table, where nobody said ``--out``. All others get the answer itself."""
    is_command = opts.get("fun") == f"zk_lease.{function}" and not opts.get("async")
    if not is_command or opts.get("output"):
        return answer
    return {"outputter": "zk_lease", "data": {"leases": answer if isinstance(answer, list) else [answer]}}
