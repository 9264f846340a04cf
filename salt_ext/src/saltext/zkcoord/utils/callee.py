"""Finding the function that another function is to call, and checking its arguments."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from salt.exceptions import SaltInvocationError


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
