"""The core, as the functions of a runner call it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from salt.exceptions import CommandExecutionError
from saltext.zkcoord.utils.client import Client
from saltext.zkcoord.utils.errors import runner_errors


class MasterClient(Client):
    """The calls of one runner function: in the master's name, and with errors that ``salt-run`` shows in one line."""

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn errors of the core into those of a runner."""
        with runner_errors(), super().errors():
            yield

    def lock(self, path: str, identifier: object, *args: Any, **kwargs: Any) -> bool:
        """Take a slot."""
        return super().lock(path, self._own(identifier), *args, **kwargs)

    def unlock(self, path: str, identifier: object, *args: Any, **kwargs: Any) -> bool:
        """Give a slot back."""
        return super().unlock(path, self._own(identifier), *args, **kwargs)

    def status(self, path: str, timeout: object) -> dict[str, Any]:
        """Tell who holds and who waits, as a table where somebody reads it."""
        status = super().status(path, timeout)
        answer = shown(self._opts, "status", status)
        is_empty = status["max_concurrency"] is None and not status["holders"] and not status["waiters"]
        if "outputter" in answer and is_empty:
            # All paths are as the caller names them: below the chroot.
            status |= {"path": path, "neighbours": self.neighbours(path)}
        return answer

    def pools(self, root: str, timeout: object) -> Any:
        """List the pools below a znode, as a table where somebody reads it."""
        found = super().pools(root, timeout)
        answer = shown(self._opts, "pools", {"path": root, "pools": found})
        return answer if "outputter" in answer else found

    def metrics(
        self, textfile: object, root: object, leases: object, keys: object, timeout: object, admin_port: object
    ) -> Any:
        """Return the metrics as text, or write them into a file, and return its name."""
        try:
            from zkcoord import metrics  # noqa: PLC0415 - it needs prometheus_client, which not everybody has
        except ImportError as err:
            with runner_errors():
                raise CommandExecutionError(str(err)) from err
        connection = {name: value for name, value in self.keywords.items() if name != "raise_on_signal"}
        about = {"leases": _listed(leases), "keys": _listed(keys), "timeout": timeout, "admin_port": admin_port}
        with self.errors():
            if not textfile:
                return metrics.text(root, **about, **connection)
            try:
                metrics.write(textfile, root, **about, **connection)
            except OSError as err:
                raise CommandExecutionError(f"{textfile} cannot be written: {err}") from err
        return textfile

    def _own(self, identifier: object) -> object:
        return self._opts["id"] if identifier in (None, "") else identifier


def _listed(value: object) -> list[str]:
    many = value if isinstance(value, list | tuple) else str(value or "").split(",")
    return [str(it).strip() for it in many if str(it).strip()]


def shown(
    opts: Mapping[str, Any], function: str, answer: dict[str, Any], module: str = "zk_concurrency"
) -> dict[str, Any]:
    """Tell ``salt-run`` how to show an answer, where nobody said ``--out``. All others get the answer itself."""
    is_command = opts.get("fun") == f"{module}.{function}" and not opts.get("async")
    if not is_command or opts.get("output"):
        return answer
    # Salt takes `data` for the results of states, which are dicts below a name each. Without a name it would take the
    # answer for a failure.
    return {"outputter": module, "data": {answer.get("path", function): answer}}
