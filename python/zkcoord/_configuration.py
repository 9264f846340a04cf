"""What a configuration says of a connection: its own settings, or those of a profile in it."""

from __future__ import annotations

from _collections_abc import Mapping  # as in `zkcoord.connection`

from zkcoord._core import is_given
from zkcoord.errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, NoReturn

NAMES = (
    "scheme",
    "mechanism",
    "username",
    "password",
    "default_acl",
    "use_ssl",
    "ca_certs",
    "certfile",
    "keyfile",
    "keyfile_password",
    "verify_certs",
    "session_timeout",
    "connect_timeout",
    "idle_timeout",
    "max_buffer",
)
_ANY_HOST = "send_credentials_to_any_host"
_LOOKED_UP = ("hosts", *NAMES)
# `events` and `run_allow` are for the Salt extension, which shares the section with us.
_KNOWN = frozenset((*_LOOKED_UP, _ANY_HOST, "events", "run_allow"))
# A configuration that has one of these has a secret to keep.
_SECRETS = ("password", "mechanism", "default_acl", "certfile", "keyfile", "keyfile_password")
# A key counts as a misspelt setting where it is as alike as `hsots` is to `hosts`, and about as long. Other keys of a
# section may be those of other programs, and are left alone.
_ALIKE = 0.8
_LONGER = 3
# The setting that is meant by a key, as far as it was found out. The first two are less alike than that, and clear all
# the same: our own arguments say `zk_hosts`, and a configuration with `use_tls` must not end in plain text.
_seen: dict[str, str | None] = {"zk_hosts": "hosts", "use_tls": "use_ssl"}
_SECTION = "the section zookeeper"
_MOST_SHOWN = 20
_LONGEST = 60
_DEEPEST = 3
_MOST_SEEN = 1000
_INHERITED = ("hosts", _ANY_HOST)


def configured(
    explicit: Mapping[str, Any],
    profile: str | None,
    config: Mapping[str, Any] | None,
    config_get: Callable[[str, Any], Any] | None,
) -> tuple[dict[str, Any], str | None]:
    """Return the settings of a profile, or without one those of the section; and what the section is called.

    The settings have ``send_credentials_to_any_host`` among them. Where a profile names no hosts, ``hosts_above`` are
    those of the section that it is in. A mapping may have an attribute ``where`` that tells where it was read.

    Raises:
        ArgumentError: The profile configures nothing. The hosts are empty. A key is almost the name of a setting.
    """
    if profile and (setting := next((part for part in profile.split(":") if part in _KNOWN), None)):
        raise ArgumentError(f"profile: {_shown(profile)} is no profile, because {setting} is the name of a setting")
    if config_get is not None:
        if config is not None:
            raise ArgumentError("config_get: is given, and so is config")
        if not callable(config_get):
            raise ArgumentError("config_get: must be callable")
        found, section = _asked(explicit, profile, config_get), _SECTION
    elif config is not None:
        if not isinstance(config, Mapping):
            raise ArgumentError("config: must be a mapping")
        section = "config" if getattr(config, "where", None) is None else _SECTION
        found = _read(explicit, profile, config, section)
    elif profile:
        raise ArgumentError(f"profile: {_shown(profile)} is given without a config to look it up in")
    else:
        return {}, None
    return found, section


def _read(explicit: Mapping[str, Any], profile: str | None, config: Mapping[Any, Any], section: str) -> dict[str, Any]:
    """Return the settings that a mapping has."""
    named = _part(config, profile) if profile else config
    part: Mapping[Any, Any] = named if isinstance(named, Mapping) else {}
    _check_spelling(part, _origin(profile, section))
    _check_hosts(explicit, part, profile, section)
    if profile and not any(is_given(part[name]) for name in _KNOWN if name in part):
        where = getattr(config, "where", None)
        _nothing(profile, section if where is None else f"{section} of {where}", _profiles(config))
    found = {name: part[name] for name in (*_LOOKED_UP, _ANY_HOST) if name in part}
    if profile:
        above = (*(_part(config, name) for name in _above(profile)), config)
        _inherit(found, ({name: node.get(name) for name in _INHERITED} for each in above for node in _mappings(each)))
    return found


