//! Colours, and how texts are written that have to fit.

use std::fmt;
use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A colour or weight, by its SGR parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style(&'static str);

/// What matters most.
pub const BOLD: Style = Style("1");
/// What matters least.
pub const FAINT: Style = Style("2");
/// Success.
pub const GREEN: Style = Style("32");
/// Failure.
pub const RED: Style = Style("1;31");
/// What deserves a look.
pub const YELLOW: Style = Style("33");

/// The colours that steps take in turn: those that read well on dark and light grounds, without red
/// and green, which mean something.
const OF_STEPS: [Style; 6] = [
    Style("36"),
    Style("35"),
    Style("94"),
    Style("33"),
    Style("96"),
    Style("95"),
];

/// The colour of a step's name.
pub fn of_step(number: u32) -> Style {
    let index = number.saturating_sub(1) as usize % OF_STEPS.len();
    OF_STEPS.get(index).copied().unwrap_or(BOLD)
}

/// A text in a style, or plain.
#[derive(Debug, Clone, Copy)]
pub struct Styled<T>(pub Option<Style>, pub T);

impl<T: fmt::Display> fmt::Display for Styled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Style(sgr)) => write!(f, "\u{1b}[{sgr}m{}\u{1b}[0m", self.1),
            None => self.1.fmt(f),
        }
    }
}

/// Whether output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette(pub bool);

impl Palette {
    /// A text in a style where output is coloured.
    pub fn paint<T: fmt::Display>(self, style: Style, text: T) -> Styled<T> {
        Styled(self.0.then_some(style), text)
    }
}

/// The columns that a text takes on a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Cuts a text to `columns`, with an ellipsis where something is left out.
pub fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut room = columns.saturating_sub(1);
    let mut fitted: String = text
        .chars()
        .take_while(|c| {
            let wide = c.width().unwrap_or(0);
            let fits = wide <= room;
            room = room.saturating_sub(wide);
            fits
        })
        .collect();
    if columns > 0 {
        fitted.push('…');
    }
    fitted
}

/// Writes a text that came from outside on one line: controls as spaces.
pub fn one_line(text: &str) -> String {
    let flat: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    flat.trim().to_owned()
}

/// Writes a time span as people read it: `12ms`, `3.2s`, `4m 05s`, `2h 05m`.
pub fn span(span: Duration) -> String {
    let millis = span.as_millis();
    let secs = span.as_secs();
    match secs {
        0 if millis == 0 && !span.is_zero() => "<1ms".to_owned(),
        0 => format!("{millis}ms"),
        // What rounds to a minute is written as one.
        1..60 if millis < 59_950 => format!("{:.1}s", span.as_secs_f64()),
        1..3600 => {
            let secs = (millis + 500) / 1000;
            format!("{}m {:02}s", secs / 60, secs % 60)
        }
        _ => format!("{}h {:02}m", secs / 3600, secs / 60 % 60),
    }
}

/// Writes a size in bytes: `0`, `812 kB`, `3.4 MB`, `1.2 GB`.
pub fn size(bytes: u64) -> String {
    let kilo = bytes as f64 / 1e3;
    match bytes {
        0 => "0".to_owned(),
        1..1_000 => format!("{bytes} B"),
        1_000..999_500 => format!("{kilo:.0} kB"),
        999_500..999_950_000 => format!("{:.1} MB", kilo / 1e3),
        _ => format!("{:.1} GB", kilo / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (micros, want) in [
            (0, "0ms"),
            (300, "<1ms"),
            (12_900, "12ms"),
            (3_249_000, "3.2s"),
            (59_949_000, "59.9s"),
            (59_990_000, "1m 00s"),
            (245_000_000, "4m 05s"),
            (7_500_000_000, "2h 05m"),
        ] {
            assert_eq!(span(Duration::from_micros(micros)), want);
        }
    }

    #[test]
    fn sizes() {
        for (bytes, want) in [
            (0, "0"),
            (999, "999 B"),
            (1_500_000, "1.5 MB"),
            (999_600, "1.0 MB"),
            (812_300, "812 kB"),
            (1_234_000_000, "1.2 GB"),
        ] {
            assert_eq!(size(bytes), want);
        }
    }

    #[test]
    fn texts_that_have_to_fit() {
        assert_eq!(fit("compile", 7), "compile");
        assert_eq!(fit("compile", 6), "compi…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(fit("abc", 0), "");
        assert_eq!(one_line(" a\nb\u{1b}[1m "), "a b [1m");
    }

    #[test]
    fn colours_can_be_off() {
        assert_eq!(Palette(false).paint(RED, "x").to_string(), "x");
        assert_eq!(
            Palette(true).paint(RED, "x").to_string(),
            "\u{1b}[1;31mx\u{1b}[0m"
        );
        assert_ne!(of_step(1), of_step(2));
        assert_eq!(of_step(1), of_step(7));
    }
}
