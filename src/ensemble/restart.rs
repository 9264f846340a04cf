//! In which order the members are restarted. Decides, and asks nobody.

use crate::ensemble::decision::Mode;
use crate::ensemble::status::{Row, Status};
use crate::error::{Error, Refusal, Result};

/// The members in the order in which they are restarted: observers, then followers, the leader last. So there is one
/// election, and not one after each restart.
///
/// # Errors
/// [`Refusal::NoServer`]: who is a member is not known.
pub fn restart_order(status: &Status) -> Result<Vec<&Row>> {
    let mut members: Vec<(i64, &Row)> = status.servers.iter().filter_map(|row| Some((row.id?, row))).collect();
    if members.is_empty() {
        let why = status.trouble.as_deref().unwrap_or("no server is part of an ensemble");
        return Err(Error::ensemble(Refusal::NoServer, format!("the members are not known: {why}")));
    }
    members.sort_by_key(|(id, row)| (rank(row), *id));
    Ok(members.into_iter().map(|(_, row)| row).collect())
}

/// A member that does not serve goes by its role.
fn rank(row: &Row) -> u8 {
    match row.mode.as_deref().or(row.role) {
        Some(mode) if mode == Mode::Leader.name() => 2,
        Some(mode) if mode == Mode::Observer.name() => 0,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn row(id: Option<i64>, role: &'static str, mode: Option<&str>) -> Row {
        Row { id, role: Some(role), mode: mode.map(str::to_owned), ..Row::default() }
    }

    fn status(servers: Vec<Row>) -> Status {
        Status { servers, ..Status::default() }
    }

    #[test]
    fn the_leader_is_last_and_observers_are_first() {
        let found = status(vec![
            row(Some(1), "participant", Some("leader")),
            row(Some(3), "participant", None),
            row(Some(2), "participant", Some("follower")),
            row(Some(5), "observer", None),
            row(Some(4), "observer", Some("observer")),
            row(None, "participant", Some("follower")),
        ]);
        let order: Vec<_> = restart_order(&found).unwrap().iter().filter_map(|row| row.id).collect();
        assert_eq!(order, [4, 5, 2, 3, 1]);
    }

    #[test]
    fn without_members_it_says_why() {
        let found = Status { trouble: Some("nobody answers".into()), ..status(vec![]) };
        let error = restart_order(&found).map(drop).unwrap_err().to_string();
        assert_eq!(error, "the members are not known: nobody answers");
    }
}
