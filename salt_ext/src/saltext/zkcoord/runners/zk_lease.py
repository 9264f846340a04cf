"""
Timed leases, from the master
=============================

See who holds which lease, and take a lease away before it is over, from a holder that is known to be dead.

:depends: zkcoord
:configuration: In the master's configuration, as for the runner ``zk_concurrency``.

Whatever goes wrong is one line, and the exit code of ``salt-run`` is 1.
"""

from saltext.zkcoord.utils import config
from saltext.zkcoord.utils.documented import documented

try:
    from saltext.zkcoord.utils.lease_master import MasterLeaseClient, shown
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

__virtualname__ = "zk_lease"


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


@documented("timeout", "connection", errors="runner")
def status(
    path,
    zk_hosts=None,
    timeout=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    Tell who holds a lease, since when and until when, how often it has changed hands, and who waits. Creates nothing.

    path
        The record's znode.

    Returns the dict of the execution module's ``zk_lease.status``. ``salt-run`` shows a table, unless there is an
    ``--out``.

    CLI Example:

    .. code-block:: bash

        salt-run zk_lease.status /leases/prod/migration
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return shown(__opts__, "status", client.lease("status", path, timeout=timeout))


@documented("timeout", "connection", errors="runner")
def list(
    path,
    zk_hosts=None,
    timeout=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    List the leases right below a path: who holds each, until when, and how many wait. Creates nothing.

    path
        Any znode, such as ``/leases/prod``. A child of it that is no lease is left out.

    Returns a list of dicts with ``path``, ``holder`` and ``transitions`` as in ``status``, and ``waiting``.

    CLI Example:

    .. code-block:: bash

        salt-run zk_lease.list /leases/prod
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return shown(__opts__, "list", client.lease("below", path, timeout=timeout))


@documented("timeout", "connection", "reason", errors="runner")
def unlock(
    path,
    zk_hosts=None,
    owner=None,
    timeout=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    reason=None,
    **security,
):
    """
    Give a lease back for its holder. Do so only where the holder is known to act no more: a holder that acts still
    learns that it has lost the lease, but perhaps not in time.

    path
        The record's znode.

    owner
        Whose lease it has to be. Default: whoever holds it.

    Returns ``True`` when this call has given the lease back. Returns ``False`` when nobody held it, or not ``owner``;
    an orchestration's state then fails.

    CLI Example:

    .. code-block:: bash

        salt-run zk_lease.unlock /leases/prod/migration owner=web1 reason='web1 has burnt down'
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    given_back = client.give_back(path, owner, timeout, reason, anybody=owner in (None, ""))
    __context__["retcode"] = 0 if given_back else 1
    return given_back


def _client(*connection, **security):
    return MasterLeaseClient(__salt__, __opts__, config.Configuration(__opts__), *connection, **security)
