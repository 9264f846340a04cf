//! What the peers have replied to one query, and what of it can be trusted. Pure.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use super::packet::Discard;
use super::reply::{same, Reply, Status};
use super::verdict::verdict;
use crate::error::{Error, Result, Untrusted};

/// Characters of a text that a message shows.
const LONGEST: usize = 60;
/// Peers that a message names.
const MOST_NAMED: usize = 7;
/// Discarded datagrams that a message tells of.
const MOST_DISCARDED: usize = 3;

/// A peer that was asked.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where.
    pub address: IpAddr,
    /// What it has replied, and how long after the request.
    pub reply: Option<(Reply, Duration)>,
    /// Why it could not be sent to.
    pub trouble: Option<String>,
}

/// How a peer stands to the reply to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has that one.
    Current,
    /// It has an older one.
    Stale,
    /// It has another one, that is as new.
    Contradicts,
    /// It answers with an error.
    Broken,
    /// It has not replied.
    Silent,
}

impl Standing {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Stale => "stale",
            Self::Contradicts => "contradicts",
            Self::Broken => "broken",
            Self::Silent => "silent",
        }
    }
}

/// What has come back from one query.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the type of the request is called.
    pub name: &'static str,
    /// What was asked for.
    pub query: Value,
    /// The peers that were asked.
    pub peers: Vec<Peer>,
    /// The replies of some of them, in the order in which they came: indices into `peers`.
    pub order: Vec<usize>,
    /// How many replies were waited for.
    pub needed: usize,
    /// For how long.
    pub timeout: Duration,
    /// Who sent what was discarded, and why it was.
    pub discarded: Vec<(IpAddr, Discard)>,
    /// The key seems to have lost its newline. No server answers to that.
    pub is_key_stripped: bool,
}

impl Answer {
    /// The reply to believe, and whether no two peers contradict each other.
    #[must_use]
    pub fn verdict(&self) -> (Option<&Reply>, bool) {
        let replies: Vec<&Reply> = self.order.iter().filter_map(|index| self.reply_of(*index)).collect();
        let found = verdict(&replies);
        (found.answer, found.is_consistent)
    }

    fn reply_of(&self, index: usize) -> Option<&Reply> {
        self.peers.get(index)?.reply.as_ref().map(|(reply, _)| reply)
    }

    /// How a peer stands to the reply to believe.
    #[must_use]
    pub fn standing(&self, peer: &Peer) -> Standing {
        let best = self.verdict().0;
        match (&peer.reply, best) {
            (None, _) | (_, None) => Standing::Silent,
            (Some((own, _)), _) if !own.is_ok() => Standing::Broken,
            (Some((own, _)), Some(best)) if own.serial != best.serial => Standing::Stale,
            (Some((own, _)), Some(best)) if same(&own.answer, &best.answer) => Standing::Current,
            _ => Standing::Contradicts,
        }
    }

    /// How many have replied.
    #[must_use]
    pub fn replied(&self) -> usize {
        self.peers.iter().filter(|peer| peer.reply.is_some()).count()
    }

    /// How many of the replies tell of the cluster. The others are errors of the servers' own, such as a configuration
    /// that they cannot read.
    #[must_use]
    pub fn answered(&self) -> usize {
        let has_answered = |peer: &&Peer| peer.reply.as_ref().is_some_and(|(reply, _)| reply.is_of_the_configuration());
        self.peers.iter().filter(has_answered).count()
    }

