mod crons;
mod plans;
mod times;

use std::time::{Duration, SystemTime};

use baton_protocol::Timestamp;

use crate::{Cron, Zone};

/// A time in the form of RFC 3339.
fn at(text: &str) -> Timestamp {
    let at: jiff::Timestamp = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
    Timestamp(SystemTime::from(at))
}

fn cron(text: &str) -> Cron {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn zone(name: &str) -> Zone {
    Zone::named(name).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn plus(at: Timestamp, seconds: u64) -> Timestamp {
    Timestamp(at.0 + Duration::from_secs(seconds))
}

fn minus(at: Timestamp, seconds: u64) -> Timestamp {
    Timestamp(at.0 - Duration::from_secs(seconds))
}
