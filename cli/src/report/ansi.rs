//! Terminal output as HTML: colours and weights are kept, what moves a cursor between lines is not.

use super::facts::{Gap, Log};
use crate::show::style::size;

/// Turns a log into HTML: colours as spans, progress bars as the terminal would leave them, and
/// everything escaped. What goes beyond `limit` bytes is left out of the middle, and said so.
pub(super) fn to_html(log: &Log, limit: usize) -> String {
    let mut html = String::with_capacity(log.text.len().min(limit) * 5 / 4);
    let mut style = Style::default();
    let gap = log.gap.map(|g| Gap {
        at: g.at.min(log.text.len()),
        ..g
    });
    let (head, missing, tail) = clip(&log.text, gap, limit);
    lines(head, &mut style, &mut html);
    if missing > 0 {
        let missing = size(missing);
        html.push_str(&format!(
            "<span class=\"cut\">… {missing} left out …</span>\n"
        ));
    }
    lines(tail, &mut style, &mut html);
    html
}

/// Cuts a text to a head and a tail of whole lines (where there are line ends), and tells how many
/// bytes are missing between them. A gap that is there already is where the cut goes.
fn clip(text: &[u8], gap: Option<Gap>, limit: usize) -> (&[u8], u64, &[u8]) {
    let at = match gap {
        Some(gap) => gap.at,
        None if text.len() <= limit => return (text, 0, &[]),
        // What went wrong is at the end, mostly.
        None => limit / 4,
    };
    let (mut head, mut tail) = text.split_at_checked(at).unwrap_or((text, &[]));
    if text.len() > limit {
        head = head.get(..limit / 4).unwrap_or(head);
        let room = limit.saturating_sub(head.len());
        tail = tail.get(tail.len().saturating_sub(room)..).unwrap_or(tail);
    }
    let ends = |part: &[u8], at: Option<usize>| at.map(|i| i + 1).filter(|i| *i < part.len());
    if let Some(end) = ends(head, head.iter().rposition(|b| *b == b'\n')) {
        head = head.get(..end).unwrap_or(head);
    }
    if let Some(start) = ends(tail, tail.iter().position(|b| *b == b'\n')) {
        tail = tail.get(start..).unwrap_or(tail);
    }
    let shown = (head.len() + tail.len()) as u64;
    let missing = text.len() as u64 - shown + gap.map_or(0, |g| g.missing);
    (head, missing, tail)
}

/// How a character looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Style {
    /// One of 16 colours.
    fore: Option<u8>,
    back: Option<u8>,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
    reverse: bool,
}

impl Style {
    fn classes(self) -> String {
        let (fore, back) = match self.reverse {
            true => (self.back.or(Some(0)), self.fore.or(Some(7))),
            false => (self.fore, self.back),
        };
        let colours = [fore.map(|c| format!("f{c}")), back.map(|c| format!("b{c}"))];
        let flags = [
            (self.bold, "bo"),
            (self.dim, "di"),
            (self.italic, "it"),
            (self.underline, "un"),
        ];
        let flags = flags
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, c)| (*c).to_owned());
        let all: Vec<_> = colours.into_iter().flatten().chain(flags).collect();
        all.join(" ")
    }

    /// Takes the parameters of an SGR sequence.
    fn apply(&mut self, params: &str) {
        // `38:5:1` is the standard's own form of `38;5;1`.
        let mut codes = params
            .split([';', ':'])
            .map(|p| {
                if p.is_empty() {
                    Ok(0)
                } else {
                    p.parse::<u16>()
                }
            })
            .map_while(Result::ok);
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Style::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 => self.underline = true,
                7 => self.reverse = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underline = false,
                27 => self.reverse = false,
                30..=37 => self.fore = Some((code - 30) as u8),
                38 => self.fore = extended(&mut codes).or(self.fore),
                39 => self.fore = None,
                40..=47 => self.back = Some((code - 40) as u8),
                48 => self.back = extended(&mut codes).or(self.back),
                49 => self.back = None,
                90..=97 => self.fore = Some((code - 90 + 8) as u8),
                100..=107 => self.back = Some((code - 100 + 8) as u8),
                _ => {}
            }
        }
    }
}

