"""The checker finds each kind of violation where one is planted, and nothing where there is none."""

import pytest

from faults.checker import ANSWER, LEFTOVER, LIMIT, ORDER, TURN, check, replay
from faults.history import Call
from faults.txnlog import Change, Transaction

POOL = "/p"
A, B, C = 0xA, 0xB, 0xC  # sessions


class Story:
    """Transactions and calls in the order in which they are told."""

    def __init__(self, limit=1):
        self.steps = []
        self.calls = []
        self.began = {}
        self.places = {}
        self.step(0, Change("create", POOL, str(limit).encode()), Change("create", f"{POOL}-__lock__"))

    @property
    def now(self):
        return len(self.steps)

    def step(self, session, *changes, cxid=1):
        self.steps.append(Transaction(len(self.steps) + 1, session, cxid, changes))
        return self.now

    def enter(self, who, session, ephemeral=True):
        path = f"{POOL}-__lock__/{who}__lock__{self.now:010}"
        self.places[who] = path
        return self.step(session, Change("create", path, who.encode(), ephemeral))

    def leave(self, who, session):
        self.step(session, Change("delete", self.places.pop(who)))

    def take(self, who, session, ephemeral=False, place=True):
        changes = [Change("create", f"{POOL}/{who}", who.encode(), ephemeral)]
        if place:
            changes.append(Change("delete", self.places.pop(who)))
        return self.step(session, *changes)

    def free(self, who, session):
        self.step(session, Change("delete", f"{POOL}/{who}"))

    def end(self, session):
        self.step(session, Change("close"), cxid=0)

    def told(self, who, op, answer, kind="ours", **more):
        """A call that began where the one before it ended, and is answered now."""
        end = self.step(0, Change("set", "/marks"))
        self.calls.append(Call(who, kind, op, POOL, self.began.get(who, 0), end, answer, **more))
        self.began[who] = end

    def silent(self, who, op):
        self.calls.append(Call(who, "ours", op, POOL, self.began.get(who, 0), None, None))

    def turn(self, who, session, **more):
        self.enter(who, session)
        self.take(who, session)
        self.told(who, "lock", "True", **more)
        self.free(who, session)
        self.told(who, "unlock", "True")

    @property
    def found(self):
        return {(it.rule, it.identifier) for it in check(replay(self.steps, [POOL]), self.calls)}


@pytest.fixture
def story():
    return Story()


def test_turns_after_the_protocol_are_in_order(story):
    story.turn("a", A)
    story.enter("a", A)
    story.enter("b", B)
    story.take("a", A)
    story.told("a", "lock", "True")
    story.enter("c", C)
    story.leave("c", C)
    story.told("c", "lock", "False")
    story.free("a", A)
    story.take("b", B, ephemeral=True)
    story.told("b", "lock", "True", last=True)
    story.end(B)
    story.told("b", "unlock", "False")
    story.told("a", "unlock", "True")
    assert story.found == set()


def test_a_lease_too_many(story):
    story.enter("a", A)
    story.take("a", A)
    story.enter("b", B)
    story.take("b", B)
    story.told("a", "lock", "True")
    story.told("b", "lock", "True")
    story.free("a", A)
    story.free("b", B)
    assert story.found == {(LIMIT, "b")}


def test_the_limit_is_the_one_stored_at_that_time(story):
    story.step(0, Change("set", POOL, b"2"))
    story.enter("a", A)
    story.take("a", A)
    story.enter("b", B)
    story.take("b", B)
    story.told("a", "lock", "True")
    story.told("b", "lock", "True")
    story.free("a", A)
    story.free("b", B)
    assert story.found == set()


def test_force_may_exceed_the_limit_and_pass_the_queue(story):
    story.enter("a", A)
    story.take("a", A)
    story.told("a", "lock", "True")
    story.enter("c", C)
    story.take("b", B, place=False)
    story.told("b", "lock", "True", force=True)
    story.free("a", A)
    story.take("c", C)
    story.told("c", "lock", "True")
    story.free("b", B)
    story.free("c", C)
    assert story.found == set()


