"""What many functions document in the same words. Each sentence of these is written here, and nowhere else."""

import inspect
import re
import textwrap
from collections.abc import Callable
from string import Template
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])

_PARAMETERS = {
    "connection": """
        $hosts
            Servers as ``host:port,host:port`` or a list. A chroot may follow (``host:port,host:port/chroot``).
            Default: the configuration's ``hosts``, then ``127.0.0.1:2181``. Other hosts than the configuration's are
            not sent the configuration's password: see *Security* in the manual.

        profile
            Read the settings from ``zookeeper:PROFILE`` in the configuration, instead of from ``zookeeper``. A profile
            that configures nothing is an error.

        scheme
            Authentication scheme: ``digest``, the default when there are a username and a password, or ``sasl``.

        username, password
            User to authenticate as. Rather give both in the configuration: arguments end up in the master's job cache.

        default_acl
            $default_acl

        security
            By keyword: ``use_ssl``, ``ca_certs``, ``certfile``, ``keyfile``, ``keyfile_password``, ``verify_certs``,
            and the SASL ``mechanism``. See *Security* in the manual.
        """,
    "limit": """
        max_concurrency
            Slots in the pool, at least 1. The pool stores the number of the first caller. All others must give the
            same: another number is an error. ``stored``: whatever number the pool has, so that ``set_max`` changes the
            limit without a change to any state. A pool that stores no number is then an error, and is not created.
        """,
    "wait": """
        timeout
            Seconds to wait, connecting included: ``None`` for ever, ``0`` tries once.
        """,
    "timeout": """
        timeout
            Seconds for the whole call, connecting included. $most ``connect_timeout``.
        """,
    "admin": """
        admin_port
            The port of the AdminServers, which are asked where a server does not answer a four-letter word. Default:
            the configuration's ``admin_port``, then 8080; ``0`` for none.
        """,
    "reason": """
        reason
            Why you call this, for the log and for those who listen to the event bus.
        """,
    "kept reason": """
        reason
            Why the slot is wanted, for the log, for those who listen to the event bus, and for ``status``. Up to 1,024
            bytes of it are kept beside the lease, together with the host, the process and the id of the job, and are
            gone with the lease. Where the ACL forbids to keep a reason, the slot is taken without one.
        """,
    "owner": """
        owner
            $owner
        """,
    "lease": """
        duration
            For how long the lease is held after it was taken, and after each renewal: seconds, or text such as ``90s``,
            ``5m``, ``1h 30m``. Others wait as long for a holder that is dead.
        """,
    "skew": """
        max_clock_skew
            Seconds by which the clocks of two ZooKeeper servers may differ, or by which one clock may be set. ``None``:
            the servers' clock is not asked, and another's lease is over when this process has seen it unchanged for its
            whole duration.
        """,
    "asking": """
        profile
            Read the settings from ``ganeti_confd:PROFILE`` in the configuration, instead of from ``ganeti_confd``. A
            profile that configures nothing is an error.

        coverage
            How many candidates are asked: 0 is six of them, or all where there are fewer; -1 is all. Default: the
            configuration's, then 0.

        replies
            How many replies to wait for: -1 is one of each candidate that is asked. Default: all where one or two are
            asked, all but one where three or four are, and a majority where more are.

        timeout
            Seconds to wait for the replies. Default: the configuration's, then 10.

        require_quorum
            ``False``: take an answer although fewer candidates have replied.

        require_consistent
            ``False``: take an answer although the candidates contradict each other: the one that most of them give.
        """,
    "secrets": """
        secrets
            ``True``: show the secrets of DRBD disks, and private parameters of operating systems. Job caches and logs
            keep what is returned.
        """,
    "lock": """
        lock
            What the lock is called; any text or number. Locks do not contend with each other.
        """,
    "unit": """
        unit
            Who asks. Default: the minion's id.
        """,
    "place": """
        key
            Which coordinator it is. Locks of different keys are different locks.

        root
            The znode below which the coordinators are.
        """,
    "policy": """
        policy
            Who may be granted the lock together. ``serial``: one, first come, first served. Or a mapping, all of which
            holds together: ``max: 2``, or ``max: 25%`` with ``party: /web`` (of the members of that party, rounded
            down, but at least one); ``per: {rack: 1}``, for each value of a label; ``window: {days: [sat], from:
            '02:00', to: '04:00', zone: Europe/Berlin}``, or a list of such windows. The first who asks stores the
            policy with the lock. To ask with another policy is an error that names both; ``zk_coordinator.set_policy``
            changes the one that is stored.
        """,
    "asked": """
        labels
            What the policy counts by, such as ``{rack: r1}``, or a list of names of grains. A label that the policy
            needs and that is missing here is the grain of that name, unless ``unit`` is another than this minion.

        expires
            Seconds after which others may drop the request, or the grant, of a unit that was not seen meanwhile. A unit
            is seen when it asks again, when it is granted the lock, and while its beacon runs. So the time must be
            longer than the longest run, and longer than the time between two runs. Default: never. The log and the
            event bus tell what is dropped.
        """,
    "minion": """
        identifier
            Who holds the slot. Default: the minion's id. (In the execution module it is the host's name.)
        """,
}

