"""
One host at a time in a state run, and a dead one ends by the clock
===================================================================

Take a timed lease before the states that only one host may run, renew the lease however long they take, and give it
back after them. The execution module of the same name says what a lease is.

:depends: zkcoord

.. code-block:: yaml

    only one migrates:
      zk_lease.held:
        - name: /leases/prod/migration
        - duration: 1m
        - timeout: 600

    migrate:
      test.succeed_with_changes:
        - require:
          - zk_lease: only one migrates
"""

import logging

import salt.utils.atomicfile
from salt.exceptions import CommandExecutionError, SaltInvocationError
from salt.utils.args import clean_kwargs
from saltext.zkcoord.utils import config
from saltext.zkcoord.utils.documented import documented

try:
    from saltext.zkcoord.utils import runs
    from saltext.zkcoord.utils.lease_client import LeaseClient
    from saltext.zkcoord.utils.lease_runs import Loss
    from saltext.zkcoord.utils.terminal import shown
    from zkcoord.errors import Cancelled, ConnectionLost
except ImportError as err:
    _missing = str(err)
else:
    _missing = None

log = logging.getLogger(__name__)

__virtualname__ = "zk_lease"

# Seconds for giving a lease back when the process of a run ends.
_AT_END = 5


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


@documented("owner", "lease", "wait", "skew", "connection", errors="waiting state", creates=True)
def held(
    name,
    zk_hosts=None,
    owner=None,
    duration=60,
    timeout=None,
    keep_on_failure=False,
    token_file=None,
    max_clock_skew=1,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    Hold a lease from here to the end of the run, however that ends.

    name
        The record's znode; created when missing. The last part of the path is lower-cased.

    keep_on_failure
        ``True``: where the run fails, or does not come to its end, leave the lease to run out, and do not give it back.

    token_file
        A file into which the fencing token is written, for programs that act under the lease and hand the token on. The
        file is replaced as a whole, and only its owner can read it.

    States that need the lease ``require`` this one. The run's own process, that of the minion's job or of
    ``salt-call``, renews the lease, however long a state takes, and gives it back at the end of the run. If the process
    is killed, the lease ends ``duration`` after its last renewal.

    The lease is lost while the run goes on where no server was reached for that long, or where somebody has taken the
    lease away. Then the processes that the run has started since are ended, and the states after that fail without
    being run. The log has an error, and the event bus has ``lost``.

    When a run is terminated (Ctrl-C, ``saltutil.term_job``), the processes that it has started since are ended first,
    and the lease is given back after that, unless ``keep_on_failure`` is set.

    ``zk_lease.released`` gives the lease back before the end. ``held`` cannot be ``parallel`` itself; states that
    require it can. Nor can ``held`` be used in a minion with ``multiprocessing: False``.

    With ``test=True`` the comment tells whether the lease is free, or who holds it and for how long.

    .. code-block:: yaml

        a lease:
          zk_lease.held:
            - name: /leases/prod/migration
            - duration: 2m
            - timeout: 600
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    try:
        if __opts__["test"]:
            return _foretell(name, client, client.owner(owner))
        if not runs.has_process() or __low__.get("parallel"):
            why = "is parallel" if runs.has_process() else "is a thread of the minion (multiprocessing: False)"
            return _result(name, False, f"held needs the process of a run, and this {why}: use zk_lease.lock instead")
        key = _key(client, name, owner)
        if (own := runs.task(key)) is not None:
            is_held = own.lease.token is not None
            return _result(name, is_held, "lease held" if is_held else "the lease was lost since it was taken")
        run = runs.Run(__context__) if keep_on_failure else None
        loss = Loss(name)
        lease = client.locker(name, owner, duration, max_clock_skew, on_lost=loss)
        why = None if lease.lock(timeout) else f"no lease within {timeout} s, {client.held_by(name)}"
        why = why or (token_file is not None and _write(token_file, lease))
    except (CommandExecutionError, SaltInvocationError) as err:
        return _failed(name, err)
    if why:
        return _result(name, False, why)
    loss.guard()  # to the end of the process
    runs.at_end(key, _Held(f"{client.owner(owner)} at {name}", run, lease))
    token = lease.token
    # Where the lease is lost from here on, the core calls `loss`.
    why = f"lease held, fencing token {token}" if token else "the lease was lost as soon as it was taken"
    return _result(name, token is not None, why)


@documented("owner", "connection", errors="state")
def released(
    name,
    zk_hosts=None,
    owner=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    Give a lease back: the one that ``held`` has taken in this run, or else the owner's. To hold none is success, too.

    name
        The record's znode.

    With ``test=True`` the comment tells whether there is a lease to give back (else ``result: True``).

    .. code-block:: yaml

        give it back:
          zk_lease.released:
            - name: /leases/prod/migration
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    who = client.owner(owner)
    try:
        if __opts__["test"]:
            holder = client.lease("status", name)["holder"]
            is_here = holder is not None and holder["owner"] == who
            return _result(name, None if is_here else True, f"release the lease: {'held' if is_here else 'not held'}")
        own = runs.forget(_key(client, name, owner))
        given_back = own.give_back() if own else client.give_back(name, owner, None, None)
    except (CommandExecutionError, SaltInvocationError) as err:
        return _failed(name, err)
    return _result(name, True, "lease released" if given_back else "not held")


def _write(token_file, lease):
    """
    Write the fencing token into the file. Return why that failed, if it did; the lease is given back then.
    """
    token = lease.token
    if token is None:
        return "the lease was lost as soon as it was taken"
    try:
        with salt.utils.atomicfile.atomic_open(token_file, "w") as file:
            file.write(f"{token}\n")
    except (OSError, TypeError) as err:
        lease.give_back()
        return f"token_file: could not write {token_file}: {err}"
    return None


def _client(zk_hosts, profile, scheme, username, password, default_acl, **security):
    configuration = config.of_minion(__opts__, __grains__, __pillar__)
    who = {"scheme": scheme, "username": username, "password": password, "default_acl": default_acl}
    return LeaseClient(__salt__, __opts__, configuration, zk_hosts, profile, **who, **clean_kwargs(**security))


def _key(client, name, owner):
    """
    Return what tells one lease of this run from another. It is the same for all ways to write the lease's name.
    """
    return "lease", client.path(name), client.owner(owner), client.hosts


def _result(name, result, comment):
    return {"name": name, "changes": {}, "result": result, "comment": str(comment)}


def _failed(name, err):
    # The next states must not run: a signal has asked the run to end, or nobody knows whether it holds the lease.
    if isinstance(err.__cause__, Cancelled | ConnectionLost):
        runs.stop(__salt__)
    return _result(name, False, err)


def _foretell(name, client, owner):
    status = client.lease("status", name)
    holder, waiters = status["holder"], len(status["waiters"])
    behind = f", behind {waiters}" if waiters else ""
    if holder is None:
        return _result(name, None, f"take the lease: free{behind}")
    if holder["left"] <= 0:
        return _result(name, None, f"take the lease: that of {shown(holder['owner'])} is over{behind}")
    who = "another process of this minion" if holder["owner"] == owner else shown(holder["owner"])
    return _result(name, None, f"take the lease: held by {who} for {holder['left']:.0f} s more{behind}")


class _Held:
    """
    A lease that is held to the end of the run.
    """

    def __init__(self, whose, run, lease):
        self.whose, self.run, self.lease = whose, run, lease

    def give_back(self):
        """
        Give the lease back before the end.
        """
        return self.lease.give_back()

    def __call__(self):
        """
        Give the lease back at the end of the run, or leave it to run out.
        """
        if self.run is not None and not self.run.ended_well:
            log.warning("Left the lease of %s to run out: the run has failed, or did not come to its end", self.whose)
            return
        try:
            was_held = self.lease.give_back(_AT_END)
        except (CommandExecutionError, SaltInvocationError) as err:
            log.error(
                "Could not give back the lease of %s at the end of the run; it ends by itself: %s", self.whose, err
            )
            return
        if not was_held:
            log.error("Lost the lease of %s while the run went on: somebody else may have held it, too", self.whose)
