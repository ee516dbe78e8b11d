//! A graph as a person draws it, in the lines of a terminal.
//!
//! ```text
//! ✔ build 12s ─┬─▶ ▶ test ──┬─▶ · deploy
//!              └─▶ ✔ lint ──┘
//! ```
//! A line that only crosses another goes below it, and an arrowhead between nodes is where a line enters
//! another one and goes on with it. A graph that is too wide is a list in which each node names those
//! that it waits for.

use baton_flow::{Graph, On};

use super::layout::{Layout, Net};
use crate::show::style::{FAINT, Palette, Style, fit, one_line, width};

/// Longest name that is shown whole in a picture, in columns.
const MAX_NAME: usize = 40;
/// Most dependencies that a line of a list names.
const MAX_NEEDS: usize = 8;

/// What is shown of a node besides its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// A character for how it stands; may be empty.
    pub mark: &'static str,
    /// The mark's style.
    pub style: Style,
    /// A few words more, where there is room for them.
    pub detail: String,
}

/// Draws a graph in lines of at most so many columns, without line ends. `label` tells of the node at
/// a place.
pub fn draw(
    graph: &Graph,
    label: &dyn Fn(usize) -> Label,
    columns: usize,
    palette: Palette,
) -> Vec<String> {
    let drawing = Drawing {
        graph,
        label,
        columns,
        palette,
    };
    let mut lines = drawing.part(false);
    let last = drawing.part(true);
    if !last.is_empty() {
        lines.push(palette.paint(FAINT, "finally").to_string());
        lines.extend(last);
    }
    lines
}

struct Drawing<'a> {
    graph: &'a Graph,
    label: &'a dyn Fn(usize) -> Label,
    columns: usize,
    palette: Palette,
}

/// A piece of a line.
#[derive(Debug, Clone)]
struct Piece {
    text: String,
    style: Option<Style>,
}

impl Piece {
    fn new(text: impl Into<String>, style: Option<Style>) -> Piece {
        let text = text.into();
        Piece { text, style }
    }
}

fn total(pieces: &[Piece]) -> usize {
    pieces.iter().map(|p| width(&p.text)).sum()
}

impl Drawing<'_> {
    fn part(&self, finally: bool) -> Vec<String> {
        let layout = Layout::of(self.graph, finally);
        let pictures = [true, false]
            .into_iter()
            .filter_map(|with_details| self.picture(layout.as_ref()?, with_details));
        let lines = { pictures }.next().unwrap_or_else(|| self.list(finally));
        lines.iter().map(|line| self.paint(line)).collect()
    }

    fn paint(&self, line: &[Piece]) -> String {
        let mut text = String::new();
        let last = line.iter().rposition(|p| !p.text.trim_end().is_empty());
        let kept = last.map_or(0, |i| i + 1);
        for (i, piece) in line.iter().take(kept).enumerate() {
            let shown = match i + 1 == kept {
                true => piece.text.trim_end(),
                false => &piece.text,
            };
            match piece.style {
                Some(style) if !shown.trim().is_empty() => {
                    text.push_str(&self.palette.paint(style, shown).to_string());
                }
                _ => text.push_str(shown),
            }
        }
        text
    }

    /// The layers side by side; `None` where that is too wide.
    fn picture(&self, layout: &Layout, with_details: bool) -> Option<Vec<Vec<Piece>>> {
        let mut lines = vec![Vec::new(); layout.rows];
        let mut taken = 0;
        for (at, layer) in layout.layers.iter().enumerate() {
            let cells = || layer.iter().filter_map(|c| layout.cells.get(*c));
            let labels: Vec<Vec<Piece>> = cells()
                .map(|cell| match cell.node {
                    Some(node) => self.label(node, with_details),
                    None => Vec::new(),
                })
                .collect();
            let widest = labels.iter().map(|l| total(l)).max().unwrap_or(0);
            let last = at + 1 == layout.layers.len();
            let tracks = layout.tracks(at);
            let lines_between = if last { 0 } else { 2 * tracks + 2 };
            taken += widest + lines_between + if at > 0 { 2 } else { 0 };
            if taken > self.columns {
                return None;
            }
            let mut at_row: Vec<Option<(&super::layout::Cell, Vec<Piece>)>> =
                vec![None; layout.rows];
            for (cell, label) in cells().zip(labels) {
                if let Some(place) = at_row.get_mut(cell.row) {
                    *place = Some((cell, label));
                }
            }
            let gap = layout.gaps.get(at).map(Vec::as_slice).unwrap_or(&[]);
            for (row, (line, cell)) in lines.iter_mut().zip(at_row).enumerate() {
                let (lead, fill) = match &cell {
                    Some((cell, _)) if cell.node.is_none() => ("──", '─'),
                    Some((cell, _)) => ("▶ ", if cell.next.is_empty() { ' ' } else { '─' }),
                    None => ("  ", ' '),
                };
                if at > 0 {
                    line.push(Piece::new(lead, Some(FAINT)));
                }
                let label = cell.map(|(_, label)| label).unwrap_or_default();
                let room = widest - total(&label);
                let bend = label.is_empty() && fill == '─';
                line.extend(label);
                if !last {
                    let mut rest = String::from(if bend { fill } else { ' ' });
                    rest.extend(std::iter::repeat_n(fill, room));
                    rest.push_str(&between(gap, row, tracks));
                    line.push(Piece::new(rest, Some(FAINT)));
                }
            }
        }
        Some(lines)
    }

    /// How a node is written: `✔ deploy 3.2s [if build failed]`.
    fn label(&self, node: usize, with_details: bool) -> Vec<Piece> {
        let label = (self.label)(node);
        let mut pieces = Vec::new();
        if !label.mark.is_empty() {
            pieces.push(Piece::new(label.mark, Some(label.style)));
            pieces.push(Piece::new(" ", None));
        }
        pieces.push(Piece::new(fit(&self.name(node), MAX_NAME), None));
        let detail = one_line(&label.detail);
        if with_details && !detail.is_empty() {
            pieces.push(Piece::new(format!(" {detail}"), Some(FAINT)));
        }
        let unusual = conditions(self.graph, node);
        if !unusual.is_empty() {
            let text = fit(&unusual.join(", "), MAX_NAME);
            pieces.push(Piece::new(format!(" [{text}]"), Some(FAINT)));
        }
        pieces
    }

    fn name(&self, node: usize) -> String {
        name(self.graph, node)
    }

    /// A line for each node, in an order in which each comes after those that it waits for.
    fn list(&self, finally: bool) -> Vec<Vec<Piece>> {
        let places = self.graph.order();
        let places = places.filter(|n| self.graph.is_finally(*n) == finally);
        places.map(|node| self.line(node)).collect()
    }

    fn line(&self, node: usize) -> Vec<Piece> {
        let mut pieces = self.label(node, true);
        let all = self.graph.needs(node);
        let mut names: Vec<String> = all
            .iter()
            .filter(|(need, _)| self.graph.is_finally(*need) == self.graph.is_finally(node))
            .map(|(need, _)| self.name(*need))
            .collect();
        let more = names.len().saturating_sub(MAX_NEEDS);
        names.truncate(MAX_NEEDS);
        if !names.is_empty() {
            let mut text = format!("  after {}", names.join(", "));
            if more > 0 {
                text.push_str(&format!(" and {more} more"));
            }
            pieces.push(Piece::new(text, Some(FAINT)));
        }
        cut(pieces, self.columns)
    }
}