    /// Whether the time was up before enough had come that tell of the cluster, or all had replied.
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        self.answered() < self.needed && self.replied() < self.peers.len()
    }

    /// The answer, if it can be trusted.
    ///
    /// # Errors
    /// [`Error::Confd`]: nobody has replied, or not as many as were waited for, or they contradict each other; or there is
    /// no such entry, or the servers cannot answer.
    pub fn result(&self) -> Result<&Value> {
        let seconds = self.timeout.as_secs_f64();
        let name = self.name;
        let untrusted = |untrusted, reason| Err(Error::Confd { untrusted, reason });
        let (reply, is_consistent) = self.verdict();
        let Some(reply) = reply else {
            let all = named(self.peers.iter());
            let advice = self.advice();
            let reason = format!("no ganeti-confd answered {name} within {seconds} s, asked {all}: {advice}");
            return untrusted(Untrusted::NoReply, reason);
        };
        // Where all have replied, and none can answer, it is the error of the servers.
        let answered = self.answered();
        if self.is_timed_out() || (answered > 0 && answered < self.needed) {
            return untrusted(Untrusted::TooFew, self.shortage());
        }
        if !is_consistent {
            let reason = format!(
                "the master candidates contradict each other about {name}: {}; ask again, and compare their \
                 configurations if that does not help",
                self.positions()
            );
            return untrusted(Untrusted::Inconsistent, reason);
        }
        if reply.is_ok() {
            return Ok(&reply.answer);
        }
        let of = if self.query.is_null() { String::new() } else { format!(" of {}", shown(&self.query)) };
        if reply.is_no_such_entry() {
            return untrusted(Untrusted::NoSuchEntry, format!("ganeti-confd knows no such entry: {name}{of}"));
        }
        let why = shown(&reply.answer);
        untrusted(Untrusted::Refused, format!("ganeti-confd could not answer {name}{of}: {why}"))
    }

    /// The error for an answer that is none to the question, whatever the server's status is.
    #[must_use]
    pub fn unexpected(&self) -> Error {
        let answer = self.verdict().0.map(|reply| shown(&reply.answer)).unwrap_or_default();
        let reason = format!("ganeti-confd answered {} with {answer}, which is no answer to that", self.name);
        Error::Confd { untrusted: Untrusted::Refused, reason }
    }

    fn shortage(&self) -> String {
        let (replied, asked) = (self.replied(), self.peers.len());
        let within =
            if self.is_timed_out() { format!(" within {} s", self.timeout.as_secs_f64()) } else { String::new() };
        let broken = replied - self.answered();
        let unable = if broken > 0 { format!(", {broken} of them with an error of its own") } else { String::new() };
        let silent = named(self.peers.iter().filter(|peer| peer.reply.is_none()));
        let silent = if silent.is_empty() { silent } else { format!("; silent: {silent}") };
        let errors = self.peers.iter().filter_map(|peer| Some((peer.address, &peer.reply.as_ref()?.0)));
        let errors: String = errors
            .filter(|(_, reply)| !reply.is_of_the_configuration())
            .take(MOST_NAMED)
            .map(|(address, reply)| format!("; {address}: {}", shown(&reply.answer)))
            .collect();
        let (name, needed, troubles) = (self.name, self.needed, self.troubles());
        format!(
            "{replied} of {asked} peers replied to {name}{within}{unable}, and {needed} replies are \
             needed{silent}{errors}{troubles}"
        )
    }

    fn advice(&self) -> String {
        if !self.discarded.is_empty() {
            let first = self.discarded.iter().take(MOST_DISCARDED);
            let reasons: Vec<_> =
                first.map(|(from, reason)| format!("a datagram from {from} was discarded: {reason}")).collect();
            return reasons.join("; ");
        }
        let troubles = self.troubles();
        if let Some(troubles) = troubles.strip_prefix("; ") {
            return troubles.to_owned();
        }
        let advice = if self.is_key_stripped {
            "the key has no newline at its end, and the content of hmac.key has one that is part of the key"
        } else {
            "check that ganeti-confd runs there, that the key is the cluster's, and that the clocks differ by less than \
             300 s: it answers nothing to any other"
        };
        advice.to_owned()
    }

    fn troubles(&self) -> String {
        let troubled = self.peers.iter().filter_map(|peer| Some((peer.address, peer.trouble.as_ref()?)));
        troubled.map(|(address, trouble)| format!("; {address} could not be sent to: {trouble}")).collect()
    }

    fn positions(&self) -> String {
        let replies: Vec<_> =
            self.peers.iter().filter_map(|peer| Some((peer.address, &peer.reply.as_ref()?.0))).collect();
        let parts: Vec<_> = replies
            .iter()
            .take(MOST_NAMED)
            .map(|(address, reply)| match reply.status {
                Status::Ok => format!("{address} has {} (serial {})", shown(&reply.answer), reply.serial),
                _ => format!("{address} has the error {}", shown(&reply.answer)),
            })
            .collect();
        parts.join(", ") + more(replies.len())
    }
}

/// A value for a message: in one line, in ASCII, and no more of a list or an object than its length. What is in those may
/// be secret.
#[must_use]
pub fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(parts) => format!("an object of {}", parts.len()),
        Value::String(text) => {
            let escaped: String = text.chars().flat_map(char::escape_default).take(LONGEST).collect();
            let rest = if text.chars().flat_map(char::escape_default).count() > LONGEST { "..." } else { "" };
            format!("\"{escaped}{rest}\"")
        }
        value => value.to_string(),
    }
}

