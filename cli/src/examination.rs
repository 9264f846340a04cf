//! What is odd about a pool and its servers, and what to do about it. Pure: it decides, and does nothing.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use zkcoord::acl;
use zkcoord::ensemble::status::Status as Servers;
use zkcoord::recipe::semaphore::limit::Limit;
use zkcoord::recipe::semaphore::{Holder, Status};
use zkcoord::Error;

use crate::print::{age, quoted, shown, why};

/// Seconds by which two clocks may differ without a finding.
const NEAR: f64 = 3.0;
/// How many hexadecimal digits the name of a lease has: kazoo's recipe gives its leases such names, and so do we.
const HEXADECIMAL: usize = 32;

/// Something odd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What it is.
    pub(crate) what: String,
    /// What to do about it.
    #[serde(rename = "do")]
    pub(crate) advice: String,
}

impl Finding {
    /// The same, for a reader who looks at many pools.
    pub(crate) fn of(self, pool: &str) -> Self {
        Self { what: format!("{}: {}", shown(pool), self.what), ..self }
    }
}

/// A pool that this user may not read.
pub(crate) fn unreadable(pool: &str, error: &Error) -> Finding {
    let advice = "Look at it with other credentials: zkcoord config shows which are used.".to_owned();
    finding(format!("The pool {} cannot be examined: {}.", shown(pool), shown(&error.to_string())), advice)
}

fn finding(what: String, advice: String) -> Finding {
    Finding { what, advice }
}

/// What the commands to paste need, which findings name.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    /// The pool, as the caller names it.
    pub(crate) path: String,
    /// The options of the connection, with a blank before each.
    pub(crate) options: String,
}

impl Commands {
    fn delete(&self, path: &str) -> String {
        format!("zkcoord znode rm {}{}", quoted(path), self.options)
    }

    fn set_max(&self) -> String {
        format!("zkcoord set-max {} N{}", quoted(&self.path), self.options)
    }

    /// The command that frees the slots of an identifier. An identifier that is not UTF-8 in its znode cannot be named:
    /// then the command deletes its leases.
    fn free(&self, who: &str, status: &Status) -> String {
        if who.contains(char::REPLACEMENT_CHARACTER) {
            let leases = status.holders.iter().filter(|holder| holder.identifier == who);
            return leases.map(|it| self.delete(&self.child("", &it.lease))).collect::<Vec<_>>().join("; ");
        }
        let id = quoted(&format!("--id={who}"));
        format!("zkcoord unlock {} {id}{}", quoted(&self.path), self.options)
    }

    fn child(&self, of: &str, name: &str) -> String {
        format!("{}{of}/{name}", self.path)
    }
}

/// What is odd about the servers.
pub(crate) fn servers(servers: &Servers, options: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for row in servers.servers.iter().filter(|row| !row.is_reticent) {
        let who = row.address.as_deref().or(row.member.as_deref()).unwrap_or("a server");
        if let Some(trouble) = &row.trouble {
            found.push(finding(
                format!("The server {} cannot be used: it {}.", shown(who), shown(trouble)),
                format!("Find out whether it runs there, and what its log has: zkcoord ensemble status{options}"),
            ));
        }
        if let Some(ahead) = row.clock.filter(|ahead| ahead.abs() > NEAR) {
            let which = if ahead < 0.0 { "ahead of" } else { "behind" };
            found.push(finding(
                format!("The clock of this host is {} {which} that of {}.", age(ahead.abs()), shown(who)),
                "Set the one that is wrong, for example by chrony: how long a slot is held is counted by both."
                    .to_owned(),
            ));
        }
    }
    found
}

/// A pool, as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) status: Status,
    /// What its znode holds; none where there is none.
    pub(crate) data: Option<Vec<u8>>,
    /// Its ACL, as words, and whether everybody may change it.
    pub(crate) acl: Vec<(String, bool)>,
    /// Whether the caller has logged in.
    pub(crate) is_somebody: bool,
}

