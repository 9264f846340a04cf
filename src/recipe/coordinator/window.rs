//! When a lock may be granted: days and hours of a time zone. Pure: the caller asks the clock.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Unit};
use serde_json::{json, Map, Value};

use crate::error::{Error, Result};

const ARGUMENT: &str = "policy";
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
/// Days that are searched for the next opening: a week, its first day again, and the day before it.
const AHEAD: i64 = 9;

/// A time of some days of the week. Where it ends before it begins it goes on past midnight, and belongs to the day on
/// which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    days: Vec<Weekday>,
    from: Time,
    to: Time,
    zone: String,
    rules: TimeZone,
}

impl Window {
    /// Reads a window: `{"days": ["sat", "sun"], "from": "02:00", "to": "04:00", "zone": "Europe/Berlin"}`. Without
    /// `days` it is every day, without `zone` UTC. A window that ends when it begins lasts for a day.
    ///
    /// # Errors
    /// [`Error::Argument`] that says what is wrong, and what is right.
    pub fn parse(value: &Value) -> Result<Self> {
        let wrong = |what: String| Error::argument(ARGUMENT, what);
        let Some(fields) = value.as_object() else {
            return Err(wrong("a window must be a mapping with from, to, and perhaps days and zone".to_owned()));
        };
        if let Some(other) = fields.keys().find(|key| !["days", "from", "to", "zone"].contains(&key.as_str())) {
            return Err(wrong(format!("{other:?} is not known in a window; it has from, to, days and zone")));
        }
        let zone = match fields.get("zone") {
            None | Some(Value::Null) => "UTC".to_owned(),
            Some(Value::String(zone)) => zone.clone(),
            Some(_) => return Err(wrong("the zone of a window must be text, such as Europe/Berlin".to_owned())),
        };
        let rules = TimeZone::get(&zone).map_err(|_| {
            wrong(format!("{zone:?} is no time zone that is known here; give one such as Europe/Berlin"))
        })?;
        Ok(Self { days: days(fields)?, from: time(fields, "from")?, to: time(fields, "to")?, zone, rules })
    }

    /// The window as it is stored, always in the same form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut fields = json!({"from": text(self.from), "to": text(self.to), "zone": self.zone});
        if self.days.len() < DAYS.len() {
            fields["days"] = self.day_names().into();
        }
        fields
    }

    fn day_names(&self) -> Vec<&'static str> {
        DAYS.iter().filter(|(_, day)| self.days.contains(day)).map(|(name, _)| *name).collect()
    }

    /// Whether it is open at this time.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        let today = now.to_zoned_datetime(self.rules.clone()).date();
        [Some(today), today.yesterday().ok()]
            .into_iter()
            .flatten()
            .filter_map(|day| self.span(day))
            .any(|(opening, closing)| opening <= now && now < closing)
    }

    /// When it opens next after this time. A time that a change of the clock leaves out is moved on by that change, and a
    /// window of which nothing would be left is as long as on other days.
    #[must_use]
    pub fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        let today = now.to_zoned_datetime(self.rules.clone()).date();
        (0..AHEAD)
            .filter_map(|days| today.checked_add(days.days()).ok())
            .filter_map(|day| self.span(day))
            .map(|(opening, _)| opening)
            .find(|opening| *opening > now)
    }

    /// From when to when it is open that begins on this day, if any does.
    fn span(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        if !self.days.contains(&day.weekday()) {
            return None;
        }
        let last = if self.from < self.to { day } else { day.tomorrow().ok()? };
        let (from, to) = (day.to_datetime(self.from), last.to_datetime(self.to));
        let at = |time: DateTime| time.to_zoned_datetime(self.rules.clone()).ok().map(|time| time.timestamp());
        let (opening, closing) = (at(from)?, at(to)?);
        if opening < closing {
            return Some((opening, closing));
        }
        Some((opening, opening.checked_add(from.duration_until(to)).ok()?))
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let days = if self.days.len() < DAYS.len() { self.day_names().join(",") + " " } else { String::new() };
        write!(f, "{days}{}-{} {}", text(self.from), text(self.to), self.zone)
    }
}

/// `02:00`, or `02:00:30`.
fn text(time: Time) -> String {
    let seconds = if time.second() == 0 { String::new() } else { format!(":{:02}", time.second()) };
    format!("{:02}:{:02}{seconds}", time.hour(), time.minute())
}

fn time(fields: &Map<String, Value>, name: &str) -> Result<Time> {
    let wrong = || Error::argument(ARGUMENT, format!("a window needs {name:?} as text: a time such as \"02:30\""));
    let given = fields.get(name).and_then(Value::as_str).ok_or_else(wrong)?;
    let mut parts = given.trim().split(':').map(|part| match part.len() {
        1 | 2 => part.parse::<i8>().ok().filter(|number| *number >= 0),
        _ => None,
    });
    let (hour, minute) = (parts.next().flatten().ok_or_else(wrong)?, parts.next().flatten().ok_or_else(wrong)?);
    let second = parts.next().map_or(Ok(0), |second| second.ok_or_else(wrong))?;
    if parts.next().is_some() {
        return Err(wrong());
    }
    // The end of a day is the beginning of the next.
    let hour = if (hour, minute, second) == (24, 0, 0) { 0 } else { hour };
    Time::new(hour, minute, second, 0).map_err(|_| wrong())
}

fn days(fields: &Map<String, Value>) -> Result<Vec<Weekday>> {
    let wrong = || {
        let names = DAYS.map(|(name, _)| name).join(", ");
        Error::argument(ARGUMENT, format!("the days of a window must be a list of some of {names}"))
    };
    let named = match fields.get("days") {
        None | Some(Value::Null) => return Ok(DAYS.map(|(_, day)| day).to_vec()),
        Some(Value::String(one)) => one.split(',').map(str::to_owned).collect(),
        Some(Value::Array(many)) => {
            many.iter().map(|day| day.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>().ok_or_else(wrong)?
        }
        Some(_) => return Err(wrong()),
    };
    let of = |name: &String| {
        let short = name.trim().to_lowercase().chars().take(3).collect::<String>();
        DAYS.iter().find(|(known, _)| *known == short).map(|(_, day)| *day)
    };
    let found = named.iter().map(of).collect::<Option<Vec<_>>>().filter(|found| !found.is_empty()).ok_or_else(wrong)?;
    Ok(DAYS.iter().map(|(_, day)| *day).filter(|day| found.contains(day)).collect())
}

/// A time of the servers, which count milliseconds since 1970.
#[must_use]
pub fn timestamp(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A time as text, in the form of RFC 3339, to the second.
#[must_use]
pub fn rfc3339(milliseconds: i64) -> String {
    let time = timestamp(milliseconds);
    time.round(Unit::Second).unwrap_or(time).to_string()
}

/// Milliseconds as seconds.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "milliseconds of a few thousand years are exact")]
pub fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}