fn named<'a>(peers: impl Iterator<Item = &'a Peer>) -> String {
    let names: Vec<_> = peers.map(|peer| peer.address.to_string()).collect();
    names.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ") + more(names.len())
}

fn more(count: usize) -> &'static str {
    if count > MOST_NAMED {
        ", ..."
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn reply(status: Status, answer: Value, serial: i64) -> Option<(Reply, Duration)> {
        Some((Reply { status, answer, serial }, Duration::from_millis(1)))
    }

    fn answer(replies: Vec<Option<(Reply, Duration)>>) -> Answer {
        let peers: Vec<_> = replies
            .into_iter()
            .zip(1u8..)
            .map(|(reply, number)| Peer { address: [192, 0, 2, number].into(), reply, trouble: None })
            .collect();
        let order = (0..peers.len()).filter(|index| peers[*index].reply.is_some()).collect();
        Answer {
            name: "cluster_master",
            query: Value::Null,
            needed: peers.len(),
            peers,
            order,
            timeout: Duration::from_secs(2),
            discarded: Vec::new(),
            is_key_stripped: false,
        }
    }

    fn error(answer: &Answer) -> (Untrusted, String) {
        match answer.result() {
            Err(Error::Confd { untrusted, reason }) => (untrusted, reason),
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn the_newest_answer_is_trusted() {
        let found = answer(vec![reply(Status::Ok, json!("a"), 4), reply(Status::Ok, json!("b"), 5)]);
        assert_eq!(found.result().unwrap(), &json!("b"));
    }

    #[test]
    fn each_peer_stands_to_the_newest_answer() {
        use Standing::{Broken, Contradicts, Current, Silent, Stale};
        let found = answer(vec![
            reply(Status::Ok, json!("a"), 4),
            reply(Status::Ok, json!("b"), 5),
            reply(Status::Ok, json!("b"), 5),
            reply(Status::Ok, json!("c"), 5),
            reply(Status::Error, json!("broken"), 0),
            None,
        ]);
        let standings: Vec<_> = found.peers.iter().map(|peer| found.standing(peer)).collect();
        assert_eq!(standings, [Stale, Current, Current, Contradicts, Broken, Silent]);
    }

    #[test]
    fn silence_comes_with_what_may_be_wrong() {
        let mut found = answer(vec![None, None]);
        let (kind, text) = error(&found);
        assert_eq!(kind, Untrusted::NoReply);
        let start = "no ganeti-confd answered cluster_master within 2 s, asked 192.0.2.1, 192.0.2.2: check that";
        assert!(text.starts_with(start), "{text}");
        found.is_key_stripped = true;
        assert!(error(&found).1.ends_with("one that is part of the key"));
        found.peers[0].trouble = Some("no route".into());
        assert!(error(&found).1.ends_with(": 192.0.2.1 could not be sent to: no route"));
        found.discarded = vec![([192, 0, 2, 9].into(), Discard::NotOpen)];
        assert!(error(&found).1.contains(": a datagram from 192.0.2.9 was discarded: "));
    }

    #[test]
    fn too_few_replies_are_no_answer() {
        let found = answer(vec![reply(Status::Ok, json!("a"), 4), None]);
        let text = "1 of 2 peers replied to cluster_master within 2 s, and 2 replies are needed; silent: 192.0.2.2";
        assert_eq!(error(&found), (Untrusted::TooFew, text.to_owned()));
    }

    #[test]
    fn a_contradiction_shows_nothing_of_what_may_be_secret() {
        let found = answer(vec![reply(Status::Ok, json!(["s3cret"]), 4), reply(Status::Ok, json!("b\u{1b}"), 4)]);
        let (kind, text) = error(&found);
        assert_eq!(kind, Untrusted::Inconsistent);
        assert!(
            text.contains(r#"192.0.2.1 has a list of 1 (serial 4), 192.0.2.2 has "b\u{1b}" (serial 4);"#),
            "{text}"
        );
    }

    #[test]
    fn what_no_server_has_is_an_error() {
        let mut found = answer(vec![reply(Status::Error, json!(0), 0)]);
        found.query = json!("web1");
        let text = "ganeti-confd knows no such entry: cluster_master of \"web1\"";
        assert_eq!(error(&found), (Untrusted::NoSuchEntry, text.to_owned()));
        let found = answer(vec![reply(Status::NotImplemented, json!(1), 0)]);
        assert_eq!(error(&found).0, Untrusted::Refused);
        let long = shown(&json!("x".repeat(100)));
        assert_eq!(long.len(), 65);
    }
}
