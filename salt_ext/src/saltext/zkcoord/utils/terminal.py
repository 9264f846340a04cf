"""Text that somebody else has written into a znode, for those who read it at a terminal, or paste it there."""

import shlex

from salt.utils.args import yamlify_arg

# What means something in YAML's double quotes, and before them.
_SPECIAL = frozenset('\\"#')


def shown(text: object) -> str:
    r"""
    Return a text in which no terminal sees a command.

    Any minion may write an identifier, and an escape sequence in it could set the title of a window, clear the
    screen, or make one line look like two. What is not printable becomes ``\x1b``, ``\u202e`` and the like.
    """
    return "".join(each if each.isprintable() else _escaped(each) for each in str(text))


def quoted(text: object) -> str:
    """
    Return one word of any shell that Salt's command line takes for that very text: not for a number or a list, and with
    nothing in it that a terminal obeys.

    It is YAML's notation in double quotes where the text itself will not do. The notation of bash, ``$'...'``, would
    not do either: Salt takes an argument with a line break in it for a positional one.
    """
    word = str(text)
    if yamlify_arg(word) != word or not word.isprintable():
        # Salt looks for a comment in a text with that sign.
        word = (
            '"' + "".join(_escaped(each) if each in _SPECIAL or not each.isprintable() else each for each in word) + '"'
        )
    return shlex.quote(word)


def can_be_named(text: str) -> bool:
    """Tell whether an identifier is the one in its znode: what is not UTF-8 there has lost something here."""
    return "\ufffd" not in text


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