def share(story, who, session):
    """A second lease of an identifier, beside the first."""
    story.enter(who, session)
    place = story.places.pop(who)
    changes = (Change("create", f"{POOL}/{who}-2", who.encode(), True), Change("delete", place))
    return story.step(session, *changes)


def test_a_second_lease_of_the_identifier_that_holds_the_slot_is_no_breach(story):
    story.enter("a", A)
    story.take("a", A)
    story.told("a", "lock", "True")
    share(story, "a", B)
    story.told("a", "lock", "True")
    story.free("a-2", B)
    story.free("a", A)
    story.told("a", "unlock", "True")
    assert story.found == set()


def test_a_second_lease_of_an_identifier_whose_first_is_gone_is_a_breach_like_any_other(story):
    story.enter("a", A)
    story.take("a", A)
    story.told("a", "lock", "True")
    story.free("a", A)
    story.told("a", "unlock", "True")
    story.enter("b", C)
    story.take("b", C)
    story.told("b", "lock", "True")
    share(story, "a", B)
    story.told("a", "lock", "True")
    assert (LIMIT, "a") in story.found


def test_a_swap_for_a_lease_of_ones_own_is_no_addition(story):
    story.enter("a", A)
    story.take("a", A, ephemeral=True)
    story.told("a", "lock", "True")
    story.enter("b", B)
    old = Change("delete", f"{POOL}/a")
    story.step(C, old, Change("create", f"{POOL}/a-2", b"a"))
    story.told("a", "lock", "True")
    story.step(C, Change("delete", f"{POOL}/a-2"))
    story.leave("b", B)
    story.told("b", "lock", "False")
    assert story.found == set()


@pytest.mark.parametrize("answer", ["False", "Unreachable", "LockTimeout"])
def test_who_was_told_no_and_holds_one(story, answer):
    story.enter("a", A)
    story.take("a", A)
    story.told("a", "lock", answer)
    story.free("a", A)
    story.told("a", "unlock", "True")
    assert story.found == {(ANSWER, "a")}


def test_who_was_told_that_it_may_hold_one(story):
    """Its request may even be carried out after the answer."""
    story.enter("a", A)
    story.told("a", "lock", "ConnectionLost")
    story.take("a", A)
    story.free("a", A)
    story.told("a", "unlock", "True")
    assert story.found == set()


def test_who_was_told_true_and_holds_none(story):
    story.enter("a", A)
    story.leave("a", A)
    story.told("a", "lock", "True")
    assert story.found == {(ANSWER, "a")}


def test_who_was_told_true_and_lost_its_session_before_it_could_say_so(story):
    story.enter("a", A)
    story.take("a", A, ephemeral=True)
    story.end(A)
    story.told("a", "lock", "True")
    assert story.found == set()


@pytest.mark.parametrize("ephemeral", [True, False])
def test_who_was_told_true_and_whose_next_session_has_deleted_what_the_last_one_left(story, ephemeral):
    story.enter("a", A)
    story.take("a", A, ephemeral=ephemeral)
    story.free("a", B)
    story.told("a", "lock", "True")
    assert story.found == (set() if ephemeral else {(ANSWER, "a")})


@pytest.mark.parametrize("kind", ["holder", "ours"])
def test_a_hold_that_counts_as_lost_while_the_servers_keep_its_session(story, kind):
    story.enter("a", A)
    story.take("a", A, ephemeral=True)
    story.told("a", "lock", "True", kind)
    story.free("a", B)
    story.told("a", "unlock", "False", kind)
    assert story.found == (set() if kind == "holder" else {(ANSWER, "a")})


def test_a_fencing_token_of_another_lease(story):
    story.enter("a", A)
    token = story.take("a", A)
    story.told("a", "lock", "True", token=token)
    story.told("a", "lock", "True", token=token + 1)
    story.free("a", A)
    assert story.found == {(ANSWER, "a")}


@pytest.mark.parametrize("answer", ["True", "False"])
def test_an_unlock_that_left_the_lease(story, answer):
    story.enter("a", A)
    story.take("a", A)
    story.told("a", "lock", "True")
    story.told("a", "unlock", answer)
    story.free("a", A)
    assert story.found == {(ANSWER, "a")}


