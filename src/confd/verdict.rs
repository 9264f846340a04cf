//! Which of the replies to a query is its answer, and whether they agree.

use super::reply::{same, Reply};

/// What the replies to one query amount to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict<'a> {
    /// The reply to believe: none where nobody has replied.
    pub answer: Option<&'a Reply>,
    /// No two replies contradict each other.
    pub is_consistent: bool,
}

/// The verdict on replies, in the order in which they came.
///
/// The answer is the newest of those that have one. Where several are as new and differ, it is what most of them say,
/// and the first of those; the replies are not consistent then. Where none has an answer, it is the error that most of them
/// give: "no such entry", where one says so, and not that a server cannot read its configuration.
#[must_use]
pub fn verdict<'a>(replies: &[&'a Reply]) -> Verdict<'a> {
    let is_better = |reply: &Reply, best: &Reply| {
        reply.outranks(best) || (!best.is_of_the_configuration() && reply.is_of_the_configuration())
    };
    let newest = replies.iter().copied().reduce(|best, reply| if is_better(reply, best) { reply } else { best });
    let is_consistent = replies
        .iter()
        .enumerate()
        .all(|(number, one)| replies.iter().skip(number.saturating_add(1)).all(|other| !one.contradicts(other)));
    let answer = newest.map(|newest| {
        let is_as_new = |reply: &&Reply| {
            reply.status == newest.status
                && reply.serial == newest.serial
                && reply.is_of_the_configuration() == newest.is_of_the_configuration()
        };
        let as_new = || replies.iter().copied().filter(is_as_new);
        let agreeing = |reply: &Reply| as_new().filter(|other| same(&other.answer, &reply.answer)).count();
        // Of equals the first: `max_by_key` would take the last.
        as_new().reduce(|best, reply| if agreeing(reply) > agreeing(best) { reply } else { best }).unwrap_or(newest)
    });
    Verdict { answer, is_consistent }
}
