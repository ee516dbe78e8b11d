//! Times and durations as people write them.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time, written as RFC 3339 in UTC with microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub SystemTime);

impl Timestamp {
    /// The time from `earlier` to this; zero where the clock went backwards.
    pub fn since(self, earlier: Timestamp) -> Duration {
        self.0.duration_since(earlier.0).unwrap_or_default()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(at: SystemTime) -> Self {
        Timestamp(at)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Times that RFC 3339 cannot write (before 1970, after 9999) come from broken clocks only.
        let since = self
            .0
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let at = if since.as_secs() < 253_402_300_800 {
            self.0
        } else {
            SystemTime::UNIX_EPOCH
        };
        let at = at.max(SystemTime::UNIX_EPOCH);
        humantime::format_rfc3339_micros(at).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text)
            .map(Timestamp)
            .map_err(de::Error::custom)
    }
}

/// Longest duration that is accepted anywhere: a year.
pub const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 3600);

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form.
    #[error("{text:?} is not a duration ({cause}); write it as 500ms, 30s, 5m or 1h30m")]
    Form {
        /// What was given.
        text: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Longer than [`MAX_DURATION`].
    #[error("{0:?} is longer than a year")]
    TooLong(String),
}

/// Reads a duration such as `500ms`, `30s`, `5m` or `1h30m`.
///
/// # Errors
/// Where the text is of another form, or names more than [`MAX_DURATION`].
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let duration = humantime::parse_duration(text).map_err(|e| DurationError::Form {
        text: excerpt(text),
        cause: e.to_string(),
    })?;
    if duration > MAX_DURATION {
        return Err(DurationError::TooLong(excerpt(text)));
    }
    Ok(duration)
}

/// Writes a duration in the form that [`parse_duration`] reads, to the millisecond.
pub fn format_duration(duration: Duration) -> String {
    let millis = Duration::from_millis(duration.as_millis().try_into().unwrap_or(u64::MAX));
    humantime::format_duration(millis)
        .to_string()
        .replace(' ', "")
}

/// The beginning of a text of any length, for a message.
pub(crate) fn excerpt(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for bad in [
            "",
            "30",
            "-1s",
            "5 parsecs",
            "999999999999999999999s",
            "800d",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse_duration("30").unwrap_err().to_string(),
            "\"30\" is not a duration (time unit needed, for example 30sec or 30ms); \
             write it as 500ms, 30s, 5m or 1h30m"
        );
    }

    proptest! {
        #[test]
        fn durations_survive_writing(millis in 0..31_000_000_000_u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn times_survive_writing(micros in 0..253_402_300_799_000_000_u64) {
            let at = Timestamp(SystemTime::UNIX_EPOCH + Duration::from_micros(micros));
            let text = serde_json::to_string(&at).unwrap();
            prop_assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), at);
        }

        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = parse_duration(&text);
            let _ = serde_json::from_value::<Timestamp>(text.into());
        }
    }
}