impl Pool {
    /// The findings about the pool. A wait is odd once it is older than `old`, and so is a slot that is held without a
    /// session.
    pub(crate) fn findings(&self, commands: &Commands, old: Duration, now: SystemTime) -> Vec<Finding> {
        let mut found = self.limit(commands);
        found.extend(self.orphans(commands));
        found.extend(self.foreign(commands));
        found.extend(self.held_twice(commands));
        found.extend(self.old(commands, old.as_secs_f64()));
        found.extend(self.stamps(now));
        found.extend(self.open(commands));
        found
    }

    fn limit(&self, commands: &Commands) -> Vec<Finding> {
        let held = self.status.holders.len();
        let mut found = Vec::new();
        match self.data.as_deref().map(Limit::decode) {
            None => found.push(finding(
                "There is no such pool.".to_owned(),
                "Check the path, the chroot in the hosts, and the profile: zkcoord config".to_owned(),
            )),
            Some(Limit::Foreign) => found.push(finding(
                "Its data is no number, so that nothing but the next caller limits the slots.".to_owned(),
                format!(
                    "Is it a pool at all? Then: zkcoord znode set {} N{}",
                    quoted(&commands.path),
                    commands.options
                ),
            )),
            Some(Limit::Unset) => found.push(finding(
                "It stores no limit: the next to lock decides.".to_owned(),
                format!("Store one: {}", commands.set_max()),
            )),
            Some(Limit::Number(limit)) if i64::try_from(held).is_ok_and(|held| held > limit) => found.push(finding(
                format!("{held} slots are held, and it has {limit}."),
                "Nothing, after a lock by force or a smaller limit: it ends as they unlock. Else find out who locks with \
                 another limit, or with another program."
                    .to_owned(),
            )),
            Some(Limit::Number(_)) => {}
        }
        found
    }

    fn orphans(&self, commands: &Commands) -> Vec<Finding> {
        let waiters = &self.status.waiters;
        let found = waiters.iter().filter(|waiter| waiter.orphan).map(|orphan| {
            let behind = waiters.iter().filter(|it| !it.orphan && it.position > orphan.position).count();
            finding(
                format!(
                    "The queue node {} of {} belongs to no session. It is persistent, as a backup that was restored \
                     leaves it: nobody waits by it, and it never goes by itself. All behind it wait for ever: {behind} now.",
                    shown(&orphan.queue_node),
                    shown(&orphan.identifier)
                ),
                format!(
                    "Delete it, and the next has its turn: {}",
                    commands.delete(&commands.child("-__lock__", &orphan.queue_node))
                ),
            )
        });
        found.collect()
    }

    fn foreign(&self, commands: &Commands) -> Vec<Finding> {
        let found = self.status.holders.iter().filter(|holder| is_foreign(holder)).map(|holder| {
            let nameless = if holder.identifier.is_empty() { ", and has no identifier" } else { "" };
            finding(
                format!("The child {} takes a slot since {}{nameless}.", shown(&holder.lease), holder.since),
                format!(
                    "Find out who made it. If nobody needs it: {}",
                    commands.delete(&commands.child("", &holder.lease))
                ),
            )
        });
        found.collect()
    }