/// The rest of `38;5;N` or `38;2;R;G;B`, as the nearest of the 16 colours.
fn extended(codes: &mut impl Iterator<Item = u16>) -> Option<u8> {
    let mut byte = || Some(codes.next()?.min(255) as u8);
    match byte()? {
        5 => match byte()? {
            basic @ 0..=15 => Some(basic),
            grey @ 232..=255 => {
                let level = (grey - 232) * 10 + 8;
                Some(nearest([level; 3]))
            }
            cube => {
                let level = |n: u8| if n == 0 { 0 } else { 55 + n * 40 };
                let n = cube - 16;
                Some(nearest([level(n / 36), level(n / 6 % 6), level(n % 6)]))
            }
        },
        2 => Some(nearest([byte()?, byte()?, byte()?])),
        _ => None,
    }
}

fn nearest(colour: [u8; 3]) -> u8 {
    const BASIC: [[u8; 3]; 16] = [
        [0, 0, 0],
        [205, 0, 0],
        [0, 205, 0],
        [205, 205, 0],
        [0, 0, 238],
        [205, 0, 205],
        [0, 205, 205],
        [229, 229, 229],
        [127, 127, 127],
        [255, 0, 0],
        [0, 255, 0],
        [255, 255, 0],
        [92, 92, 255],
        [255, 0, 255],
        [0, 255, 255],
        [255, 255, 255],
    ];
    let distance = |basic: &[u8; 3]| -> u32 {
        let pairs = basic.iter().zip(colour);
        pairs.map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
    };
    let best = BASIC
        .iter()
        .zip(0..)
        .min_by_key(|(basic, _)| distance(basic));
    best.map_or(7, |(_, index)| index)
}

/// One line of a terminal: a carriage return writes over it.
#[derive(Default)]
struct Line {
    cells: Vec<(char, Style)>,
    cursor: usize,
}

impl Line {
    fn put(&mut self, c: char, style: Style) {
        match self.cells.get_mut(self.cursor) {
            Some(cell) => *cell = (c, style),
            None => self.cells.push((c, style)),
        }
        self.cursor += 1;
    }

    fn write(&mut self, html: &mut String) {
        let mut open = Style::default();
        for (c, style) in self.cells.drain(..) {
            if style != open {
                if open != Style::default() {
                    html.push_str("</span>");
                }
                if style != Style::default() {
                    html.push_str(&format!("<span class=\"{}\">", style.classes()));
                }
                open = style;
            }
            escape(c, html);
        }
        if open != Style::default() {
            html.push_str("</span>");
        }
        self.cursor = 0;
    }
}

fn escape(c: char, html: &mut String) {
    match c {
        '&' => html.push_str("&amp;"),
        '<' => html.push_str("&lt;"),
        '>' => html.push_str("&gt;"),
        '"' => html.push_str("&quot;"),
        '\'' => html.push_str("&#39;"),
        c => html.push(c),
    }
}

