//! What a step prints, cut into lines that can stand between those of other steps.

/// Longest line that is kept whole, in bytes; a longer one is split.
pub const MAX_LINE_BYTES: usize = 16 << 10;

/// Cuts a stream into lines.
///
/// A carriage return inside a line goes back to its start, as on a terminal: of a progress bar that
/// redraws itself the last state is what remains. A line longer than [`MAX_LINE_BYTES`] is split,
/// between characters where it is text.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    /// A carriage return stands before what comes next.
    returned: bool,
}

impl Lines {
    /// Takes what was printed next and gives the lines that it completes, without their ends.
    pub fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            let (text, tail) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            self.text(text, &mut line);
            if tail.first() == Some(&b'\n') {
                line(&self.partial);
                self.partial.clear();
                self.returned = false;
            } else {
                self.returned = true;
            }
            rest = tail.get(1..).unwrap_or_default();
        }
        self.text(rest, &mut line);
    }

    /// The stream is over: gives what has no line end.
    pub fn finish(&mut self, line: impl FnOnce(&[u8])) {
        if !self.partial.is_empty() {
            line(&self.partial);
        }
        *self = Lines::default();
    }

    fn text(&mut self, text: &[u8], line: &mut impl FnMut(&[u8])) {
        if text.is_empty() {
            return;
        }
        if std::mem::take(&mut self.returned) {
            self.partial.clear();
        }
        let mut rest = text;
        while self.partial.len() + rest.len() > MAX_LINE_BYTES {
            let (head, tail) = rest
                .split_at_checked(MAX_LINE_BYTES - self.partial.len())
                .unwrap_or((rest, &[]));
            self.partial.extend_from_slice(head);
            let begun = begun_character(&self.partial);
            let cut = self.partial.split_off(self.partial.len() - begun);
            line(&self.partial);
            self.partial = cut;
            rest = tail;
        }
        self.partial.extend_from_slice(rest);
    }
}

