//! What is left out of an answer that is shown to somebody, kept in a job cache or written to a log.

use serde_json::Value;

/// Parameters of operating systems that Ganeti keeps private: of an instance, and of all.
const PRIVATE: [&str; 2] = ["osparams_private", "osparams_private_cluster"];

/// Replaces the secrets of DRBD disks, and private parameters, by null, wherever in an answer they are.
pub fn leave_out(answer: &mut Value) {
    match answer {
        Value::Array(items) => match drbd_secret(items) {
            Some(secret) => *secret = Value::Null,
            None => items.iter_mut().for_each(leave_out),
        },
        Value::Object(parts) => {
            for (name, part) in parts {
                match part {
                    Value::Object(private) if PRIVATE.contains(&name.as_str()) => {
                        private.values_mut().for_each(hide);
                    }
                    part => leave_out(part),
                }
            }
        }
        _ => {}
    }
}

/// Replaces every value by null, and leaves the names.
fn hide(value: &mut Value) {
    match value {
        Value::Object(parts) => parts.values_mut().for_each(hide),
        value => *value = Value::Null,
    }
}

/// The secret in the identity of a DRBD disk: two nodes, a port, two minors, and the secret. It is known by this shape,
/// since it may be all of an answer.
fn drbd_secret(items: &mut [Value]) -> Option<&mut Value> {
    let is_one = match &*items {
        [one, other, port, minor, peers, secret] => {
            [one, other, secret].iter().all(|it| it.is_string()) && [port, minor, peers].iter().all(|it| it.is_number())
        }
        _ => false,
    };
    items.last_mut().filter(|_| is_one)
}
