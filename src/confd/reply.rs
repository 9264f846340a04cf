//! What a reply says, and how two replies to one query compare.

use serde_json::Value;

/// How a server has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It has an answer.
    Ok,
    /// It has none: the answer is the number of an error, or a text.
    Error,
    /// It does not know this type of request.
    NotImplemented,
}

impl Status {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::NotImplemented => 2,
        }
    }

    /// The status of a number on the wire.
    #[must_use]
    pub fn of(number: i64) -> Option<Self> {
        [Self::Ok, Self::Error, Self::NotImplemented].into_iter().find(|status| i64::from(status.number()) == number)
    }
}

/// What is in the text of an error where there is no such node or instance: the name of Ganeti's own error.
const NO_ENTRY: &str = "ECodeNoEnt";

/// The number of an error within the server.
const INTERNAL: u64 = 1;

/// What one server replies.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// How it has answered.
    pub status: Status,
    /// The answer, or the error: a number or a text.
    pub answer: Value,
    /// Which of two replies to one query is newer; 0 where the status is not [`Status::Ok`].
    pub serial: i64,
}

impl Reply {
    /// Whether the server has an answer.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status == Status::Ok
    }

    /// Whether the server says that its configuration has no such entry: by a number, 0 where there is no such address, and
    /// 2 where there is no such path; or by a text. The number 1, and another text, tell of the server.
    #[must_use]
    pub fn is_no_such_entry(&self) -> bool {
        let is_of_an_entry = match &self.answer {
            Value::Number(number) => number.as_u64() != Some(INTERNAL),
            Value::String(text) => text.contains(NO_ENTRY),
            _ => false,
        };
        self.status == Status::Error && is_of_an_entry
    }

    /// Whether this tells what the configuration has, or has not, and not only that the server cannot read it.
    #[must_use]
    pub fn is_of_the_configuration(&self) -> bool {
        self.is_ok() || self.is_no_such_entry()
    }

    /// Whether this is to be believed rather than another reply to the same query.
    #[must_use]
    pub fn outranks(&self, other: &Self) -> bool {
        match (self.is_ok(), other.is_ok()) {
            (true, true) => self.serial > other.serial,
            (ours, theirs) => ours && !theirs,
        }
    }

    /// Whether this and another reply to the same query cannot both be true, and neither is known to be newer.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> bool {
        if self.is_ok() && other.is_ok() {
            return self.serial == other.serial && !same(&self.answer, &other.answer);
        }
        (self.is_ok() && other.is_no_such_entry()) || (other.is_ok() && self.is_no_such_entry())
    }
}

/// Whether two answers are the same. A whole number is the same with and without a fraction of zero: the server writes
/// some numbers either way.
#[must_use]
pub fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || (one.as_f64() == other.as_f64() && !both_whole(one, other))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| same(value, other)))
        }
        (one, other) => one == other,
    }
}

fn both_whole(one: &serde_json::Number, other: &serde_json::Number) -> bool {
    !one.is_f64() && !other.is_f64()
}
