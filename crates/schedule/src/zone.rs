//! Time zones, from the tables that are in the binary.

use std::sync::OnceLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// A time zone of the IANA database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(pub(crate) TimeZone);

/// Why a text names no time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// There is none of this name.
    #[error(
        "there is no time zone of this name; they are called Europe/Berlin, America/New_York or Etc/UTC"
    )]
    Unknown,
    /// It is spelled another way.
    #[error("it is spelled {0}")]
    Spelling(String),
}

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Zone {
        Zone(TimeZone::UTC)
    }

    /// The zone of an IANA name, such as `Europe/Berlin`.
    ///
    /// # Errors
    /// Where there is no zone of this name, spelled like this.
    pub fn named(name: &str) -> Result<Zone, ZoneError> {
        // The database would take it for a zone of which nothing is known.
        if name.eq_ignore_ascii_case("Etc/Unknown") {
            return Err(ZoneError::Unknown);
        }
        let zone = database().get(name).map_err(|_| ZoneError::Unknown)?;
        match zone.iana_name() {
            Some(spelled) if spelled != name => Err(ZoneError::Spelling(spelled.to_owned())),
            _ => Ok(Zone(zone)),
        }
    }

    /// All names, for a suggestion.
    pub fn names() -> Vec<String> {
        database()
            .available()
            .map(|name| name.to_string())
            .collect()
    }
}

fn database() -> &'static TimeZoneDatabase {
    static BUNDLED: OnceLock<TimeZoneDatabase> = OnceLock::new();
    BUNDLED.get_or_init(TimeZoneDatabase::bundled)
}
