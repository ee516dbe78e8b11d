//! The times that are due.

use std::time::{Duration, SystemTime};

use baton_protocol::Timestamp;
use jiff::civil::DateTime;

use crate::cron::Cron;
use crate::zone::Zone;

/// How far is looked for a time that is due: a 29 February can be eight years off.
const HORIZON: i64 = 9 * 366 * DAY;
const DAY: i64 = 24 * HOUR;
const HOUR: i64 = 60;

/// The first time after `after` that is due: a full minute at which the clocks of the zone show what
/// the expression names. So a time that the clocks skip is not due, and one that they show twice is due
/// twice, as it is with a native CronJob. `None` where there is none that can be written.
pub fn next(cron: &Cron, zone: &Zone, after: Timestamp) -> Option<Timestamp> {
    let mut at = minute(after)?.checked_add(1)?;
    let end = at.checked_add(HORIZON)?;
    while at < end {
        let clock = clock(zone, at)?;
        let (hour, minute) = (number(clock.hour()), number(clock.minute()));
        let weekday = number(clock.weekday().to_sunday_zero_offset());
        let to_hour = HOUR - i64::from(minute);
        let to_day = DAY - HOUR * i64::from(hour) - i64::from(minute);
        let step = if !cron.has_day(number(clock.month()), number(clock.day()), weekday) {
            to_day
        } else if !cron.has_hour(hour) {
            to_hour
        } else {
            match cron.minute_from(minute) {
                Some(named) if named == minute => return timestamp(at),
                Some(named) => i64::from(named) - i64::from(minute),
                None => to_hour,
            }
        };
        // A step is as long on the zone's clocks unless they are set in between: then a shorter one.
        let steps = [step, to_hour.min(step), 1];
        at = steps
            .into_iter()
            .map(|step| (step, at.saturating_add(step)))
            .find(|(step, to)| *step == 1 || is_steady(zone, at, *to))
            .map_or(end, |(_, to)| to);
    }
    None
}

/// Whether the zone's clocks run evenly from one minute to another, of one day.
fn is_steady(zone: &Zone, from: i64, to: i64) -> bool {
    match (instant(from), instant(to)) {
        (Some(from), Some(to)) => zone.0.to_offset(from) == zone.0.to_offset(to),
        _ => false,
    }
}

fn clock(zone: &Zone, minute: i64) -> Option<DateTime> {
    Some(zone.0.to_datetime(instant(minute)?))
}

fn instant(minute: i64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_second(minute.checked_mul(60)?).ok()
}

fn number(part: i8) -> u32 {
    u32::try_from(part).unwrap_or_default()
}

/// The full minutes from 1970 to a time; `None` before 1970.
pub(crate) fn minute(at: Timestamp) -> Option<i64> {
    let since = at.0.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs() / 60).ok()
}

/// The time that is so many minutes after 1970.
pub(crate) fn timestamp(minute: i64) -> Option<Timestamp> {
    let seconds = u64::try_from(minute).ok()?.checked_mul(60)?;
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    Some(Timestamp(at))
}
