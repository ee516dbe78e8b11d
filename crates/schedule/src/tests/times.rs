use proptest::prelude::*;

use super::{at, cron, plus, zone};
use crate::next::{minute, timestamp};
use crate::{Cron, Zone, next};

/// The times that are due from one time on, so many.
fn times(text: &str, name: &str, after: &str, count: usize) -> Vec<String> {
    let (cron, zone) = (cron(text), zone(name));
    std::iter::successors(next(&cron, &zone, at(after)), |t| next(&cron, &zone, *t))
        .take(count)
        .map(|t| t.to_string().replace(":00.000000Z", "Z"))
        .collect()
}

#[test]
fn times_that_a_native_cronjob_has_too() {
    // As the tests of its library have them.
    for (after, text, want) in [
        ("2012-07-09T14:45:00Z", "0/15 * * * *", "2012-07-09T15:00Z"),
        ("2012-07-09T14:59:00Z", "0/15 * * * *", "2012-07-09T15:00Z"),
        ("2012-07-09T14:59:59Z", "0/15 * * * *", "2012-07-09T15:00Z"),
        (
            "2012-07-09T15:45:00Z",
            "20-35/15 * * * *",
            "2012-07-09T16:20Z",
        ),
        ("2012-07-09T23:46:00Z", "*/15 * * * *", "2012-07-10T00:00Z"),
        (
            "2012-07-09T23:45:00Z",
            "20-35/15 * * * *",
            "2012-07-10T00:20Z",
        ),
        (
            "2012-07-09T23:35:00Z",
            "20-35/15 1/2 * * *",
            "2012-07-10T01:20Z",
        ),
        (
            "2012-07-09T23:35:00Z",
            "20-35/15 10-12 * * *",
            "2012-07-10T10:20Z",
        ),
        (
            "2012-07-09T23:35:00Z",
            "20-35/15 1/2 */2 * *",
            "2012-07-11T01:20Z",
        ),
        (
            "2012-07-09T23:35:00Z",
            "20-35/15 * 9-20 * *",
            "2012-07-10T00:20Z",
        ),
        (
            "2012-07-09T23:35:00Z",
            "20-35/15 * 9-20 Jul *",
            "2012-07-10T00:20Z",
        ),
        (
            "2012-07-09T23:35:00Z",
            "0 0 9 Apr-Oct ?",
            "2012-08-09T00:00Z",
        ),
        (
            "2012-07-09T23:35:00Z",
            "0 0 */5 Apr,Aug,Oct Mon",
            "2012-08-01T00:00Z",
        ),
        (
            "2012-07-09T23:35:00Z",
            "0 0 */5 Oct Mon",
            "2012-10-01T00:00Z",
        ),
        ("2012-07-09T23:35:00Z", "0 0 * Feb Mon", "2013-02-04T00:00Z"),
        (
            "2012-07-09T23:35:00Z",
            "0 0 * Feb Mon/2",
            "2013-02-01T00:00Z",
        ),
        ("2012-07-09T23:59:45Z", "0 * * * *", "2012-07-10T00:00Z"),
        ("2012-12-31T23:59:45Z", "* * * * *", "2013-01-01T00:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 29 2 ?", "2016-02-29T00:00Z"),
        ("2096-03-01T00:00:00Z", "0 0 29 2 *", "2104-02-29T00:00Z"),
    ] {
        assert_eq!(times(text, "UTC", after, 1), [want], "{text} after {after}");
    }
}

#[test]
fn clocks_that_are_put_forward_skip_what_they_do_not_show() {
    // 10 March 2024, 02:00 in New York is 03:00.
    let want = ["2024-03-09T07:30Z", "2024-03-11T06:30Z"];
    assert_eq!(
        times("30 2 * * *", "America/New_York", "2024-03-09T00:00:00Z", 2),
        want
    );
    let hours = times("0 * * * *", "America/New_York", "2024-03-10T05:30:00Z", 3);
    assert_eq!(
        hours,
        [
            "2024-03-10T06:00Z",
            "2024-03-10T07:00Z",
            "2024-03-10T08:00Z"
        ]
    );
    // There is no midnight on 4 November 2018 in Sao Paulo.
    let want = ["2018-11-03T03:00Z", "2018-11-05T02:00Z"];
    assert_eq!(
        times("0 0 * * *", "America/Sao_Paulo", "2018-11-02T12:00:00Z", 2),
        want
    );
}