fn lines(text: &[u8], style: &mut Style, html: &mut String) {
    let text = String::from_utf8_lossy(text);
    let mut chars = text.chars().peekable();
    let mut line = Line::default();
    while let Some(c) = chars.next() {
        match c {
            '\n' => {
                line.write(html);
                html.push('\n');
            }
            '\r' => line.cursor = 0,
            '\x08' => line.cursor = line.cursor.saturating_sub(1),
            '\t' => line.put('\t', *style),
            '\x1b' => match chars.next_if(|c| matches!(c, '[' | ']' | 'P' | '_' | '^' | 'X')) {
                Some('[') => {
                    let params: String =
                        std::iter::from_fn(|| chars.next_if(|c| (' '..='?').contains(c))).collect();
                    match chars.next_if(|c| ('@'..='~').contains(c)) {
                        Some('m') => style.apply(&params),
                        Some('K') if matches!(&*params, "" | "0") => {
                            line.cells.truncate(line.cursor);
                        }
                        Some('K') if params == "2" => {
                            line.cells.clear();
                            line.cursor = 0;
                        }
                        _ => {}
                    }
                }
                // A string for the terminal itself (its title, a link): up to BEL or ESC \.
                Some(_) => {
                    while let Some(c) = chars.next_if(|c| *c != '\n') {
                        if c == '\x07' || (c == '\x1b' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                None => {
                    while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
                    chars.next_if(|c| ('0'..='~').contains(c));
                }
            },
            c if c.is_control() => {}
            // These reorder what surrounds them on the page.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c => line.put(c, *style),
        }
    }
    line.write(html);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn html(text: &str) -> String {
        let log = Log {
            text: text.into(),
            gap: None,
        };
        to_html(&log, 1 << 20)
    }

    #[test]
    fn as_a_terminal_shows_it() {
        for (text, want) in [
            ("plain\n", "plain\n"),
            ("<script>'&\"", "&lt;script&gt;&#39;&amp;&quot;"),
            (
                "\x1b[31mred\x1b[0m not",
                "<span class=\"f1\">red</span> not",
            ),
            (
                "\x1b[1;92mok\nstill\x1b[m",
                "<span class=\"f10 bo\">ok</span>\n<span class=\"f10 bo\">still</span>",
            ),
            ("\x1b[7mx", "<span class=\"f0 b7\">x</span>"),
            ("\x1b[38;5;196mx", "<span class=\"f9\">x</span>"),
            ("\x1b[38;2;0;0;200;4mx", "<span class=\"f4 un\">x</span>"),
            ("\x1b[48:5:240mx", "<span class=\"b8\">x</span>"),
            (" 10%\r 50%\r100%\ndone", "100%\ndone"),
            ("long text\rshort\x1b[K", "short"),
            ("abc\x08d", "abd"),
            ("dos\r\nline", "dos\nline"),
            ("\x1b]0;title\x07seen", "seen"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b[2J\x1b[1;1Hx\x1b(By\x00\x07", "xy"),
            ("\x1b[31", ""),
            ("\x1b", ""),
            ("a\u{202e}b", "ab"),
        ] {
            assert_eq!(html(text), want, "{text:?}");
        }
    }

    #[test]
    fn the_middle_of_a_long_log_is_left_out() {
        let text: String = (0..1000).map(|n| format!("line {n:04}\n")).collect();
        let log = Log {
            text: text.clone().into(),
            gap: None,
        };
        let got = to_html(&log, 100);
        assert!(got.starts_with("line 0000\nline 0001\n<span"), "{got}");
        assert!(got.ends_with("line 0999\n"), "{got}");
        let kept = got.matches("line ").count();
        let missing = size((1000 - kept as u64) * 10);
        assert!(got.contains(&format!("… {missing} left out …")), "{got}");

        let gap = Some(Gap {
            at: 20,
            missing: 5000,
        });
        let got = to_html(
            &Log {
                text: text[..50].into(),
                gap,
            },
            100,
        );
        assert!(got.starts_with("line 0000\nline 0001\n<span"), "{got}");
        assert!(got.contains("5 kB left out"), "{got}");
    }

    proptest! {
        #[test]
        fn nothing_gets_out_of_its_span(
            text in proptest::collection::vec(prop_oneof![
                Just(b"<script>".to_vec()), Just(b"\x1b[31m".to_vec()), Just(b"\x1b[".to_vec()), Just(b"\n".to_vec()),
                Just(b"\x1b]".to_vec()), Just(b"\r".to_vec()), proptest::collection::vec(any::<u8>(), 0..20),
            ], 0..60),
            limit in 1..400_usize, gap in proptest::option::of((0..500_usize, any::<u32>())),
        ) {
            let gap = gap.map(|(at, missing)| Gap { at, missing: missing.into() });
            let html = to_html(&Log { text: text.concat(), gap }, limit);
            let open = html.matches("<span class=\"").count();
            prop_assert_eq!(open, html.matches("</span>").count());
            prop_assert_eq!(open * 2, html.matches('<').count());
        }
    }
}
