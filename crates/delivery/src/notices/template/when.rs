//! Moments as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::{State, Value};

/// Writes a moment in the language and the time zone of the message.
pub(super) fn when(state: &State<'_, '_>, moment: &str) -> String {
    let Ok(moment) = moment.parse::<Timestamp>() else {
        return moment.to_owned();
    };
    let text = |name| state.lookup(name).unwrap_or(Value::UNDEFINED).to_string();
    let zone = TimeZone::get(&text("zone")).unwrap_or(TimeZone::UTC);
    let moment = moment.to_zoned(zone);
    let month = usize::from(moment.month().unsigned_abs()) - 1;
    let (day, year) = (moment.day(), moment.year());
    let (time, zone) = (moment.strftime("%H:%M"), moment.strftime("%Z"));
    match text("language").split('-').next() {
        Some("en") => format!("{day} {} {year}, {time} {zone}", ENGLISH[month]),
        Some("de") => format!("{day}. {} {year}, {time} Uhr ({zone})", GERMAN[month]),
        Some(_) | None => format!("{} {time} {zone}", moment.strftime("%Y-%m-%d")),
    }
}

const ENGLISH: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const GERMAN: [&str; 12] = [
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
];