/// What a picture's lines do not tell of what a node depends on: `if build failed`.
pub fn conditions(graph: &Graph, node: usize) -> Vec<String> {
    let of = |(need, on): &(usize, On)| {
        // A `finally` node's dependency on one that is none is in no picture.
        let hidden = graph.is_finally(node) != graph.is_finally(*need);
        let name = name(graph, *need);
        match on {
            On::Failed => Some(format!("if {name} failed")),
            On::Complete if hidden => Some(format!("if {name} succeeded")),
            On::Finished if !hidden => Some(format!("however {name} ended")),
            On::Complete | On::Finished => None,
        }
    };
    graph.needs(node).iter().filter_map(of).collect()
}

fn name(graph: &Graph, node: usize) -> String {
    let node = graph.nodes().get(node);
    node.map(|n| one_line(&n.name)).unwrap_or_default()
}

/// What of pieces fits into so many columns.
fn cut(pieces: Vec<Piece>, columns: usize) -> Vec<Piece> {
    let mut room = columns;
    let mut kept = Vec::new();
    for mut piece in pieces {
        if room == 0 {
            break;
        }
        piece.text = fit(&piece.text, room);
        room -= width(&piece.text).min(room);
        kept.push(piece);
    }
    kept
}

/// One row of the lines between two layers: a column for each vertical line, and one beside each.
fn between(nets: &[Net], row: usize, tracks: usize) -> String {
    let column = |track: usize| 2 * track + 1;
    (0..2 * tracks + 1)
        .map(|x| {
            let (mut left, mut right, mut up, mut down) = (false, false, false, false);
            let (mut passes, mut enters) = (false, false);
            for net in nets {
                let (comes, goes) = (net.from.contains(&row), net.to.contains(&row));
                let Some(at) = net.track.map(column) else {
                    left |= comes;
                    right |= comes;
                    continue;
                };
                left |= (comes && x <= at) || (goes && x > at);
                right |= (comes && x < at) || (goes && x >= at);
                let (first, last) = net.extent();
                if x == at && (first..=last).contains(&row) {
                    up |= row > first;
                    down |= row < last;
                    passes |= !comes && !goes;
                    enters |= !comes && goes;
                }
            }
            match (left, right, up, down) {
                _ if passes => '│',
                (true, _, true, true) if enters => '▶',
                (true, _, true, _) if enters => '▼',
                (true, _, _, true) if enters => '▲',
                (false, false, false, false) => ' ',
                (_, _, false, false) => '─',
                (false, false, _, _) => '│',
                (true, true, true, true) => '┼',
                (true, true, true, false) => '┴',
                (true, true, false, true) => '┬',
                (true, false, true, true) => '┤',
                (false, true, true, true) => '├',
                (true, false, true, false) => '┘',
                (true, false, false, true) => '┐',
                (false, true, true, false) => '└',
                (false, true, false, true) => '┌',
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
