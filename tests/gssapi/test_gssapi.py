"""SASL GSSAPI, with a real KDC and real servers: what a ticket is good for, and what is said where there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import zkcoord
from zkcoord import znode
from zkcoord.errors import ArgumentError, AuthFailed, Error, NoAuth, Unreachable
from zkcoord.testing import Ensemble

from tests.gssapi.conftest import TICKET
from tests.gssapi.realm import REALM

MINION = f"minion@{REALM}"
GET_ONE = "get one with kinit, or name a keytab in KRB5_CLIENT_KTNAME"


def patience(seconds: float) -> Callable[[str, object], object]:
    return lambda key, default=None: seconds if key == "zookeeper:connect_timeout" else default


# Longer than any test may take: who gives up before has not waited for it.
HOUR = {"config_get": patience(3600)}


def failure(kind: type[Error], hosts: str, **more: object) -> str:
    with pytest.raises(kind) as caught:
        zkcoord.lock("/p", hosts, identifier="a", **{**HOUR, **TICKET, **more})
    text = str(caught.value)
    assert "\n" not in text
    return text


class TestATicket:
    @pytest.fixture(params=["cache", "keytab"])
    def at(self, request, hosts, keytab, ticket, monkeypatch, tmp_path):
        """Where to, as one who has called kinit, or as one who has a keytab and no ticket yet."""
        if request.param == "cache":
            ticket()
        else:
            monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/tickets")
            monkeypatch.setenv("KRB5_CLIENT_KTNAME", f"FILE:{keytab}")
        return {"zk_hosts": hosts, **TICKET}

    def test_is_all_it_takes(self, at, root):
        assert zkcoord.lock(root, identifier="a", **at)
        assert zkcoord.lock_holders(root, **at) == ["a"]
        assert zkcoord.status(root, **at)["holders"][0]["identifier"] == "a"
        assert zkcoord.unlock(root, identifier="a", **at)
        assert zkcoord.lock_holders(root, **at) == []

    def test_names_the_owner(self, at, root):
        assert zkcoord.lock(root, identifier="a", default_acl="creator_all", **at)
        assert znode.get_acls(root, **at) == [(31, ("sasl", MINION))]


def test_others_are_kept_out(hosts, root, realm, ticket):
    at = {"zk_hosts": hosts, **TICKET}
    ticket()
    acl = [{"scheme": "sasl", "id": MINION, "perms": "cdrwa"}]
    assert zkcoord.lock(root, identifier="a", default_acl=acl, **at)
    zkcoord.close()
    ticket(principal="other", key=realm.keytab("other"))
    with pytest.raises(NoAuth, match="not permitted to read"):
        znode.get(root, **at)


class TestWithout:
    def test_a_ticket_nobody_waits(self, hosts, realm):
        assert failure(AuthFailed, hosts) == (
            f"{hosts} cannot be asked for /p: no Kerberos ticket for zookeeper@127.0.0.1: No Kerberos credentials "
            f"available (default cache: FILE:{realm.directory}/no-tickets); {GET_ONE}"
        )

    def test_a_ticket_that_is_valid(self, hosts, ticket):
        ticket("-l", "1s")
        time.sleep(2)
        assert failure(AuthFailed, hosts) == (
            f"{hosts} cannot be asked for /p: no Kerberos ticket for zookeeper@127.0.0.1: Ticket expired; {GET_ONE}"
        )

    def test_a_principal_of_the_servers_name(self, hosts, ticket):
        ticket()
        hosts = hosts.replace("127.0.0.1", "localhost")
        assert failure(AuthFailed, hosts) == (
            f"{hosts} cannot be asked for /p: no Kerberos ticket for zookeeper@localhost: Server zookeeper/localhost@"
            f"{REALM} not found in Kerberos database; the servers' principals must name them as the hosts do"
        )

    def test_the_key_that_the_servers_have(self, realm, kerberos, ticket):
        stale = kerberos._replace(principal=f"zookeeper/stale@{REALM}", keytab=realm.keytab("zookeeper/stale"))
        ticket()
        with Ensemble(1, sasl=stale) as ensemble:
            text = failure(AuthFailed, ensemble.hosts)
        assert text == (
            f"{ensemble.hosts} refused sasl:GSSAPI, on the way to /p: check the clocks, and that the servers' keytab "
            "has the newest key of the principal named as the hosts are"
        )

    def test_anything_of_kerberos_nobody_is_served(self, hosts):
        text = failure(AuthFailed, hosts, scheme=None, mechanism=None)
        assert "refused anonymous" in text


class TestAKdc:
    """What may pass is waited for, as servers are that do not answer."""

    @pytest.fixture
    def kdc(self, realm):
        """To be stopped."""
        yield realm
        realm.stop()
        realm.start()

    def test_that_is_gone_is_named_in_the_end(self, hosts, ticket, kdc):
        ticket()
        kdc.stop()
        text = failure(Unreachable, hosts, config_get=patience(1))
        assert f"no Kerberos ticket for zookeeper@127.0.0.1: Cannot contact any KDC for realm '{REALM}'; check" in text

    def test_that_is_gone_is_named_to_one_with_a_keytab(self, hosts, kdc, keytab, monkeypatch, tmp_path):
        monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/tickets")
        monkeypatch.setenv("KRB5_CLIENT_KTNAME", f"FILE:{keytab}")
        kdc.stop()
        assert "Cannot contact any KDC" in failure(Unreachable, hosts, config_get=patience(1))

    def test_that_comes_back_is_enough(self, hosts, root, ticket, kdc):
        ticket()
        kdc.stop()
        starting = threading.Timer(1, kdc.start)
        starting.start()
        assert zkcoord.lock(root, hosts, identifier="a", **TICKET)
        starting.join()

    def test_is_not_needed_again_for_a_server_that_there_is_a_ticket_for(self, hosts, root, ticket, kdc):
        ticket()
        assert zkcoord.lock(root, hosts, identifier="a", **TICKET)
        zkcoord.close()
        kdc.stop()
        assert zkcoord.lock_holders(root, hosts, **TICKET) == ["a"]

    @pytest.fixture
    def other(self):
        """A function that uses a session without Kerberos for some seconds, and fails if it is held up."""
        with Ensemble(1) as other:
            assert zkcoord.lock("/other", other.hosts, identifier="a")

            def use(seconds: float) -> None:
                end = time.monotonic() + seconds
                while (asked := time.monotonic()) < end:
                    assert zkcoord.lock_holders("/other", other.hosts) == ["a"]
                    assert time.monotonic() - asked < 1
                    time.sleep(0.1)

            yield use
            zkcoord.close()

    def test_that_does_not_answer_holds_up_nobody_else(self, hosts, ticket, kdc, other):
        ticket()
        errors: list[str] = []
        waiting = threading.Thread(target=lambda: errors.append(failure(Unreachable, hosts, config_get=patience(2))))
        with kdc.frozen():
            waiting.start()
            other(3)
            assert not waiting.is_alive()
        assert "no answer from Kerberos yet about tickets for zookeeper@127.0.0.1; check" in errors[0]


class TestServersThatDoNot:
    def test_do_sasl_are_not_used(self, ticket):
        ticket()
        with Ensemble(1) as ensemble:
            text = failure(AuthFailed, ensemble.hosts)
        assert text == (
            f"{ensemble.hosts} refused sasl:GSSAPI, on the way to /p: it knows no such user: SASL is off there, or "
            "lets in those who fail"
        )

    def test_do_kerberos_do_not_say_so(self, ticket):
        ticket()
        with Ensemble(1, sasl={"salt": "secret"}) as ensemble:
            text = failure(Unreachable, ensemble.hosts, config_get=patience(2))
        assert text.endswith("and that its SASL is Kerberos, not DIGEST-MD5")


class TestASession:
    def test_outlives_the_leader_and_needs_no_kdc_for_that(self, ensemble, hosts, root, realm, ticket):
        at = {"zk_hosts": hosts, **TICKET}
        ticket()
        assert zkcoord.lock(root, identifier="a", ephemeral_lease=True, **at)
        before = [it["session"] for it in zkcoord.status(root, **at)["holders"]]
        for _ in range(2):  # whichever server it was connected to
            leader = ensemble.leader()
            realm.stop()
            try:
                leader.kill()
                assert [it["session"] for it in zkcoord.status(root, **HOUR, **at)["holders"]] == before
            finally:
                realm.start()  # without it the server would not start
                leader.start()
            ensemble.wait_ready()
        assert zkcoord.unlock(root, identifier="a", **at)

    def test_outlives_its_ticket_and_takes_a_new_one_to_connect_again(
        self, ensemble, hosts, root, realm, keytab, ticket
    ):
        at = {"zk_hosts": hosts, **TICKET}
        path = ticket("-l", "2s")
        assert zkcoord.lock(root, identifier="a", ephemeral_lease=True, **at)
        before = [it["session"] for it in zkcoord.status(root, **at)["holders"]]
        time.sleep(3)
        assert zkcoord.lock_holders(root, **at) == ["a"]
        for server in ensemble.servers:
            server.restart()
        ensemble.wait_ready()
        text = failure(Unreachable, hosts, config_get=patience(2))
        assert f"no Kerberos ticket for zookeeper@127.0.0.1: Ticket expired; {GET_ONE}" in text
        realm.ticket("minion", keytab).rename(path)
        assert [it["session"] for it in zkcoord.status(root, **HOUR, **at)["holders"]] == before

    def test_is_not_that_of_a_forked_child(self, ensemble, hosts, root, ticket, script):
        ticket()
        parent = script("""
            zkcoord.lock(root, identifier="parent", max_concurrency=2, ephemeral_lease=True, **at)
            if (child := os.fork()) == 0:
                try:
                    print(zkcoord.lock(root, identifier="child", max_concurrency=2, ephemeral_lease=True, **at))
                    print(*sorted(zkcoord.lock_holders(root, **at)))
                    print(zkcoord.unlock(root, identifier="child", **at))
                    zkcoord.close()
                finally:
                    os._exit(7)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            print(*zkcoord.lock_holders(root, **at))
        """)
        assert parent.result().splitlines() == ["True", "child parent", "True", "7", "parent"]


@pytest.mark.parametrize(("argument", "value"), [("username", "minion"), ("password", "secret")])
def test_the_ticket_names_the_user_and_nothing_else_does(argument, value):
    with pytest.raises(ArgumentError, match=f"^{argument}: is not for GSSAPI"):
        zkcoord.lock("/p", "127.0.0.1:1", **TICKET, **{argument: value})