#[test]
fn clocks_that_are_put_back_show_an_hour_twice() {
    // 3 November 2024, 02:00 in New York is 01:00 again.
    let want = [
        "2024-11-03T05:30Z",
        "2024-11-03T06:30Z",
        "2024-11-04T06:30Z",
    ];
    assert_eq!(
        times("30 1 * * *", "America/New_York", "2024-11-02T12:00:00Z", 3),
        want
    );
    // By half an hour in Lord Howe: 7 April 2024, 02:00 is 01:30.
    let want = [
        "2024-04-06T14:45Z",
        "2024-04-06T15:15Z",
        "2024-04-07T15:15Z",
    ];
    assert_eq!(
        times(
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2024-04-06T00:00:00Z",
            3
        ),
        want
    );
}

#[test]
fn a_zone_that_skips_a_day_skips_its_runs() {
    // 30 December 2011 did not come to Samoa.
    let want = [
        "2011-12-29T22:00Z",
        "2011-12-30T22:00Z",
        "2011-12-31T22:00Z",
    ];
    assert_eq!(
        times("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", 3),
        want
    );
}

/// Whether a minute is due, by the zone's clocks and the expression alone.
fn is_due(cron: &Cron, zone: &Zone, minute: i64) -> bool {
    let clock = zone
        .0
        .to_datetime(jiff::Timestamp::from_second(minute * 60).unwrap());
    let weekday = clock.weekday().to_sunday_zero_offset();
    cron.has_day(clock.month() as u32, clock.day() as u32, weekday as u32)
        && cron.has_hour(clock.hour() as u32)
        && cron.minute_from(clock.minute() as u32) == Some(clock.minute() as u32)
}

fn field(first: u32, last: u32) -> impl Strategy<Value = String> {
    let number = first..=last;
    prop_oneof![
        4 => Just("*".to_owned()),
        2 => number.clone().prop_map(|n| n.to_string()),
        1 => (1..=last / 2).prop_map(|n| format!("*/{n}")),
        1 => (number.clone(), number.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (number.clone(), number).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

pub(super) fn crons() -> impl Strategy<Value = Cron> {
    let fields = (
        field(0, 59),
        field(0, 23),
        field(1, 31),
        field(1, 12),
        field(0, 6),
    );
    fields.prop_filter_map("a day that never comes", |(m, h, d, mo, w)| {
        format!("{m} {h} {d} {mo} {w}").parse().ok()
    })
}

pub(super) fn zones() -> impl Strategy<Value = Zone> {
    let names = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/St_Johns",
        "America/Sao_Paulo",
        "Pacific/Apia",
        "Africa/Casablanca",
        "Asia/Kathmandu",
        "America/Havana",
        "Antarctica/Troll",
        "Asia/Tehran",
    ];
    prop::sample::select(names.to_vec()).prop_map(zone)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Every minute is looked at: the first that is due is the one that is found, also where clocks
    /// are set.
    #[test]
    fn the_next_time_is_the_first_that_is_due(
        cron in crons(),
        zone in zones(),
        // 1985 to 2040, and often near a time at which clocks are set.
        start in 7_889_400_i64..36_820_000,
        to_transition in any::<bool>(),
        before in 0_i64..600,
    ) {
        const SCANNED: i64 = 4 * 24 * 60;
        let start = match to_transition {
            true => {
                let from = jiff::Timestamp::from_second(start * 60).unwrap();
                let set = zone.0.following(from).next().map(|t| t.timestamp().as_second() / 60);
                set.unwrap_or(start) - before
            }
            false => start,
        };
        let found = next(&cron, &zone, timestamp(start).unwrap()).and_then(minute);
        let scanned = (start + 1..start + SCANNED).find(|m| is_due(&cron, &zone, *m));
        match scanned {
            Some(scanned) => prop_assert_eq!(found, Some(scanned)),
            None => {
                let found = found.expect("every expression that is read comes");
                prop_assert!(found >= start + SCANNED && is_due(&cron, &zone, found));
            }
        }
    }

    #[test]
    fn seconds_make_no_difference(cron in crons(), zone in zones(), minutes in 0_i64..40_000_000, seconds in 0_u64..60) {
        let after = timestamp(minutes).unwrap();
        prop_assert_eq!(next(&cron, &zone, plus(after, seconds)), next(&cron, &zone, after));
    }
}