    fn held_twice(&self, commands: &Commands) -> Vec<Finding> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for holder in self.status.holders.iter().filter(|holder| !is_foreign(holder)) {
            *counts.entry(&holder.identifier).or_default() += 1;
        }
        let found = counts.into_iter().filter(|(_, count)| *count > 1).map(|(who, count)| {
            finding(
                format!("{} holds {count} slots.", shown(who)),
                format!(
                    "Find out whether two hosts call themselves that. All are freed by: {}",
                    commands.free(who, &self.status)
                ),
            )
        });
        found.collect()
    }

    fn old(&self, commands: &Commands, old: f64) -> Vec<Finding> {
        let mut found = Vec::new();
        let held = self.status.holders.iter().filter(|it| !it.ephemeral && !is_foreign(it) && it.age > old);
        for holder in held {
            let why = match why(&holder.why) {
                nothing if nothing.is_empty() => nothing,
                why => format!(" It gave as its reason: {why}."),
            };
            found.push(finding(
                format!(
                    "{} holds a slot for {}, since {}, and no session ends that.{why}",
                    shown(&holder.identifier),
                    age(holder.age),
                    holder.since
                ),
                format!(
                    "Once you are sure that it is not acting any more: {}",
                    commands.free(&holder.identifier, &self.status)
                ),
            ));
        }
        for waiter in self.status.waiters.iter().filter(|it| !it.orphan && it.age > old) {
            let session = waiter.session.as_deref().unwrap_or_default();
            found.push(finding(
                format!(
                    "{} waits for {}, since {}, in position {}.",
                    shown(&waiter.identifier),
                    age(waiter.age),
                    waiter.since,
                    waiter.position
                ),
                format!(
                    "Ask the holders whether one of them is done. If the waiter itself is gone, the servers remove its \
                     queue node when session {session} ends."
                ),
            ));
        }
        found
    }

    /// A znode that was created in the future tells that this host's clock is behind.
    fn stamps(&self, now: SystemTime) -> Vec<Finding> {
        let since =
            self.status.holders.iter().map(|it| &it.since).chain(self.status.waiters.iter().map(|it| &it.since));
        let latest = since.filter_map(|since| seconds(since)).fold(0.0, f64::max);
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let behind = latest - now;
        if behind <= NEAR {
            return Vec::new();
        }
        vec![finding(
            format!("The clock of this host is at least {} behind that of the servers.", age(behind)),
            "Set the one that is wrong, for example by chrony: how long a slot is held is counted by both.".to_owned(),
        )]
    }

    /// Finds entries of the ACL by which everybody may change the pool. A user who logs in expects that others have to.
    fn open(&self, commands: &Commands) -> Vec<Finding> {
        let open: Vec<_> = self.acl.iter().filter(|(_, is_open)| *is_open).map(|(word, _)| shown(word)).collect();
        if open.is_empty() || !self.is_somebody {
            return Vec::new();
        }
        vec![finding(
            format!("Everybody may change the pool, also without logging in: its ACL has {}.", open.join(" and ")),
            format!(
                "Give it to those who need it, and set default_acl where pools are made: zkcoord znode acl {} --set \
                 auth::all{}",
                quoted(&commands.path),
                commands.options
            ),
        )]
    }
}

/// The ACL of a pool, for [`Pool`].
pub(crate) fn entries(list: &acl::List) -> Vec<(String, bool)> {
    list.iter().map(|entry| (acl::text(entry), acl::lets_everybody_change(entry))).collect()
}

fn seconds(since: &str) -> Option<f64> {
    let time = humantime::parse_rfc3339(since).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}