_DEFAULT_ACL = {
    True: """
        ACL of created znodes, where no other is given. It is an entry or a list of entries. An entry is a dict with
        ``username``, ``password``, and ``allperms`` or any of ``read``, ``write``, ``create``, ``delete``, ``admin``;
        or a dict with ``scheme``, ``id`` and ``perms`` (letters of ``cdrwa``, or ``all``); or ``creator_all``. Default:
        the ACL permits everything to everybody.
        """,
    False: """
        ACL of created znodes. This function creates none.
        """,
}

_OWNER = {
    True: "Who holds the lease. Default: the minion's id.",
    False: "Whose lease is meant. Default: the minion's id.",
}

_REFUSED = "when no server answers within $limit, and when the servers refuse the credentials or the access."
_RAISES = f"Raises ``SaltInvocationError`` for a wrong argument. Raises ``CommandExecutionError`` {_REFUSED}"
_WITHIN = "``timeout`` or ``connect_timeout``, whichever is less"
_CANCELLED = "Cancelled by a signal (Ctrl-C, ``saltutil.term_job``)"
_FAILS = (
    "Whatever goes wrong is ``result: False`` and one line that says what: a wrong argument, or servers that do not "
    "answer or that refuse the access."
)
_AGAIN = "A datagram that is lost is sent again."
_GOES_ON = "When the connection is lost, it goes on as soon as there is a connection again."

_ERRORS = {
    "read": (_RAISES, f"{_CANCELLED}, it raises ``CommandExecutionError``. {_GOES_ON}"),
    "write": (
        _RAISES,
        f"{_CANCELLED}, it raises ``CommandExecutionError``. What it was to change may be changed by then, or not. "
        f"{_GOES_ON}",
    ),
    "wait": (
        _RAISES,
        f"{_CANCELLED} while it waits, it leaves the queue and raises ``CommandExecutionError``. {_GOES_ON} If the "
        "session expired meanwhile, it queues again with the time that is left.",
    ),
    "runner": (
        f"Raises ``CommandExecutionError`` for a wrong argument, {_REFUSED}",
        f"{_CANCELLED}, it raises ``CommandExecutionError``. {_GOES_ON}",
    ),
    "asking": (
        "Raises ``SaltInvocationError`` for a wrong argument or setting. Raises ``CommandExecutionError`` when no "
        "candidate replies within ``timeout``, when too few do, when they contradict each other, when there is no such "
        "entry, and when the servers cannot answer.",
        f"{_CANCELLED}, it raises ``CommandExecutionError``. {_AGAIN}",
    ),
    "asking state": (
        "Whatever goes wrong is ``result: False`` and one line that says what: a wrong argument, too few candidates "
        f"that reply, or candidates that contradict each other. A signal makes the state fail as well. {_AGAIN}",
    ),
    "asking runner": (
        "Raises ``CommandExecutionError`` for a wrong argument or setting.",
        f"{_CANCELLED}, it raises ``CommandExecutionError``. {_AGAIN}",
    ),
    "state": (f"{_FAILS} A signal that comes while it waits for a server is such a failure. {_GOES_ON}",),
    "waiting state": (
        _FAILS,
        "A signal that comes while the state waits (Ctrl-C, ``saltutil.term_job``) makes it stop waiting and fail; it "
        f"leaves nothing in the queue, and none of the states after it is run. {_GOES_ON}",
    ),
}


def documented(*parameters: str, errors: str | None = None, creates: bool = False) -> Callable[[_Function], _Function]:
    """
    Add to a function's docstring the texts that it shares with others.

    The texts of the `parameters` come after the parameters that the docstring describes itself. What becomes of
    `errors`, signals and lost connections comes before its example. `creates` tells whether the function makes znodes,
    so that ``default_acl`` has a meaning. The function itself is returned, not a wrapper: Salt looks at the arguments
    of a function that it finds, and pickles it.
    """

    def add(function: _Function) -> _Function:
        if function.__doc__ is None:  # as with `python -OO`
            return function
        known = inspect.signature(function).parameters
        words = {
            "hosts": "hosts" if "hosts" in known else "zk_hosts",
            "owner": _OWNER[creates],
            "default_acl": _filled(_DEFAULT_ACL[creates], indent="    "),
            "most": "It is obeyed through an outage. Default:" if errors == "write" else "At most, and by default,",
            "limit": _WITHIN if errors == "wait" else "``timeout``" if "timeout" in known else "``connect_timeout``",
        }
        own = re.split(r"\n\n(?=\S)", inspect.cleandoc(function.__doc__))
        described = [number for number, block in enumerate(own, 1) if re.match(r"\w+(, \w+)*\n    ", block)]
        middle = described[-1] if described else 1
        end = next((number for number, block in enumerate(own) if _is_example(block)), len(own))
        shared = [Template(inspect.cleandoc(_PARAMETERS[name])).substitute(words) for name in parameters]
        failures = [_filled(Template(text).substitute(words)) for text in (_ERRORS[errors] if errors else ())]
        text = "\n\n".join([*own[:middle], *shared, *own[middle:end], *failures, *own[end:]])
        function.__doc__ = f"\n{textwrap.indent(text, '    ')}\n    "
        return function

    return add


def _is_example(block: str) -> bool:
    return block.startswith(("CLI Example:", ".. code-block::"))


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(" ".join(text.split()), 112, subsequent_indent=indent, break_on_hyphens=False)
