//! The processes that a command has started: a shell's own commands, and daemons that have left its group.
//!
//! This program is the subreaper of what the command leaves behind, so that every process that comes from the command is
//! below this one in the tree of processes, whatever group or session it has made for itself.

use std::collections::HashMap;
use std::fs;

use rustix::process::{kill_process, Pid, Signal};

/// Has the kernel make this process the parent of each process that the command leaves behind.
pub(crate) fn adopt() -> std::io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(Into::into)
}

/// Sends a signal to all processes below this one, and returns how many there were.
pub(crate) fn signal(signal: Signal) -> usize {
    let found = all();
    for pid in &found {
        // A process that has ended meanwhile needs no signal, and a privileged one cannot be sent any.
        let _ = kill_process(*pid, signal);
    }
    found.len()
}

/// The processes below this one that have not ended yet.
fn all() -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if let Some((parent, is_zombie)) = fs::read_to_string(entry.path().join("stat")).ok().as_deref().and_then(parse)
        {
            if !is_zombie {
                children.entry(parent).or_default().push(pid);
            }
        }
    }
    let mut found = Vec::new();
    let mut open = vec![rustix::process::getpid().as_raw_nonzero().get()];
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            found.extend(Pid::from_raw(child));
            open.push(child);
        }
    }
    found
}

/// The parent of the process in a line of /proc/PID/stat, and whether that process has ended and waits to be reaped.
/// The name of its program is in parentheses, and may have any character.
fn parse(stat: &str) -> Option<(i32, bool)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    Some((fields.next()?.parse().ok()?, matches!(state, "Z" | "X")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_no_hindrance() {
        assert_eq!(parse("12 (a) b (c)) S 7 12 12 0"), Some((7, false)));
        assert_eq!(parse("12 (sh) Z 1 12"), Some((1, true)));
        assert_eq!(parse("12"), None);
    }
}
