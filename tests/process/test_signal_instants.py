"""A signal at whatever instant of a call is never lost: it is told, or its handler runs."""

import pytest

CALLS = {
    "lock": "zkcoord.lock(root, identifier='a', **at)",
    "lock anew": "zkcoord.lock(root, max_concurrency=9, **at)",
    "unlock": "zkcoord.unlock(root, identifier='c', **at)",
    "lock_holders": "zkcoord.lock_holders(root, **at)",
    "party_members": "zkcoord.party_members(root, min_nodes=1, blocking=True, timeout=0.003, **at)",
    "status": "zkcoord.status(root, **at)",
    "set_max": "zkcoord.set_max(root, 9, **at)",
    "hold": "zkcoord.hold(root, identifier='d', max_concurrency=9, **at)",
    "create": "zkcoord.znode.create(root + '-made-', sequence=True, **at)",
    "exists": "zkcoord.znode.exists(root, **at)",
    "get": "zkcoord.znode.get(root, **at)",
    "set": "zkcoord.znode.set(root + '-set', 'x', **at)",
    "delete": "zkcoord.znode.delete(root + '-none', recursive=True, **at)",
}


BEFORE = {"lock anew": "zkcoord.unlock(root, **quiet)"}
"""What comes before the call, and before the signal."""


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("call", CALLS)
def test_it_is_told_or_its_handler_runs(script, call, name, raises):
    """300 instants, within and around the call."""
    process = script(
        """
        import random
        import zkcoord.znode

        number, ran = getattr(signal, name), []
        quiet = dict(at)
        at["raise_on_signal"] = raises
        zkcoord.lock(root, identifier="a", max_concurrency=9, **quiet)
        zkcoord.znode.create(root + "-set", **quiet)
        signal.signal(number, lambda number, frame: ran.append(number))
        draw, ends = random.Random(name), {"answered": 0, "cancelled": 0}
        times = []
        for _ in range(5):
            exec(before)
            began = time.perf_counter()
            exec(call)
            times.append(time.perf_counter() - began)
        # So that about every second one comes while the call is under way, and others come after it.
        latest = min(0.004, 2 * min(times))
        for turn in range(instants):
            ran.clear()
            fire, delay = threading.Event(), draw.random() * latest

            def interrupt():
                fire.wait()
                time.sleep(delay)
                os.kill(os.getpid(), number)

            thread = threading.Thread(target=interrupt)
            thread.start()
            exec(before)
            end, answer = "answered", None
            try:
                fire.set()
                exec(call)
            except zkcoord.errors.Cancelled as error:
                end, answer = "cancelled", error.answer
                if name not in str(error):
                    say("in turn", turn, "it does not say so:", error)
            except zkcoord.errors.Unreachable:
                # Three milliseconds may be too short for an answer: that is what it has come to.
                if "party_members" not in call:
                    raise
            thread.join()
            time.sleep(0)  # for a handler that is still to run
            ends[end] += 1
            if end == "answered" and not ran:
                say("in turn", turn, "the signal is lost")
            if end == "cancelled" and raises and ran:
                say("in turn", turn, "the signal was told, and its handler ran as well")
            if end == "cancelled" and not raises and not ran:
                say("in turn", turn, "the handler did not run")
        say("done", ends["cancelled"] > 0)
        """,
        call=CALLS[call],
        before=BEFORE.get(call, ""),
        name=name,
        raises=raises,
        instants=300 if raises else 60,
    )
    told = process.result(60).split("\n")
    assert told[-1].startswith("done"), told
    assert told[:-1] == []
    if raises:
        assert told == ["done True"], "some came while the call was under way"
