//! How many peers are asked, and how many replies are needed.

use crate::error::{Error, Result};

/// So many peers are asked where nobody says how many.
pub const DEFAULT_COVERAGE: usize = 6;
/// All of them.
const ALL: i64 = -1;

/// How many of `peers` are asked: `coverage` of them; 0 is six, or all where there are fewer; -1 is all.
///
/// # Errors
/// [`Error::Argument`] where there are not so many, or the number means nothing.
pub fn coverage(coverage: i64, peers: usize) -> Result<usize> {
    let asked = match coverage {
        0 => Some(peers.min(DEFAULT_COVERAGE)),
        ALL => Some(peers),
        number => usize::try_from(number).ok(),
    };
    match asked {
        Some(asked) if asked <= peers => Ok(asked),
        Some(asked) => Err(Error::argument(
            "coverage",
            format!("{asked} peers are to be asked, and only {peers} are known: not enough master candidates"),
        )),
        None => Err(Error::argument("coverage", "must be a number of peers, 0 for six of them, or -1 for all")),
    }
}

/// How many replies make a query answered of which `asked` peers were asked: all of one or two, all but one of three or
/// four, and a majority of more.
///
/// The table in the documentation of Ganeti's function has 2 for four peers; the function itself has this.
#[must_use]
pub fn needed(asked: usize) -> usize {
    match asked {
        0..=2 => asked,
        3..=4 => asked.saturating_sub(1),
        _ => (asked / 2).saturating_add(1),
    }
}

/// How many replies a caller waits for: as many as are [`needed`], `replies` of them, or -1 for all.
///
/// # Errors
/// [`Error::Argument`] where fewer peers are asked, or the number means nothing.
pub fn replies(replies: Option<i64>, asked: usize) -> Result<usize> {
    let wanted = match replies {
        None => return Ok(needed(asked)),
        Some(ALL) => return Ok(asked),
        Some(number) => usize::try_from(number).ok().filter(|number| *number > 0),
    };
    match wanted {
        Some(wanted) if wanted <= asked => Ok(wanted),
        Some(wanted) => {
            Err(Error::argument("replies", format!("{wanted} are wanted, and only {asked} peers are asked")))
        }
        None => {
            Err(Error::argument("replies", "must be a number of replies, at least 1, or -1 for all that are asked"))
        }
    }
}
