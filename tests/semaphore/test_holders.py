"""`lock_holders` on a real ensemble."""

from zkcoord import lock, lock_holders


def test_what_the_stock_module_ignores_changes_nothing(hosts, root):
    lock(root, hosts, identifier="a")
    assert lock_holders(root, hosts, "b", 7, 1, True) == ["a"]
    assert lock(root, hosts, identifier="b", timeout=0) is False, "reading has not poisoned the limit"


def test_a_thousand_holders_and_more_are_listed(hosts, root, zk):
    zk.create(root)
    names = [f"{number:032x}" for number in range(1500)]
    for start in range(0, len(names), 500):
        transaction = zk.transaction()
        for name in names[start : start + 500]:
            transaction.create(f"{root}/{name}", name.encode())
        transaction.commit()
    assert sorted(lock_holders(root, hosts)) == names
    zk.delete(root, recursive=True)


def test_an_empty_identifier_of_kazoos_is_shown_as_it_is(hosts, root, zk):
    zk.create(f"{root}/{'0' * 32}", b"", makepath=True)
    assert lock_holders(root, hosts) == [""]
