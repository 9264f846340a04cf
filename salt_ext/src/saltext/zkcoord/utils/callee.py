"""Finding the function that another function is to call, and checking its arguments."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError
from salt.utils.stringutils import check_whitelist_blacklist

_RUN_ALLOW = "zookeeper:run_allow"


def callee_of_run(
    salt: Mapping[str, Callable[..., Any]],
    opts: Mapping[str, Any],
    fun: str,
    args: Sequence[object],
    fun_kwargs: object,
    kwargs: Mapping[str, object],
) -> tuple[Callable[..., Any], dict[str, object]]:
    """
    As ``callee``, for an execution function that calls any other: only what ``zookeeper:run_allow`` lets it call.

    Only the minion's own configuration is asked for that. A pillar may be given by whoever calls ``state.apply``, and
    so could let its caller call everything.
    """
    section = opts.get("zookeeper")
    allowed = section.get("run_allow") if isinstance(section, dict) else None
    if allowed is not None:
        patterns = [allowed] if isinstance(allowed, str) else allowed
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            raise CommandExecutionError(f"{_RUN_ALLOW}: must be a list of functions, such as service.restart or pkg.*")
        if not patterns or not check_whitelist_blacklist(str(fun), whitelist=patterns):
            raise SaltInvocationError(f"fun: {fun} is not in {_RUN_ALLOW} of this minion's configuration")
    return callee(salt, opts, fun, args, fun_kwargs, kwargs)


def callee(
    salt: Mapping[str, Callable[..., Any]],
    opts: Mapping[str, Any],
    fun: str,
    args: Sequence[object],
    fun_kwargs: object,
    kwargs: Mapping[str, object],
    argument: str = "fun_kwargs",
) -> tuple[Callable[..., Any], dict[str, object]]:
    """
    Find a function, and the keywords for it: its own, and Salt's ``__pub_...`` of the job, if it takes any keyword.

    ``argument`` is the name of the caller's argument that has the function's own keywords, for errors. Raises
    ``SaltInvocationError`` where there is no such function, or where it does not take the arguments.
    """
    published = {key: value for key, value in kwargs.items() if key.startswith("__pub_")}
    if unknown := sorted(kwargs.keys() - published.keys()):
        raise SaltInvocationError(f"{', '.join(unknown)}: not known; keywords of {fun} go into {argument}")
    if not isinstance(fun_kwargs, dict | None):
        raise SaltInvocationError(f"{argument}: must be a dict")
    allowed = opts.get("whitelist_modules")
    if fun not in salt or (allowed and fun.partition(".")[0] not in allowed):
        raise SaltInvocationError(f"fun: {fun} is not available on this minion")
    function, keywords = salt[fun], dict(fun_kwargs or {})
    signature = inspect.signature(function)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        keywords = {**published, **keywords}
    try:
        signature.bind(*args, **keywords)
    except TypeError as err:
        raise SaltInvocationError(f"{fun}: {err}") from err
    return function, keywords
