//! What a Ganeti cluster knows of itself: questions to ganeti-confd on its master candidates, and which answer to
//! believe. It reads, and changes nothing. There is no ZooKeeper in it.
//!
//! A *peer* is the address of a master candidate. A *query* goes to several peers at once, in one datagram to each, and
//! each that is there sends a *reply*. A candidate may have an old configuration, so a query has enough replies before
//! it counts as answered, and the newest of them is its answer.
//!
//! # Datagrams
//!
//! ```text
//! plj0{"msg": "<JSON>", "salt": "<text>", "hmac": "<40 hex digits>"}    both ways, UDP, port 1814
//!
//! request   salt   the client's clock, in whole seconds since 1970
//!           msg    {"protocol": 1, "type": 0..11, "query": null, a text or an object, "rsalt": "<text>"}
//! reply     salt   the request's rsalt
//!           msg    {"protocol": 1, "status": 0..2, "answer": any JSON, "serial": n}
//!
//! hmac = HMAC-SHA1 of salt and msg, by the key in hmac.key, whose final newline is part of it
//! ```
//!
//! The server reads 4096 bytes of a request, and answers nothing to what it cannot read, to a wrong signature, and to a
//! clock that differs by more than 300 seconds. It sends each character beyond ASCII as one byte, cut to eight bits. So
//! a reply is read as UTF-8 and, where its signature does not fit, as Latin-1.
//!
//! # Invariants
//!
//! - A reply counts if its signature is the key's, its salt that of an open query, and its sender's address one that was
//!   asked. Anything else is one discarded datagram, with a reason, and changes nothing.
//! - A peer counts once, however often it replies. Each is asked under a salt of its own, so that one reply, sent again from
//!   the address of another peer, does not count for that one. Ganeti's client has one salt for all, and so has ours for
//!   scripts that were written for it.
//! - A query is answered with the last reply that it needs, at that moment: of 1, 2, 3, 4, 5, 6, 7 peers that were asked
//!   these are 1, 2, 2, 3, 3, 4, 4. A server that cannot read its configuration tells nothing of the cluster: its reply is
//!   none of these, and is waited for no longer.
//! - No wait is longer than its time, however many datagrams come.
//! - The answer is the reply with the highest serial among those of status 0. Another status has no serial, and never
//!   outranks one of status 0.
//! - Serials are compared between replies to one query only: three counters are called so, that of the whole
//!   configuration, of a node and of an instance.
//! - Two replies of one serial with different contents make the answers inconsistent. So does "no such entry" beside an
//!   answer: it has no serial, and nobody can tell which of them is newer.
//! - A request that the server would not answer is refused, and not sent.
//! - All of an open query is bounded: one reply a peer, and as many peers as were asked.
//!
//! # Steps
//!
//! | step | datagram lost | peer dead or stopped | caller gives up | process stopped |
//! | --- | --- | --- | --- | --- |
//! | send the request to the peers, in random order | sent again to those that have not replied, three times at most; the salt is the same, so a second reply is a duplicate | a peer that cannot be sent to is tried again as well; the others are asked | nothing was changed | replies wait in the socket, as many as it has room for |
//! | receive a reply | as above | answered by the others, if they are enough; otherwise the time runs out, and what has come is told | what has come is dropped | as above; a query expires by the clock |
//! | expire | not affected | not affected | not affected | the next call finds the query expired |
//!
//! # Source
//!
//! Ganeti's design "Ganeti confd" and its Python client `ganeti.confd.client`; the datagrams as ganeti-confd 3.0.2 sends
//! and reads them.
//!
//! # Files
//!
//! | file | what it answers |
//! | --- | --- |
//! | [`key`] | what datagrams are signed with (pure) |
//! | [`request`], [`reply`] | what may be asked, and what a reply says (pure) |
//! | [`packet`] | requests as datagrams, and datagrams as replies (pure) |
//! | [`quorum`] | how many peers are asked, and how many replies are needed (pure) |
//! | [`verdict`] | which reply is the answer, and whether the replies agree (pure) |
//! | [`book`] | the queries that are open, what a datagram means to them, and when to send again (pure) |
//! | [`secrets`] | what is left out of an answer that somebody will read (pure) |
//! | [`client`] | whom is asked, and how long is waited |
//! | [`socket`] | how datagrams are sent and received |
//! | [`answer`] | what has come back from one query, and whether it can be trusted (pure) |
//! | [`ask`] | one question to its end |
//! | [`node`] | what a node of the cluster has for its clients |

pub mod answer;
pub mod ask;
pub mod book;
pub mod client;
pub mod key;
pub mod node;
pub mod packet;
pub mod quorum;
pub mod reply;
pub mod request;
pub mod secrets;
pub mod socket;
pub mod verdict;

pub use client::Client;