def _asked(explicit: Mapping[str, Any], profile: str | None, config_get: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Return the settings that a callable has. It is asked for those that the arguments leave open, and for the others
    only where there is a secret to keep, or where it has none of the former.
    """

    def ask(names: Iterable[str], *part: str | None) -> dict[str, Any]:
        prefix = ":".join(("zookeeper", *filter(None, part)))
        return {name: config_get(f"{prefix}:{name}", None) for name in names}

    found = ask((name for name in _LOOKED_UP if not is_given(explicit.get(name))), profile)
    _check_hosts(explicit, found, profile, _SECTION)
    has_secret = any(is_given(found.get(name)) for name in _SECRETS)
    if has_secret or (profile and not _says_something(found)):
        found |= ask((name for name in (*_LOOKED_UP, _ANY_HOST) if name not in found), profile)
    if profile and not _says_something(found) and not _says_something(ask(["events"], profile)):
        config = config_get("zookeeper", None)
        _nothing(profile, _SECTION, _profiles(config) if isinstance(config, Mapping) else ())
    if profile and has_secret:
        _inherit(found, (ask(_INHERITED, name) for name in (*_above(profile), None)))
    return found


def _check_hosts(explicit: Mapping[str, Any], found: Mapping[str, Any], profile: str | None, section: str) -> None:
    """Refuse hosts that are configured and empty: the default server is surely not what was meant."""
    hosts = found.get("hosts")
    if hosts is not None and not is_given(hosts) and not is_given(explicit.get("hosts")):
        raise ArgumentError(f"hosts: is there in {_origin(profile, section)}, and names no server")


def _says_something(found: Mapping[str, Any]) -> bool:
    return any(is_given(value) for value in found.values())


def _inherit(found: dict[str, Any], above: Iterable[Mapping[str, Any]]) -> None:
    """Take from the sections above a profile, the nearest first, to which hosts its secrets may go."""
    for source in above:
        if not is_given(found.get("hosts")) and is_given(source["hosts"]):
            found.setdefault("hosts_above", source["hosts"])
        if found.get(_ANY_HOST) is None:
            found[_ANY_HOST] = source[_ANY_HOST]


def _part(config: Mapping[Any, Any], profile: str) -> object:
    """The part of a configuration that a profile names, ``name`` or ``name:name``. YAML reads some names as numbers."""
    if profile in config:
        return config[profile]
    found = next((config[name] for name in config if not isinstance(name, str) and str(name) == profile), None)
    if found is None and ":" in profile:
        first, _, rest = profile.partition(":")
        found = next((it for node in _mappings(_part(config, first)) if (it := _part(node, rest)) is not None), None)
    return found


def _above(profile: str) -> Iterator[str]:
    """The names of the parts that a profile is in, the nearest first: of ``a:b:c`` these are ``a:b`` and ``a``."""
    while ":" in profile:
        profile = profile.rpartition(":")[0]
        yield profile


def _mappings(node: object) -> list[Mapping[Any, Any]]:
    """A mapping, or those in a list: Salt finds settings in either."""
    return [it for it in (node if isinstance(node, list) else [node]) if isinstance(it, Mapping)]


def _profiles(config: Mapping[Any, Any], prefix: str = "", depth: int = _DEEPEST) -> list[str]:
    """The names of the profiles in a configuration: of the parts that have a setting."""
    found = []
    for name, value in config.items() if depth else ():
        parts = [] if str(name) in _KNOWN else _mappings(value)
        if any(part.get(key) is not None for part in parts for key in _KNOWN):
            found.append(f"{prefix}{name}")
        for part in parts:
            found += _profiles(part, f"{prefix}{name}:", depth - 1)
    return found


def _nothing(profile: str, where: str, profiles: Iterable[str]) -> NoReturn:
    """Refuse a profile that configures nothing."""
    names = sorted(profiles)
    shown = ", ".join(_shown(name) for name in names[:_MOST_SHOWN]) + ", ..." * (len(names) > _MOST_SHOWN)
    has = f"profiles there: {shown}" if names else "there are no profiles"
    raise ArgumentError(f"profile: {_shown(profile)} configures nothing in {where}; {has}")


def _check_spelling(part: Mapping[Any, Any], origin: str) -> None:
    """Refuse a key that is almost the name of a setting. Profiles may have any name, and so may others' keys."""
    for name in part:
        if not isinstance(name, str) or name in _KNOWN:
            continue
        near = _nearest(name)
        # An ACL is the one setting that is a mapping, and has names of settings in it.
        if near and not (near != "default_acl" and _is_profile(part[name])) and "hosts" not in _keys(part[name]):
            raise ArgumentError(f"{_shown(name)[1:-1]}: is not known in {origin}; did you mean {near}?")


def _is_profile(value: object) -> bool:
    return not _KNOWN.isdisjoint(_keys(value))


def _keys(value: object) -> set[Any]:
    return {key for node in _mappings(value) for key in node}


def _nearest(name: str) -> str | None:
    """The setting that a key was surely meant to be."""
    if name in _seen:
        return _seen[name]
    known = [it for it in sorted(_KNOWN) if abs(len(it) - len(name)) <= _LONGER]
    if not known:
        return None
    import difflib  # noqa: PLC0415 - it takes a while to load, and most configurations have no such key

    near = next(iter(difflib.get_close_matches(name, known, 1, _ALIKE)), None)
    if len(_seen) < _MOST_SEEN:
        _seen[name] = near
    return near


def _origin(profile: str | None, section: str) -> str:
    return f"profile {_shown(profile)}" if profile else section


def _shown(name: str) -> str:
    return ascii(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}...")
