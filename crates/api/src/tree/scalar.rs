//! What a plain scalar means. As `kubectl` reads manifests: YAML 1.2's core schema, and from YAML 1.1
//! `yes`/`no`/`on`/`off` and octal numbers that begin with 0 (`defaultMode: 0644`).

use serde_json::Number;

use super::Value;

/// Resolves a plain scalar that has no tag.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "y" | "Y" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "n" | "N" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        _ => number(text).map_or_else(|| Value::Text(text.to_owned()), Value::Number),
    }
}

/// Reads a number. What is none, an infinity or no number at all, is none for JSON either.
pub(super) fn number(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let first = digits.bytes().next()?;
    if !(first.is_ascii_digit() || first == b'.') {
        return None;
    }
    let radix = |prefix: &str, radix| {
        let rest = digits.strip_prefix(prefix)?;
        let plain = rest.bytes().all(|b| b.is_ascii_alphanumeric());
        plain.then(|| u64::from_str_radix(rest, radix).ok())?
    };
    let whole = radix("0x", 16)
        .or_else(|| radix("0o", 8))
        .or_else(|| radix("0b", 2))
        .or_else(|| radix("0", 8))
        .or_else(|| {
            let all = digits.bytes().all(|b| b.is_ascii_digit());
            all.then(|| digits.parse().ok())?
        });
    match whole {
        Some(n) if !negative => return Some(n.into()),
        Some(n) => return 0_i64.checked_sub_unsigned(n).map(Number::from),
        None => {}
    }
    // Rust also reads "infinity" and the like, which the first digit has ruled out.
    let floating = digits
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let value: f64 = floating.then(|| digits.parse().ok())??;
    Number::from_f64(if negative { -value } else { value })
}
