use proptest::prelude::*;

use super::cron;
use crate::{Cron, CronError, Zone, ZoneError};

#[test]
fn what_says_the_same_is_the_same() {
    for (a, b) in [
        ("@hourly", "0 * * * *"),
        ("@daily", "@midnight"),
        ("@yearly", "0 0 1 JAN *"),
        ("@weekly", "0 0 * * SUN"),
        ("*/15 * * * *", "0,15,30,45 * * * *"),
        ("7/20 * * * *", "7,27,47 * * * *"),
        ("10-40/10 * * * *", "10,20,30,40 * * * *"),
        ("  0   9 ? *  mon-fri ", "0 9 * 1-12/1 1-5"),
        ("0 0 * Feb-apr *", "0 0 * 2,3,4 *"),
        ("0-59 * * * *", "0-30,31-59 * * * *"),
    ] {
        let (a, b) = (cron(a), cron(b));
        // Stars are told from full ranges; elsewhere they say the same.
        let same = |x: u32| {
            (0..=6).all(|w| {
                a.has_day(x % 12 + 1, x % 31 + 1, w) == b.has_day(x % 12 + 1, x % 31 + 1, w)
            })
        };
        assert!((0..12 * 31).all(same), "{a:?} {b:?}");
        assert!((0..24).all(|h| a.has_hour(h) == b.has_hour(h)));
        assert!((0..60).all(|m| a.minute_from(m) == b.minute_from(m)));
    }
}

#[test]
fn a_mistake_names_its_field_and_part() {
    for (text, said) in [
        (
            "",
            "expected five fields (minute, hour, day of the month, month, day of the week), found 0",
        ),
        (
            "* * * * * *",
            "expected five fields (minute, hour, day of the month, month, day of the week), found 6",
        ),
        (
            "60 * * * *",
            "the minute: \"60\": expected 0 to 59, found 60",
        ),
        ("* 24 * * *", "the hour: \"24\": expected 0 to 23, found 24"),
        (
            "* * 0 * *",
            "the day of the month: \"0\": expected 1 to 31, found 0",
        ),
        (
            "* * * 13 *",
            "the month: \"13\": expected 1 to 12, found 13",
        ),
        (
            "* * * * 7",
            "the day of the week: \"7\": expected 0 to 6, found 7; Sunday is 0",
        ),
        ("*/0 * * * *", "the minute: \"*/0\": a step is at least 1"),
        (
            "1,,2 * * * *",
            "the minute: \"\": expected a number, found \"\"",
        ),
        (
            "30-10 * * * *",
            "the minute: \"30-10\": a range goes up, and 10 is less than 30",
        ),
        (
            "* * * * L",
            "the day of the week: \"L\": expected a number, found \"L\"",
        ),
        (
            "+5 * * * *",
            "the minute: \"+5\": expected a number, found \"+5\"",
        ),
        (
            "99999999999999999999 * * * *",
            "the minute: \"99999999999999999999\": expected a number, found \"99999999999999999999\"",
        ),
        (
            "*-5 * * * *",
            "the minute: \"*-5\": expected a number, found \"*\"",
        ),
        (
            "@every 1h",
            "expected @yearly, @monthly, @weekly, @daily or @hourly",
        ),
        (
            "TZ=UTC 0 * * * *",
            "a time zone is no part of it: it goes into timeZone",
        ),
        ("0 0 31 2,4 *", "there is no such day in any year"),
        ("0 0 30 feb ?", "there is no such day in any year"),
    ] {
        let error = text.parse::<Cron>().expect_err(text);
        assert_eq!(error.to_string(), said, "{text}");
    }
    assert_eq!("*,".repeat(600).parse::<Cron>(), Err(CronError::TooLong));
    // A day of the week as well: then it comes.
    cron("0 0 31 2 mon");
    cron("0 0 29 2 *");
}

#[test]
fn zones_are_spelled_as_they_are_called() {
    assert_eq!(Zone::named("Europe/Atlantis"), Err(ZoneError::Unknown));
    assert_eq!(Zone::named("Local"), Err(ZoneError::Unknown));
    assert_eq!(Zone::named(""), Err(ZoneError::Unknown));
    assert_eq!(Zone::named("Etc/Unknown"), Err(ZoneError::Unknown));
    let spelled = ZoneError::Spelling("Europe/Berlin".to_owned());
    assert_eq!(Zone::named("europe/berlin"), Err(spelled));
    for name in [
        "UTC",
        "Etc/UTC",
        "Europe/Berlin",
        "America/New_York",
        "Asia/Kolkata",
    ] {
        assert!(Zone::named(name).is_ok(), "{name}");
    }
    assert!(Zone::names().iter().any(|n| n == "Europe/Berlin"));
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,60}", almost in "[-*/,?0-9a-z ]{0,40}", name in ".{0,30}") {
        let _ = text.parse::<Cron>();
        let _ = almost.parse::<Cron>();
        let _ = Zone::named(&name);
    }
}
