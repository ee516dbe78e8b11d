//! Lines of several steps on one screen: each after its step's name.

use super::lines::for_terminal;
use super::style::{Palette, fit, of_step, width};

/// How a screen looks.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Colours of the steps' output.
    pub steps: Palette,
    /// Colours of Baton's own lines.
    pub baton: Palette,
    /// The steps' output goes to a terminal: what could harm it is taken out.
    pub tty: bool,
    /// Only output and failures are shown.
    pub quiet: bool,
    /// The steps' lines stand alone, without names before them.
    pub bare: bool,
}

/// A name, cut or padded to this width.
pub(crate) fn aligned(name: &str, columns: usize) -> String {
    let name = fit(name, columns);
    let pad = " ".repeat(columns.saturating_sub(width(&name)));
    format!("{name}{pad}")
}

/// What stands before each line of a step's output.
pub(crate) fn prefix(look: &Look, number: u32, name: &str, columns: usize) -> Vec<u8> {
    if look.bare {
        return Vec::new();
    }
    let name = aligned(name, columns);
    let bar = if look.tty { '│' } else { '|' };
    let prefix = look.steps.paint(of_step(number), format!("{name} {bar}"));
    format!("{prefix} ").into_bytes()
}

/// Writes a line of output behind its prefix.
pub(crate) fn write_line(look: &Look, prefix: &[u8], line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(prefix);
    if look.tty {
        if for_terminal(line, out) {
            out.extend_from_slice(b"\x1b[0m");
        }
    } else {
        out.extend_from_slice(line);
    }
    out.push(b'\n');
}
