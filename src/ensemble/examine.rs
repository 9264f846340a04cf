//! What is odd about an ensemble, and what to do about it. Decides, and asks nobody.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ensemble::configuration::Role;
use crate::ensemble::decision::Mode;
use crate::ensemble::status::{Row, Status};
use crate::ensemble::words;

/// Seconds by which a clock may differ: the AdminServer has whole seconds, and the question takes its time.
const SKEW: f64 = 3.0;
/// Transactions that one leader can order.
const TRANSACTIONS: u64 = u32::MAX as u64;
/// Leaders that there can be.
const LEADERS: u64 = i32::MAX as u64;
/// Tenths of either that are near the end.
const NEAR: u64 = 9;

/// Something odd, and what to do about it: whole sentences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub what: String,
    /// What to do.
    #[serde(rename = "do")]
    pub remedy: String,
}

/// What the caller calls what the findings advise.
#[derive(Clone, Copy, Debug)]
pub struct Commands {
    /// Removes the member whose id follows.
    pub remove: &'static str,
    /// Tells in which order the members are restarted.
    pub restart_order: &'static str,
}

/// What is odd about the status of an ensemble: no quorum, or one that a single failure would end; an even number of
/// participants; a member that does not answer or is not in sync; a server that is no member; members that disagree on the
/// configuration, or are of different versions; words that are refused where there is no AdminServer; clocks that differ;
/// zxids near their end.
#[must_use]
pub fn examine(status: &Status, commands: Commands) -> Vec<Finding> {
    let members: Vec<&Row> = status.servers.iter().filter(|row| row.id.is_some()).collect();
    let mut found = Found::default();
    found.configuration(status);
    found.quorum(status, &members);
    found.voters(&members);
    status.servers.iter().for_each(|row| found.trouble(row, commands));
    found.configurations(&members);
    found.versions(&members, commands);
    status.servers.iter().for_each(|row| found.words(row));
    status.servers.iter().for_each(|row| found.clock(row));
    members.iter().for_each(|row| found.zxid(row));
    found.0
}

#[derive(Default)]
struct Found(Vec<Finding>);

impl Found {
    fn add(&mut self, what: String, remedy: impl Into<String>) {
        self.0.push(Finding { what, remedy: remedy.into() });
    }

    fn configuration(&mut self, status: &Status) {
        if let Some(trouble) = &status.trouble {
            self.add(
                format!("Who is in the ensemble could not be read: {trouble}."),
                "Start a majority of the servers; then ask again. Name all of them in the hosts.",
            );
        } else if status.config.is_empty() {
            self.add(
                "The server stands alone: when it fails, all fails.".to_owned(),
                "Start three servers, each with all three in its list: one that stands alone takes no more.",
            );
        }
    }

    fn quorum(&mut self, status: &Status, members: &[&Row]) {
        if members.is_empty() {
            return;
        }
        if !status.has_quorum {
            self.add(
                "The members that are in sync are no quorum: nothing can be written.".to_owned(),
                "Start those that are down, until more than half of the participants are up.",
            );
        } else if !status.critical.is_empty() {
            let named: Vec<_> = status.critical.iter().map(|id| format!("server.{id}")).collect();
            self.add(
                format!("One more failure ends the quorum: none of {} may fail now.", named.join(", ")),
                "Restart nothing. Bring those back that are missing, replace them, or remove them from the members.",
            );
        }
        if status.has_quorum && status.leader.is_none() {
            self.add("No member says that it leads.".to_owned(), "Wait for the election to end, and ask again.");
        }
    }

    fn voters(&mut self, members: &[&Row]) {
        let count = members.iter().filter(|row| row.role == Some(Role::Participant.name())).count();
        if count > 0 && count % 2 == 0 {
            let one_less = count - 1;
            self.add(
                format!(
                    "There are {count} participants: an even number survives no more failures than {one_less} do, and \
                     needs one more to agree."
                ),
                "Add one, remove one, or make one an observer.",
            );
        }
    }

