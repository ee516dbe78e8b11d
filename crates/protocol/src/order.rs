//! The order file: whose turn it is.
//!
//! Text: `0` nothing may run, `N` step N may run, `-1` cancelled, K+1 after the last step of K.

use std::fmt;

/// Largest order file that is read, in bytes. What is longer is not an order.
pub const MAX_ORDER_BYTES: usize = 4096;

/// The content of an order file that Baton writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// `-1`: every step that still waits or runs is to stop.
    Cancelled,
    /// `0`: nothing may run yet; `N`: step N may run; K+1: the last step is over.
    Turn(u32),
}

impl Order {
    /// Nothing may run yet.
    pub const HOLD: Order = Order::Turn(0);

    /// Reads an order from a file's content. `None` where the content is no number of this kind.
    pub fn parse(content: &[u8]) -> Option<Order> {
        match trimmed(content) {
            b"-1" => Some(Order::Cancelled),
            digits if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
                std::str::from_utf8(digits)
                    .ok()?
                    .parse()
                    .ok()
                    .map(Order::Turn)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::Cancelled => f.write_str("-1"),
            Order::Turn(n) => write!(f, "{n}"),
        }
    }
}

/// What a step waits for (`--wait-content`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// The file exists, whatever it holds. `-1` still cancels.
    Exists,
    /// This step's number.
    Turn(u32),
    /// Any other text, compared for equality.
    Text(String),
}

/// What one look at an order file means to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not yet.
    Wait,
    /// It is this step's turn.
    Go,
    /// The order says cancelled.
    Cancelled,
    /// The order is already past this step: it holds this number.
    Passed(u32),
}

impl Awaited {
    /// Reads the value of `--wait-content`; an empty one means that the file's existence is enough.
    pub fn parse(text: &str) -> Awaited {
        match Order::parse(text.as_bytes()) {
            _ if text.is_empty() => Awaited::Exists,
            Some(Order::Turn(n)) => Awaited::Turn(n),
            _ => Awaited::Text(text.to_owned()),
        }
    }

    /// Judges an order file's content. Leading and trailing white space never counts.
    pub fn judge(&self, content: &[u8]) -> Verdict {
        let order = Order::parse(content);
        match (self, order) {
            (Awaited::Text(text), _) if trimmed(content) == trimmed(text.as_bytes()) => Verdict::Go,
            (_, Some(Order::Cancelled)) => Verdict::Cancelled,
            (Awaited::Exists, _) => Verdict::Go,
            (Awaited::Turn(n), Some(Order::Turn(now))) if now == *n => Verdict::Go,
            (Awaited::Turn(n), Some(Order::Turn(now))) if now > *n => Verdict::Passed(now),
            _ => Verdict::Wait,
        }
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Awaited::Exists => Ok(()),
            Awaited::Turn(n) => write!(f, "{n}"),
            Awaited::Text(text) => f.write_str(text),
        }
    }
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_goes_at_its_number_alone() {
        let third = Awaited::parse("3");
        for (content, want) in [
            (&b""[..], Verdict::Wait),
            (b"0", Verdict::Wait),
            (b"2\n", Verdict::Wait),
            (b"3", Verdict::Go),
            (b" 3 \r\n", Verdict::Go),
            (b"03", Verdict::Go),
            (b"4", Verdict::Passed(4)),
            (b"-1\n", Verdict::Cancelled),
            (b"-2", Verdict::Wait),
            (b"3x", Verdict::Wait),
            (b"99999999999999999999", Verdict::Wait),
            (b"\xff\xfe", Verdict::Wait),
        ] {
            assert_eq!(third.judge(content), want, "{content:?}");
        }
    }

    #[test]
    fn other_text_is_compared_for_equality() {
        let ready = Awaited::parse("ready");
        assert_eq!(ready.judge(b"ready\n"), Verdict::Go);
        assert_eq!(ready.judge(b"readyish"), Verdict::Wait);
        assert_eq!(ready.judge(b"7"), Verdict::Wait);
        assert_eq!(ready.judge(b"-1"), Verdict::Cancelled);
        assert_eq!(Awaited::parse("-1").judge(b"-1"), Verdict::Go);
    }

    #[test]
    fn existence_is_enough_where_nothing_is_asked_for() {
        assert_eq!(Awaited::parse("").judge(b""), Verdict::Go);
        assert_eq!(Awaited::parse("").judge(b"-1"), Verdict::Cancelled);
    }

    #[test]
    fn orders_are_written_as_they_are_read() {
        for order in [Order::Cancelled, Order::HOLD, Order::Turn(7)] {
            assert_eq!(Order::parse(order.to_string().as_bytes()), Some(order));
        }
    }
}
