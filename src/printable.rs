//! Text from a znode, for a terminal, a log or an error. Pure.

/// The text, in which no terminal sees a command: what is not printable becomes `\u{1b}` and the like.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for each in text.chars() {
        if matches!(each, '\'' | '"') {
            printable.push(each);
        } else {
            printable.extend(each.escape_debug());
        }
    }
    printable
}
