//! What reaches a terminal or a pipe. Texts from znodes are escaped, and a pipe that somebody has closed is no failure.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::thread;
use std::time::{Duration, SystemTime};

use comfy_table::{presets, ContentArrangement, Table};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;
pub(crate) use zkcoord::printable::printable as shown;
use zkcoord::recipe::semaphore::Reason;
use zkcoord::Error;

use crate::status::Status;

/// The fewest columns of a terminal at which a table is wrapped. In a narrower terminal, or where its width is not
/// known, a table is not wrapped.
const NARROW: u16 = 60;

/// Holders that one line names.
const NAMED: usize = 3;

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Lines and tables for people.
    Text,
    /// One JSON document a line.
    Json,
}

/// A word of a shell's command line.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    if word.chars().all(|c| !c.is_control() && c.escape_debug().len() == 1 || "'\"\\".contains(c)) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    // bash and zsh read this notation; the bytes are those of the text.
    let mut text = String::from("$'");
    for byte in word.bytes() {
        match byte {
            b'\'' | b'\\' => {
                let _ = write!(text, "\\{}", byte as char);
            }
            b' '..=b'~' => text.push(byte as char),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text + "'"
}

/// A time in seconds as text for people: in its two greatest units.
pub(crate) fn age(seconds: f64) -> String {
    let whole = Duration::from_secs(Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs());
    let text = humantime::format_duration(whole).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// `1st`, `2nd`, `3rd`.
pub(crate) fn ordinal(number: usize) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// `, held by web1, web2, web3 and 4 more`; nothing where nobody holds.
pub(crate) fn held_by(holders: impl ExactSizeIterator<Item = String>) -> String {
    let more = holders.len().saturating_sub(NAMED);
    let named = holders.take(NAMED).collect::<Vec<_>>().join(", ");
    match (named.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(", held by {named}"),
        (false, more) => format!(", held by {named} and {more} more"),
    }
}

/// A table without lines, in the width of the terminal.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if io::stdout().is_terminal() && table.width().is_some_and(|width| width >= NARROW) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(head.iter().copied());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Writes an answer to standard output.
pub(crate) fn answer(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Writes bytes to standard output as they are.
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Writes a line of many, and returns whether somebody may read it.
pub(crate) fn line(text: &str) -> bool {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}

/// As [`line`], of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> bool {
    serde_json::to_string(value).is_ok_and(|text| line(&text))
}

/// Writes data to standard output as they are. A pipe that its reader has closed is no error: the reader wants no more.
///
/// # Errors
/// As of `write`, such as a file system that is full.
pub(crate) fn data(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Waits until nobody can read standard output any more, because the other end of the pipe is closed.
pub(crate) async fn unread() {
    let (sender, closed) = oneshot::channel();
    let waiting = thread::Builder::new().name("pipe".into()).spawn(move || {
        let out = io::stdout();
        // It asks for no event, so that only an error or a hang-up ends this wait.
        let mut pipe = [PollFd::new(&out, PollFlags::empty())];
        while poll(&mut pipe, None) == Err(Errno::INTR) {}
        if pipe[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            let _ = sender.send(());
        }
    });
    if waiting.is_err() || closed.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Now, by this host's clock: UTC, in the form of RFC 3339.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// Writes an answer as JSON.
pub(crate) fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => answer(&text),
        Err(error) => note(&format!("internal error, please report it: {error}")),
    }
}

/// Writes a line for people to standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "zkcoord: {text}");
}

/// From here on what the core logs of connections, sessions and znodes is written to standard error.
pub(crate) fn log() {
    if log::set_logger(&Logged).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}

/// The lines of the core, and none of the libraries that it uses.
struct Logged;

impl log::Log for Logged {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("zkcoord")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let now = humantime::format_rfc3339_millis(SystemTime::now());
            note(&format!("{now} {}", shown(&record.args().to_string())));
        }
    }

    fn flush(&self) {}
}

/// Tells of an error: one line, or an object with `error` (its kind), `message` and `status`.
pub(crate) fn error(error: &Error, form: Form) {
    match form {
        Form::Text => note(&shown(&error.to_string())),
        Form::Json => {
            let status = u8::from(Status::of(error));
            let object = json!({"error": kind(error), "message": error.to_string(), "status": status});
            let _ = writeln!(io::stderr().lock(), "{object}");
        }
    }
}

/// The name of an error's kind.
fn kind(error: &Error) -> String {
    let text = format!("{error:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

/// The status of a change, and whether there was one as JSON where that is asked for.
pub(crate) fn yes_or_no(is_done: bool, form: Form) -> Status {
    if form == Form::Json {
        json(&is_done);
    }
    if is_done {
        Status::DONE
    } else {
        Status::NO
    }
}

/// Why a slot is held, and by which process: `kernel update (pid 812 on web1, job 20261126)`.
pub(crate) fn why(why: &Reason) -> String {
    let process = match (why.pid, &why.host) {
        (Some(pid), Some(host)) => Some(format!("pid {pid} on {}", shown(host))),
        (Some(pid), None) => Some(format!("pid {pid}")),
        (None, host) => host.as_deref().map(|host| format!("on {}", shown(host))),
    };
    let job = why.job.as_deref().map(|job| format!("job {}", shown(job)));
    let by = [process, job].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let reason = why.reason.as_deref().map(shown).unwrap_or_default();
    match (reason.is_empty(), by.is_empty()) {
        (_, true) => reason,
        (true, false) => by,
        (false, false) => format!("{reason} ({by})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_escape_sequence_reaches_a_terminal() {
        assert_eq!(shown("web1"), "web1");
        assert_eq!(shown("é'\""), "é'\"");
        assert_eq!(shown("a\x1b[2Jb\u{202e}\n"), "a\\u{1b}[2Jb\\u{202e}\\n");
    }

    #[test]
    fn a_word_is_quoted_where_a_shell_would_read_it_otherwise() {
        assert_eq!(quoted("/restart/web"), "/restart/web");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("a b;$c"), "'a b;$c'");
        assert_eq!(quoted("a\nb\x1b"), r"$'a\x0ab\x1b'");
    }

    #[test]
    fn ages_have_two_units_and_numbers_their_endings() {
        assert_eq!(age(0.4), "0s");
        assert_eq!(age(125.9), "2m 5s");
        assert_eq!(age(3.0 * 86400.0 + 7200.0 + 61.0), "3days 2h");
        let numbers = [1, 2, 3, 4, 11, 12, 13, 21, 102, 112].map(ordinal);
        assert_eq!(numbers, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "112th"]);
    }
}