fn is_foreign(holder: &Holder) -> bool {
    let is_lease = holder.lease.len() == HEXADECIMAL && holder.lease.bytes().all(|b| b"0123456789abcdef".contains(&b));
    holder.identifier.is_empty() || !is_lease
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zkcoord::ensemble::status::Row;
    use zkcoord::recipe::semaphore::Waiter;

    use zkcoord::recipe::semaphore::Reason;

    use super::*;

    const DAY: Duration = Duration::from_secs(86400);

    fn commands() -> Commands {
        Commands { path: "/a b".to_owned(), options: " --hosts=zk1:2181".to_owned() }
    }

    fn pool(data: Option<&[u8]>) -> Pool {
        let (exists, max_concurrency) = (data.is_some(), None);
        let path = "/chroot/a b".to_owned();
        let status = Status { path, exists, max_concurrency, free: None, holders: vec![], waiters: vec![] };
        Pool { status, data: data.map(<[u8]>::to_vec), acl: vec![], is_somebody: false }
    }

    fn holder(identifier: &str, lease: &str) -> Holder {
        Holder {
            identifier: identifier.to_owned(),
            since: "2026-11-26T12:00:00Z".to_owned(),
            age: 90.0,
            ephemeral: false,
            fencing_token: 1,
            session: None,
            lease: lease.to_owned(),
            why: Reason::default(),
        }
    }

    fn found(pool: &Pool, old: Duration) -> Vec<Finding> {
        let now = humantime::parse_rfc3339("2026-11-26T12:01:30Z").unwrap_or(UNIX_EPOCH);
        pool.findings(&commands(), old, now)
    }

    #[test]
    fn a_pool_in_order_has_no_finding() {
        let mut pool = pool(Some(b"2"));
        pool.status.holders.push(holder("web1", &"a".repeat(32)));
        pool.acl.push(("world:anyone:cdrwa".to_owned(), true));
        assert_eq!(found(&pool, DAY), []);
    }

    #[test]
    fn commands_are_for_the_path_of_the_caller_and_quoted() {
        let mut pool = pool(Some(b"1"));
        pool.status.holders.extend([holder("web1", &"a".repeat(32)), holder("web1", &"b".repeat(32))]);
        let found = found(&pool, DAY);
        assert_eq!(found[0].what, "2 slots are held, and it has 1.");
        assert!(found[1].advice.ends_with("zkcoord unlock '/a b' --id=web1 --hosts=zk1:2181"), "{}", found[1].advice);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn age_is_odd_beyond_the_option_and_only_without_a_session() {
        let mut pool = pool(Some(b"2"));
        pool.status.holders.push(holder("web1", &"a".repeat(32)));
        pool.status.holders.push(Holder { ephemeral: true, ..holder("web2", &"b".repeat(32)) });
        let found = found(&pool, Duration::from_secs(60));
        assert_eq!(found.len(), 1);
        assert!(found[0].what.starts_with("web1 holds a slot for 1m 30s"), "{}", found[0].what);
    }

    #[test]
    fn an_orphan_tells_how_many_it_blocks() {
        let mut pool = pool(Some(b"2"));
        let waiter = |position, orphan| Waiter {
            identifier: "x\x1b".to_owned(),
            position,
            since: "2026-11-26T12:00:00Z".to_owned(),
            age: 1.0,
            session: None,
            orphan,
            queue_node: format!("n{position}"),
        };
        pool.status.waiters.extend([waiter(1, false), waiter(2, true), waiter(3, false), waiter(4, false)]);
        let found = found(&pool, DAY);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.ends_with("All behind it wait for ever: 2 now."), "{}", found[0].what);
        assert!(!found[0].what.contains('\x1b'));
        assert!(found[0].advice.contains("zkcoord znode rm '/a b-__lock__/n2' "), "{}", found[0].advice);
    }

    #[test]
    fn a_stamp_of_the_future_tells_of_a_clock_that_is_behind() {
        let mut pool = pool(Some(b"2"));
        let since = "2026-11-26T12:02:30Z".to_owned();
        pool.status.holders.push(Holder { since, ..holder("web1", &"a".repeat(32)) });
        assert_eq!(found(&pool, DAY)[0].what, "The clock of this host is at least 1m behind that of the servers.");
    }

    #[test]
    fn an_open_pool_is_odd_for_those_who_log_in() {
        let mut pool = pool(Some(b"2"));
        pool.acl = vec![("world:anyone:r".to_owned(), false), ("world:anyone:cdrwa".to_owned(), true)];
        pool.is_somebody = true;
        assert!(found(&pool, DAY)[0].what.ends_with("its ACL has world:anyone:cdrwa."));
    }

    #[test]
    fn servers_are_odd_that_are_out_of_step_or_whose_clock_is_far_and_not_those_who_keep_silent_on_purpose() {
        let row = |address: &str, trouble: Option<&str>| Row {
            address: Some(address.to_owned()),
            trouble: trouble.map(str::to_owned),
            ..Row::default()
        };
        let status = Servers {
            servers: vec![
                row("zk1:2181", None),
                row("zk2:2181", Some("refused the connection")),
                Row { clock: Some(-61.0), ..row("zk3:2181", None) },
                Row { is_reticent: true, ..row("zk4:2181", Some("does not answer srvr")) },
            ],
            leader: None,
            config_version: None,
            config: vec![],
            trouble: None,
            has_quorum: true,
            critical: vec![],
        };
        let found = servers(&status, "");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].what, "The server zk2:2181 cannot be used: it refused the connection.");
        assert_eq!(found[1].what, "The clock of this host is 1m 1s ahead of that of zk3:2181.");
    }
}
