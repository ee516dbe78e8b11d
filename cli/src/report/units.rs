//! Times and sizes as people read them.

use std::time::Duration;

/// A duration to three digits or so: `12ms`, `3.2s`, `4m 05s`, `2h 03m`.
pub(super) fn duration(d: Duration) -> String {
    let (millis, secs) = (d.as_millis(), d.as_secs());
    match secs {
        _ if d.is_zero() => "0s".into(),
        _ if d.as_micros() < 1000 => "<1ms".into(),
        _ if millis < 1000 => format!("{millis}ms"),
        _ if millis < 9950 => format!("{:.1}s", d.as_secs_f64()),
        _ if millis < 59_500 => format!("{:.0}s", d.as_secs_f64()),
        0..3600 => {
            // 59.7 s round to a minute.
            let secs = secs.max(60);
            format!("{}m {:02}s", secs / 60, secs % 60)
        }
        _ => format!("{}h {:02}m", secs / 3600, secs % 3600 / 60),
    }
}

/// A size with binary units: `512 B`, `1.4 MiB`.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    match value < 9.95 {
        true => format!("{value:.1} {name}"),
        false => format!("{value:.0} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (micros, want) in [
            (0, "0s"),
            (7, "<1ms"),
            (12_400, "12ms"),
            (3_240_000, "3.2s"),
            (42_000_000, "42s"),
            (59_700_000, "1m 00s"),
            (245_000_000, "4m 05s"),
            (3_599_900_000, "59m 59s"),
            (7_380_000_000, "2h 03m"),
        ] {
            assert_eq!(duration(Duration::from_micros(micros)), want);
        }
    }

    #[test]
    fn sizes() {
        for (n, want) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1434, "1.4 KiB"),
            (12 << 20, "12 MiB"),
            (1_047_000, "1.0 MiB"),
            (3 << 30, "3.0 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(bytes(n), want);
        }
    }
}
