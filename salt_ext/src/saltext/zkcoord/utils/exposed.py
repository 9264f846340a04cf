"""Functions of an execution module, as the functions of a runner."""

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any


def exposed(
    function: Callable[..., Any], module: dict[str, Any], words: Mapping[str, str], remark: str = ""
) -> FunctionType:
    """
    Return `function` as one of another module's own. `module` is that module's globals.

    The copy has the same code and the same parameters. It looks up all that it uses in the other module: what Salt's
    loader puts there, and the helpers, which have to be there under the same names. So Salt takes the copy for a
    function of that module. The docstring is the same but for some `words`, and for a `remark` after the first
    paragraph.
    """
    copy = FunctionType(function.__code__, module, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    if function.__doc__ is not None:
        what, *more = inspect.cleandoc(function.__doc__).split("\n\n")
        text = "\n\n".join([what, *([remark] if remark else []), *more])
        for old, new in words.items():
            text = re.sub(r"\s+".join(map(re.escape, old.split())), new.replace("\\", r"\\"), text)
        copy.__doc__ = f"\n{textwrap.indent(text, '    ')}\n    "
    return copy