    fn trouble(&mut self, row: &Row, commands: Commands) {
        let name = name(row);
        match (&row.trouble, row.id) {
            (None, None) => {
                let mode = row.mode.as_deref().unwrap_or("not known");
                self.add(
                    format!("{name} is no member: it follows, and does not vote."),
                    format!("Add it, stop it, or take it out of the hosts. Its mode is {mode}."),
                );
            }
            (Some(trouble), Some(id)) => self.add(
                format!("{name} {trouble}."),
                format!(
                    "Search its host and its log for the reason. If it does not come back: replace it by one with the \
                     same id and an empty disk, or: {} {id}",
                    commands.remove
                ),
            ),
            (Some(trouble), None) => self
                .add(format!("{name} {trouble}."), "Is it one of the servers? Take it out of the hosts, or start it."),
            (None, Some(_)) => {}
        }
    }

    fn configurations(&mut self, members: &[&Row]) {
        let version = |row: &Row| u64::from_str_radix(row.configuration.as_deref()?, 16).ok();
        let Some(newest) = members.iter().filter_map(|row| version(row)).max() else { return };
        for row in members {
            if let Some(own) = version(row).filter(|own| *own != newest) {
                self.add(
                    format!("{} has the configuration {own:x}, and others have {newest:x}.", name(row)),
                    "Wait until a change of the members is finished. If it stays so, restart that server.",
                );
            }
        }
    }

    fn versions(&mut self, members: &[&Row], commands: Commands) {
        let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
        for version in members.iter().filter_map(|row| row.version.as_deref()) {
            *versions.entry(version).or_default() += 1;
        }
        if versions.len() > 1 {
            let named: Vec<_> = versions.iter().map(|(version, count)| format!("{count} of {version}")).collect();
            self.add(
                format!("The members are of different versions: {}.", named.join(", ")),
                format!("Finish the upgrade: {} tells in which order.", commands.restart_order),
            );
        }
    }

    fn words(&mut self, row: &Row) {
        let refused = row.words.iter().filter(|(_, way)| way.contains("4lw.commands.whitelist"));
        let refused: Vec<_> = refused.map(|(word, _)| *word).collect();
        if !refused.is_empty() {
            self.add(
                format!(
                    "{} does not answer {}, and has no AdminServer that does: whether it catches up can only be guessed.",
                    name(row),
                    refused.join(", ")
                ),
                "In its zoo.cfg set 4lw.commands.whitelist=srvr,mntr,conf, or admin.enableServer=true.",
            );
        }
    }

    fn clock(&mut self, row: &Row) {
        if let Some(ahead) = row.clock.filter(|ahead| ahead.abs() > SKEW) {
            let way = if ahead > 0.0 { "ahead of" } else { "behind" };
            self.add(
                format!("The clock of {} is {:.0} s {way} this host's.", name(row), ahead.abs()),
                "Check its time service. ZooKeeper orders nothing by clocks; times in logs are wrong.",
            );
        }
    }

    fn zxid(&mut self, row: &Row) {
        let zxid = row.zxid.as_deref().and_then(words::zxid);
        let Some(zxid) = zxid.filter(|_| row.mode.as_deref() == Some(Mode::Leader.name())) else { return };
        let (epoch, counter) = (zxid >> 32, zxid & TRANSACTIONS);
        if counter > TRANSACTIONS / 10 * NEAR {
            self.add(
                format!(
                    "The leader has ordered {} of the {} transactions that one can: then it steps down, and there is an \
                     election.",
                    grouped(counter),
                    grouped(TRANSACTIONS)
                ),
                "Restart the leader at a time of your choice, so that the next one begins anew.",
            );
        }
        if epoch > LEADERS / 10 * NEAR {
            self.add(
                format!("There were {} leaders of the {} that there can be.", grouped(epoch), grouped(LEADERS)),
                "Plan to move the data to a new ensemble.",
            );
        }
    }
}

fn name(row: &Row) -> String {
    let address = row.address.as_deref().unwrap_or("of no known address");
    row.id.map_or_else(|| address.to_owned(), |id| format!("server.{id} ({address})"))
}

