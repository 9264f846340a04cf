"""Text that somebody else has written into a znode, for those who read it at a terminal, or paste it there."""

import shlex

from salt.utils.args import yamlify_arg

# Characters that mean something in YAML's double quotes, or to Salt before it reads YAML.
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
    Return a text as one word for any shell, with nothing in it that a terminal obeys. Salt's command line takes the
    word for that very text, and not for a number or a list.

    Where the text itself will not do, the word is in YAML's notation with double quotes. The notation of bash,
    ``$'...'``, would not do either: Salt takes an argument with a line break in it for a positional one.
    """
    word = str(text)
    if yamlify_arg(word) != word or not word.isprintable():
        # `#` is escaped, too: Salt looks for a comment in a text that has one.
        word = (
            '"' + "".join(_escaped(each) if each in _SPECIAL or not each.isprintable() else each for each in word) + '"'
        )
    return shlex.quote(word)


def can_be_named(text: str) -> bool:
    """Tell whether an identifier is the very one in its znode: bytes there that are not UTF-8 are lost here."""
    return "\ufffd" not in text


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
