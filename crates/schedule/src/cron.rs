//! Cron expressions, in the form that a native CronJob takes.

use std::ops::RangeInclusive;
use std::str::FromStr;

/// Longest expression, in bytes.
pub const MAX_CRON: usize = 1000;

/// A cron expression: five fields (minute, hour, day of the month, month, day of the week), or one of
/// `@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily`, `@midnight` and `@hourly`.
///
/// A field is `*` or `?`, a number, a range `a-b`, each with a step (`*/5`, `10-40/10`, `7/20` for
/// `7-59/20`), or a list of these. Months and days of the week have names too (`jan`, `MON`); Sunday is
/// 0. Where both the day of the month and the day of the week are restricted, a day is due that either
/// of them names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
}

/// Why a text is no cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It is too long to be one.
    #[error("it has more than {MAX_CRON} bytes")]
    TooLong,
    /// It does not have five fields.
    #[error(
        "expected five fields (minute, hour, day of the month, month, day of the week), found {0}"
    )]
    Fields(usize),
    /// It begins with `@`, and is none of the names.
    #[error("expected @yearly, @monthly, @weekly, @daily or @hourly")]
    Macro,
    /// It begins with a time zone.
    #[error("a time zone is no part of it: it goes into timeZone")]
    Zone,
    /// A field cannot be read.
    #[error("the {field}: {part:?}: {why}")]
    Field {
        /// Which.
        field: &'static str,
        /// The part of it.
        part: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such day.
    #[error("there is no such day in any year")]
    Never,
}

/// The numbers that a field names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Set {
    bits: u64,
    /// It was written as `*` or `?`: it does not restrict.
    any: bool,
}

impl Set {
    fn has(self, number: u32) -> bool {
        1_u64
            .checked_shl(number)
            .is_some_and(|bit| self.bits & bit != 0)
    }
}

struct Field {
    name: &'static str,
    range: RangeInclusive<u32>,
    names: &'static [&'static str],
}

const MINUTE: Field = Field {
    name: "minute",
    range: 0..=59,
    names: &[],
};
const HOUR: Field = Field {
    name: "hour",
    range: 0..=23,
    names: &[],
};
const DAY: Field = Field {
    name: "day of the month",
    range: 1..=31,
    names: &[],
};
const MONTH: Field = Field {
    name: "month",
    range: 1..=12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAY: Field = Field {
    name: "day of the week",
    range: 0..=6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// Days of each month at the most.
const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Cron, CronError> {
        if text.len() > MAX_CRON {
            return Err(CronError::TooLong);
        }
        let text = text.trim();
        if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
            return Err(CronError::Zone);
        }
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other if other.starts_with('@') => return Err(CronError::Macro),
            fields => fields,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(CronError::Fields(fields.len()));
        };
        let cron = Cron {
            minutes: MINUTE.read(minute)?,
            hours: HOUR.read(hour)?,
            days: DAY.read(day)?,
            months: MONTH.read(month)?,
            weekdays: WEEKDAY.read(weekday)?,
        };
        if cron.comes() {
            Ok(cron)
        } else {
            Err(CronError::Never)
        }
    }
}

impl Field {
    fn read(&self, text: &str) -> Result<Set, CronError> {
        let mut set = Set {
            bits: 0,
            any: false,
        };
        for part in text.split(',') {
            let read = self.part(part).map_err(|why| CronError::Field {
                field: self.name,
                part: part.chars().take(40).collect(),
                why,
            })?;
            set.bits |= read.bits;
            set.any |= read.any;
        }
        Ok(set)
    }

    fn part(&self, part: &str) -> Result<Set, String> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => (range, Some(number(step)?)),
        };
        let (from, to) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (first, last),
            Some((from, to)) => (self.number(from)?, self.number(to)?),
            None => {
                let from = self.number(range)?;
                (from, if step.is_some() { last } else { from })
            }
        };
        if from > to {
            return Err(format!("a range goes up, and {to} is less than {from}"));
        }
        let step = step.unwrap_or(1);
        if step == 0 {
            return Err("a step is at least 1".to_owned());
        }
        let every = usize::try_from(step).unwrap_or(usize::MAX);
        Ok(Set {
            bits: (from..=to).step_by(every).fold(0, |bits, n| bits | 1 << n),
            // As a native CronJob has it: with a step it restricts.
            any: matches!(range, "*" | "?") && step == 1,
        })
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let named = self.names.iter().zip(first..);
        let named = named
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        let number = match named {
            Some((_, number)) => number,
            None => number(text)?,
        };
        if self.range.contains(&number) {
            return Ok(number);
        }
        let hint = match (self.name, number) {
            (name, 7) if name == WEEKDAY.name => "; Sunday is 0",
            _ => "",
        };
        Err(format!("expected {first} to {last}, found {number}{hint}"))
    }
}

fn number(text: &str) -> Result<u32, String> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number) if is_number => Ok(number),
        _ => Err(format!(
            "expected a number, found {:?}",
            text.chars().take(20).collect::<String>()
        )),
    }
}

impl Cron {
    /// Whether there is a day that it names.
    fn comes(&self) -> bool {
        let by_weekday = !self.days.any && !self.weekdays.any;
        let mut months = LENGTHS.iter().zip(1..);
        by_weekday
            || months.any(|(length, month)| {
                self.months.has(month) && (1..=*length).any(|day| self.days.has(day))
            })
    }

    /// Whether it names this day; the weekday is counted from Sunday as 0.
    pub(crate) fn has_day(&self, month: u32, day: u32, weekday: u32) -> bool {
        let (by_day, by_weekday) = (self.days.has(day), self.weekdays.has(weekday));
        self.months.has(month)
            && match self.days.any || self.weekdays.any {
                true => by_day && by_weekday,
                false => by_day || by_weekday,
            }
    }

    /// Whether it names this hour.
    pub(crate) fn has_hour(&self, hour: u32) -> bool {
        self.hours.has(hour)
    }

    /// The first minute that it names from this one on, of the same hour.
    pub(crate) fn minute_from(&self, minute: u32) -> Option<u32> {
        (minute..=59).find(|m| self.minutes.has(*m))
    }
}