/// `4,294,967,295`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMANDS: Commands = Commands { remove: "remove", restart_order: "order" };

    fn row(id: i64) -> Row {
        Row {
            id: Some(id),
            address: Some(format!("zk{id}:2181")),
            role: Some("participant"),
            mode: Some(if id == 1 { "leader" } else { "follower" }.to_owned()),
            in_sync: true,
            version: Some("3.8.0".to_owned()),
            zxid: Some("0x100000001".to_owned()),
            configuration: Some("0".to_owned()),
            ..Row::default()
        }
    }

    fn sound() -> Status {
        Status {
            servers: vec![row(1), row(2), row(3)],
            leader: Some(1),
            config_version: Some(0),
            config: vec!["server.1=...".to_owned()],
            has_quorum: true,
            ..Status::default()
        }
    }

    fn whats(status: &Status) -> Vec<String> {
        examine(status, COMMANDS).into_iter().map(|finding| finding.what).collect()
    }

    fn changed(change: impl FnOnce(&mut Status)) -> Vec<String> {
        let mut status = sound();
        change(&mut status);
        whats(&status)
    }

    #[test]
    fn there_is_nothing_odd_about_a_sound_one() {
        assert_eq!(whats(&sound()), Vec::<String>::new());
    }

    #[test]
    fn quorums_are_reported() {
        let none = changed(|status| status.has_quorum = false);
        assert_eq!(none, ["The members that are in sync are no quorum: nothing can be written."]);
        let critical = changed(|status| status.critical = vec![1, 3]);
        assert_eq!(critical, ["One more failure ends the quorum: none of server.1, server.3 may fail now."]);
        assert_eq!(changed(|status| status.leader = None), ["No member says that it leads."]);
        let unread = changed(|status| status.trouble = Some("no answer".into()));
        assert_eq!(unread, ["Who is in the ensemble could not be read: no answer."]);
        let alone = changed(|status| (status.servers, status.config) = (vec![], vec![]));
        assert_eq!(alone, ["The server stands alone: when it fails, all fails."]);
    }

    #[test]
    fn an_even_number_is_reported() {
        let four = changed(|status| status.servers.push(row(4)));
        assert!(four[0].starts_with("There are 4 participants: an even number survives no more failures than 3 do"));
    }

    #[test]
    fn servers_in_trouble_are_reported_with_the_command_that_removes_them() {
        let mut status = sound();
        status.servers[1].trouble = Some("refused the connection".into());
        status.servers.push(Row { id: None, role: None, ..row(9) });
        let found = examine(&status, COMMANDS);
        assert_eq!(found[0].what, "server.2 (zk2:2181) refused the connection.");
        assert!(found[0].remedy.ends_with("or: remove 2"));
        assert_eq!(found[1].what, "zk9:2181 is no member: it follows, and does not vote.");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn members_that_differ_are_reported() {
        let found = changed(|status| {
            status.servers[1].configuration = Some("a00000001".into());
            status.servers[2].configuration = Some("a00000001".into());
        });
        assert_eq!(found, ["server.1 (zk1:2181) has the configuration 0, and others have a00000001."]);
        let found = changed(|status| status.servers[2].version = Some("3.9.3".into()));
        assert_eq!(found, ["The members are of different versions: 2 of 3.8.0, 1 of 3.9.3."]);
    }

    #[test]
    fn words_clocks_and_zxids_are_reported() {
        let found = changed(|status| {
            let words = &mut status.servers[0].words;
            words.insert("mntr", "does not answer mntr, which is not in its 4lw.commands.whitelist".into());
            words.insert("srvr", "4lw".into());
        });
        assert!(found[0].starts_with("server.1 (zk1:2181) does not answer mntr, and has no AdminServer"));
        let found = changed(|status| {
            status.servers[0].clock = Some(-40.2);
            status.servers[1].clock = Some(2.0);
        });
        assert_eq!(found, ["The clock of server.1 (zk1:2181) is 40 s behind this host's."]);
        let found = changed(|status| status.servers[0].zxid = Some("0x7f000000fffffff0".into()));
        assert!(found[0].starts_with("The leader has ordered 4,294,967,280 of the 4,294,967,295 transactions"));
        assert_eq!(found[1], "There were 2,130,706,432 leaders of the 2,147,483,647 that there can be.");
        let follows = changed(|status| status.servers[1].zxid = Some("0x7f000000fffffff0".into()));
        assert_eq!(follows, Vec::<String>::new());
    }
}
