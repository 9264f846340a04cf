"""
Joining and leaving parties: functions of the execution module ``zk_concurrency``, which has no room for them.

They look up ``_client`` and ``_with_retcode`` in the module that exposes them: hence ``noqa: F821``.
"""

from saltext.zkcoord.utils.documented import documented


@documented("timeout", "connection", errors="write", creates=True)
def party_join(
    path,
    zk_hosts=None,
    identifier=None,
    ephemeral=False,
    shallow=False,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    timeout=None,
    **security,
):
    """
    Make an identifier a member of a party. To join again changes nothing.

    path
        The party's znode; created when missing.

    identifier
        Who is listed; any text or number. Default: the host's name.

    ephemeral
        ``True``: the member is removed with this process, which is that of one ``salt-call`` or of one job or state
        run of a minion: states of one run can meet so, with ``min_party``. ``False``: it stays until ``party_leave``.

    shallow
        ``True``: kazoo's ``ShallowParty`` lists it; else kazoo's ``Party`` does. ``party_members`` lists both.

    Returns ``True``: the identifier is a member.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.party_join /lock/path host1:1234,host2:1234
        salt minion zk_concurrency.party_join /lock/path identifier=web1 profile=prod
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)  # noqa: F821
    return client.call("party_join", path, identifier=identifier, ephemeral=ephemeral, shallow=shallow, timeout=timeout)


@documented("timeout", "connection", errors="write")
def party_leave(
    path,
    zk_hosts=None,
    identifier=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    timeout=None,
    **security,
):
    """
    Remove an identifier from a party: all its members, from any process.

    path
        The party's znode.

    identifier
        Who leaves; any text or number. Default: the host's name.

    Returns ``True`` when the identifier was a member. Returns ``False`` when it was not; the exit code is then 1.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.party_leave /lock/path host1:1234,host2:1234
        salt minion zk_concurrency.party_leave /lock/path identifier=web1 profile=prod
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)  # noqa: F821
    return _with_retcode(client.call("party_leave", path, identifier=identifier, timeout=timeout))  # noqa: F821