def test_an_unlock_that_freed_and_denied_it(story):
    story.enter("a", A)
    story.take("a", A)
    story.told("a", "lock", "True")
    story.free("a", A)
    story.told("a", "unlock", "False")
    assert story.found == {(ANSWER, "a")}


def test_who_passes_the_queue(story):
    story.enter("a", A)
    story.enter("b", B)
    story.take("b", B)
    story.told("b", "lock", "True")
    story.free("b", B)
    story.take("a", A)
    story.told("a", "lock", "True")
    story.free("a", A)
    assert story.found == {(ORDER, "b")}


def test_who_does_not_queue(story):
    story.take("a", A, place=False)
    story.told("a", "lock", "True")
    story.free("a", A)
    assert story.found == {(ORDER, "a")}


def test_kazoo_writes_identifiers_in_its_queue_as_python_does(story):
    path = f"{POOL}-__lock__/k__lock__0000000001"
    story.step(A, Change("create", path, b"b'a'", True))
    story.take("a", A, place=False)
    story.step(A, Change("delete", path))
    story.told("a", "lock", "True")
    story.free("a", A)
    assert story.found == set()


def test_who_loses_its_place_and_queues_again_in_the_same_session(story):
    story.enter("a", A)
    story.leave("a", A)
    story.turn("a", A)
    assert story.found == {(ORDER, "a")}


def test_who_queues_again_after_its_session_ended_or_with_its_lease_taken(story):
    story.enter("a", A)
    story.end(A)
    story.turn("a", B)
    story.enter("a", B)
    story.take("a", B)
    story.enter("a", B)
    story.leave("a", B)
    story.told("a", "lock", "True")
    story.free("a", B)
    assert story.found == set()


def test_a_place_that_does_not_end_with_its_session(story):
    story.enter("a", A, ephemeral=False)
    story.end(A)
    story.silent("a", "lock")
    assert story.found == {(LEFTOVER, "a")}


def test_a_place_that_is_left_at_the_end(story):
    story.enter("a", A)
    story.silent("a", "lock")
    assert story.found == {(LEFTOVER, "a")}


@pytest.mark.parametrize("late", [False, True])
def test_a_place_that_blocks_the_queue_for_as_long_as_its_session_lives(story, late):
    """Also if it was made after the answer, by a request that had been on its way."""
    story.told("a", "lock", "False") if late else None
    story.enter("a", A)
    place = story.places.pop("a")
    story.told("a", "lock" if not late else "unlock", "False")
    for _ in range(3):
        story.enter("a", A)
        story.leave("a", A)
    story.told("a", "lock", "False")
    story.end(A)
    assert (LEFTOVER, "a") in story.found
    story.steps[-2] = story.steps[-2]._replace(session=A, changes=(Change("delete", place),))
    assert (LEFTOVER, "a") not in story.found


def test_a_place_left_by_one_who_holds_a_slot(story):
    story.enter("a", A)
    story.enter("a", A)
    story.take("a", A)
    story.told("a", "lock", "True")
    story.end(A)
    story.free("a", A)
    assert (LEFTOVER, "a") in story.found


def test_a_lease_that_nobody_asked_for(story):
    story.turn("a", A)
    story.enter("a", A)
    story.take("a", A)
    story.free("a", A)
    story.told("a", "unlock", "True")
    assert story.found == {(LEFTOVER, "a")}


def test_a_lease_of_the_dead_is_explained_but_must_not_stay(story):
    story.enter("a", A)
    story.take("a", A)
    story.silent("a", "lock")
    assert story.found == {(LEFTOVER, "a")}
    story.free("a", A)
    assert story.found == set()


@pytest.mark.parametrize("answer", ["False", "Unreachable"])
def test_who_gets_no_turn_although_nothing_is_wrong_any_more(story, answer):
    story.told("a", "lock", answer, last=True)
    story.told("b", "lock", answer)
    assert story.found == {(TURN, "a")}


def test_who_is_not_answered_although_nothing_is_wrong_any_more(story):
    story.calls.append(Call("a", "ours", "lock", POOL, 0, None, None, last=True))
    assert story.found == {(TURN, "a")}
