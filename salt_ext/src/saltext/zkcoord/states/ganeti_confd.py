"""
Act only where a Ganeti cluster is as it should be
==================================================

Gates for other states: they change nothing, and fail where the master candidates say something else, or do not agree.
The execution module of the same name describes the configuration.

:depends: zkcoord

.. code-block:: yaml

    node1 is the master:
      ganeti_confd.master_is:
        - name: node1.example.com
        - coverage: -1
        - replies: -1
        - retry:
            attempts: 10
            interval: 30

With ``retry`` a gate asks again until it holds. With ``coverage: -1`` and ``replies: -1`` it holds only if every
candidate that is configured, or that this node has heard of, tells the same. A candidate that replies that it cannot
read its configuration tells nothing, and the gate does not hold.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError
from saltext.zkcoord.utils.documented import documented

try:
    from saltext.zkcoord.utils.terminal import shown
except ImportError as err:
    _missing = str(err)
else:
    _missing = None

__virtualname__ = "ganeti_confd"

_ROLES = ("master", "candidate", "offline", "drained", "regular")


def __virtual__():
    if _missing is None and "ganeti_confd.cluster_master" in __salt__:
        return __virtualname__
    return (False, _missing or "the ganeti_confd execution module is not there")


@documented("asking", errors="asking state")
def master_is(
    name,
    profile=None,
    coverage=None,
    replies=None,
    timeout=None,
    require_quorum=True,
    require_consistent=True,
):
    """
    A gate that holds where a node is the master of its cluster.

    name
        The node's full name.

    With ``test=True`` the state asks as well. Where it would fail because another node is the master, the result is
    ``None``.

    .. code-block:: yaml

        node1.example.com:
          ganeti_confd.master_is: []
    """
    how = _how(profile, coverage, replies, timeout, require_quorum, require_consistent)

    def ask():
        master = __salt__["ganeti_confd.cluster_master"](**how)
        return master == name, f"the master is {shown(master)}", f"and not {shown(name)}"

    return _gate(name, ask)


@documented("asking", errors="asking state")
def role_is(
    name,
    role,
    profile=None,
    coverage=None,
    replies=None,
    timeout=None,
    require_quorum=True,
    require_consistent=True,
):
    """
    A gate that holds where a node has a role in its cluster.

    name
        The node's name, in full or up to a dot. The master is known by either.

    role
        ``master``, ``candidate``, ``offline``, ``drained`` or ``regular``, or a list of those that will do.

    With ``test=True`` the state asks as well. Where it would fail because the node has another role, the result is
    ``None``.

    .. code-block:: yaml

        node3.example.com:
          ganeti_confd.role_is:
            - role: [candidate, regular]
    """
    roles = role if isinstance(role, list) else [role]
    wrong = [each for each in roles if each not in _ROLES]
    if wrong or not roles:
        return _ret(name, False, f"role: must be one of {', '.join(_ROLES)}, or a list of them")
    how = _how(profile, coverage, replies, timeout, require_quorum, require_consistent)

    def ask():
        found = __salt__["ganeti_confd.node_role_by_name"](name, **how)
        return found in roles, f"{shown(name)} is {shown(found)}", f"and not {' or '.join(roles)}"

    return _gate(name, ask)


@documented("asking", errors="asking state")
def instance_on(
    name,
    node,
    profile=None,
    coverage=None,
    replies=None,
    timeout=None,
    require_quorum=True,
    require_consistent=True,
):
    """
    A gate that holds where a node is the primary node of an instance.

    name
        The instance's full name.

    node
        The node's full name.

    With ``test=True`` the state asks as well. Where it would fail because the instance is elsewhere, the result is
    ``None``.

    A candidate answers with all instances of the node, in one datagram. Some dozens of instances are longer than a
    datagram can be, 65,507 bytes. Then no candidate answers, and the gate does not hold.

    .. code-block:: yaml

        web1.example.com:
          ganeti_confd.instance_on:
            - node: node3.example.com
    """
    how = _how(profile, coverage, replies, timeout, require_quorum, require_consistent)

    def ask():
        there = __salt__["ganeti_confd.node_instances"](node, **how)
        is_there = any(each.get("name") == name for each in there["primary"])
        is_second = any(each.get("name") == name for each in there["secondary"])
        where = "is on" if is_there else "has for its secondary node" if is_second else "is not on"
        return is_there, f"{shown(name)} {where} {shown(node)}", "and is to run there"

    return _gate(name, ask)


def _how(profile, coverage, replies, timeout, require_quorum, require_consistent):
    return {
        "profile": profile,
        "coverage": coverage,
        "replies": replies,
        "timeout": timeout,
        "require_quorum": require_quorum,
        "require_consistent": require_consistent,
    }


def _gate(name, ask):
    """
    Ask, and tell what was seen. `ask` answers whether it is as it should be, what is so, and what is wrong with that.
    """
    try:
        holds, seen, wrong = ask()
    except (CommandExecutionError, SaltInvocationError) as err:
        return _ret(name, False, str(err))
    if holds:
        return _ret(name, True, seen)
    return _ret(name, None if __opts__["test"] else False, f"{seen}, {wrong}")


def _ret(name, result, comment):
    return {"name": name, "result": result, "changes": {}, "comment": comment}