/// How many bytes at the end are the beginning of a UTF-8 character that is not whole.
fn begun_character(bytes: &[u8]) -> usize {
    let last = bytes.iter().rev().take(3).enumerate();
    for (behind, byte) in last {
        let whole = match byte {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if behind + 1 < whole { behind + 1 } else { 0 };
    }
    0
}

/// Writes a line for a terminal: text and colours as they are; everything else that would move the
/// cursor or talk to the terminal is left out or shown as `^X`. Gives whether it holds colours, which
/// are then to be reset.
pub fn for_terminal(line: &[u8], out: &mut Vec<u8>) -> bool {
    let text = String::from_utf8_lossy(line);
    let mut chars = text.chars();
    let mut coloured = false;
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match sequence(chars.as_str()) {
                (len, true) => {
                    coloured = true;
                    out.push(0x1b);
                    out.extend_from_slice(chars.as_str().get(..len).unwrap_or_default().as_bytes());
                    chars = chars.as_str().get(len..).unwrap_or_default().chars();
                }
                (len, false) => chars = chars.as_str().get(len..).unwrap_or_default().chars(),
            },
            '\t' => out.push(b'\t'),
            '\u{0}'..='\u{1f}' => {
                out.push(b'^');
                out.push(c as u8 + 0x40);
            }
            '\u{7f}' => out.extend_from_slice(b"^?"),
            // The C1 controls, and the marks that turn the direction of what follows.
            '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    coloured
}

/// The length of the escape sequence whose text after ESC is this, and whether it sets colours.
fn sequence(text: &str) -> (usize, bool) {
    let bytes = text.as_bytes();
    match bytes.first() {
        Some(b'[') => {
            let body = bytes.iter().skip(1);
            let inner = body.take_while(|b| (0x20..=0x3f).contains(*b)).count();
            match bytes.get(1 + inner) {
                Some(b'm') => {
                    let plain = bytes.iter().skip(1).take(inner);
                    let is_colour = plain
                        .into_iter()
                        .all(|b| b.is_ascii_digit() || matches!(b, b';' | b':'));
                    (inner + 2, is_colour)
                }
                Some(0x40..=0x7e) => (inner + 2, false),
                _ => (1 + inner, false),
            }
        }
        // A string for the terminal (titles, links): up to BEL or ESC \.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            let end = bytes.iter().position(|b| matches!(b, 0x07 | 0x1b));
            match end {
                Some(at) if bytes.get(at) == Some(&0x1b) => (
                    at + 1 + usize::from(bytes.get(at + 1) == Some(&b'\\')),
                    false,
                ),
                Some(at) => (at + 1, false),
                None => (bytes.len(), false),
            }
        }
        Some(0x20..=0x7e) => (1, false),
        _ => (0, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut found = Vec::new();
        let mut lines = Lines::default();
        for piece in pieces {
            lines.feed(piece, |l| {
                found.push(String::from_utf8_lossy(l).into_owned())
            });
        }
        lines.finish(|l| found.push(String::from_utf8_lossy(l).into_owned()));
        found
    }

    fn shown(line: &str) -> String {
        let mut out = Vec::new();
        for_terminal(line.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_put_together_and_taken_apart() {
        assert_eq!(lines(&[b"a\nb", b"c\n\nd"]), ["a", "bc", "", "d"]);
        assert_eq!(lines(&[b"dos\r", b"\nx\r\n"]), ["dos", "x"]);
        assert_eq!(
            lines(&[b"10%\r20%", b"\r", b"100%\r\ndone"]),
            ["100%", "done"]
        );
        assert_eq!(lines(&[b"50%\r"]), ["50%"]);
        assert_eq!(lines(&[b""]), [""; 0]);
    }

    #[test]
    fn a_long_line_is_split_between_characters() {
        let text = "é".repeat(MAX_LINE_BYTES); // two bytes each
        let got = lines(&[b"x", text.as_bytes(), b"\n"]);
        assert_eq!(got.concat(), format!("x{text}"));
        assert!(
            got.iter()
                .all(|l| l.len() <= MAX_LINE_BYTES && !l.contains('\u{fffd}'))
        );
        assert_eq!(got.len(), 3);
        let binary = vec![0x80; 3 * MAX_LINE_BYTES];
        let mut total = 0;
        let mut lines = Lines::default();
        lines.feed(&binary, |l| total += l.len());
        lines.finish(|l| total += l.len());
        assert_eq!(total, binary.len());
    }

    #[test]
    fn a_terminal_gets_text_and_colours_alone() {
        for (line, want) in [
            ("plain\ttext é 日本", "plain\ttext é 日本"),
            ("\u{1b}[1;31mred\u{1b}[0m", "\u{1b}[1;31mred\u{1b}[0m"),
            ("\u{1b}[2J\u{1b}[Hgone\u{1b}[K", "gone"),
            ("\u{1b}]0;title\u{7}x\u{1b}]8;;http://h\u{1b}\\y", "xy"),
            ("\u{1b}[>4;1mx\u{1b}[?25ly", "xy"),
            ("bell\u{7} del\u{7f} nul\0", "bell^G del^? nul^@"),
            ("a\u{9b}31mb\u{202e}c", "a\u{fffd}31mb\u{fffd}c"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("\u{1b}[31", ""),
            ("\u{1b}cx", "x"),
        ] {
            assert_eq!(shown(line), want, "{line:?}");
        }
        assert!(!for_terminal(b"plain", &mut Vec::new()));
        assert!(for_terminal(b"\x1b[1mx", &mut Vec::new()));
    }

    proptest! {
        #[test]
        fn nothing_is_lost(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..30)) {
            let text: Vec<u8> = pieces.concat().into_iter().filter(|b| *b != b'\r').collect();
            let mut got = Vec::new();
            let mut lines = Lines::default();
            for piece in &pieces {
                let piece: Vec<u8> = piece.iter().copied().filter(|b| *b != b'\r').collect();
                lines.feed(&piece, |l| { got.extend_from_slice(l); got.push(b'\n'); });
            }
            lines.finish(|l| got.extend_from_slice(l));
            prop_assert_eq!(got, text);
        }

        #[test]
        fn no_control_reaches_a_terminal(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = Vec::new();
            for_terminal(&bytes, &mut out);
            let text = String::from_utf8(out).unwrap();
            let mut rest = text.as_str();
            while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
                rest = &rest[at..];
                prop_assert!(rest.starts_with("\u{1b}["), "{rest:?}");
                let end = rest.find('m');
                prop_assert!(end.is_some_and(|end| rest[2..end].bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':')));
                rest = &rest[end.unwrap()..];
            }
        }

        #[test]
        fn escapes_of_every_kind(line in "(\u{1b}[\\[\\]P_cm]?[0-9;:?>]{0,3}[A-Za-z\u{7}\\\\]?){0,10}") {
            let once = shown(&line);
            prop_assert_eq!(shown(&once), once.clone());
        }
    }
}
