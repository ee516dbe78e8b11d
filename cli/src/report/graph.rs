//! The graph of a JobFlow as SVG shapes: places in pixels.

use super::facts::{Graph, GraphNode};
use crate::flow::layout::{Cell, Layout};
use crate::show::style::{fit, width};

/// Height of a node, and of the row that it stands in.
const NODE_HEIGHT: usize = 46;
const ROW: usize = 62;
/// Room between layers, where the lines are.
const GAP: usize = 56;
/// Width of a character of a node's name, about.
const CHAR: usize = 8;
/// Narrowest and widest node, in characters.
const CHARS: (usize, usize) = (12, 30);
/// Room around everything.
const MARGIN: usize = 6;
/// Room above the nodes of `finally`.
const BETWEEN_PARTS: usize = 34;

/// A graph that can be drawn.
#[derive(Debug, Default)]
pub(super) struct Drawn {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) boxes: Vec<NodeBox>,
    /// Paths, as SVG has them.
    pub(super) lines: Vec<String>,
    /// The arrowheads.
    pub(super) tips: Vec<String>,
    /// Words between parts, and where they stand.
    pub(super) words: Vec<(usize, usize, &'static str)>,
}

/// A node's box.
#[derive(Debug)]
pub(super) struct NodeBox {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) name: String,
    pub(super) words: String,
    /// What it says when pointed at.
    pub(super) title: String,
    pub(super) class: &'static str,
}

/// Draws a graph: its parts below one another.
pub(super) fn draw(graph: &Graph) -> Drawn {
    let mut drawn = Drawn::default();
    let mut top = MARGIN;
    for (i, layout) in graph.parts.iter().enumerate() {
        if i > 0 {
            drawn.words.push((MARGIN, top + 14, "finally"));
            top += BETWEEN_PARTS - 10;
        }
        part(graph, layout, top, &mut drawn);
        top += layout.rows * ROW;
    }
    drawn.height = top + MARGIN;
    drawn
}

fn part(graph: &Graph, layout: &Layout, top: usize, drawn: &mut Drawn) {
    let mut places: Vec<(usize, usize)> = Vec::with_capacity(layout.layers.len());
    let mut left = MARGIN;
    for layer in &layout.layers {
        let cells = layer.iter().filter_map(|c| layout.cells.get(*c));
        let nodes = cells.filter_map(|c| graph.nodes.get(c.node?));
        let chars = nodes.map(|n| width(&n.name).max(narrow(width(&n.brief))));
        let chars = chars.max().unwrap_or(0).clamp(CHARS.0, CHARS.1);
        let wide = chars * CHAR + 30;
        places.push((left, wide));
        left += wide + GAP;
    }
    drawn.width = drawn.width.max(left - GAP + MARGIN);
    let middle = |cell: &Cell| top + cell.row * ROW + NODE_HEIGHT / 2;
    for cell in &layout.cells {
        let Some((x, wide)) = places.get(cell.layer).copied() else {
            continue;
        };
        if let Some(node) = cell.node.and_then(|n| graph.nodes.get(n)) {
            drawn
                .boxes
                .push(node_box(node, x, top + cell.row * ROW, wide));
        } else {
            let y = middle(cell);
            drawn.lines.push(format!("M{x} {y}H{}", x + wide));
        }
        for next in cell.next.iter().filter_map(|n| layout.cells.get(*n)) {
            let Some((to, _)) = places.get(next.layer) else {
                continue;
            };
            let (from, y, at) = (x + wide, middle(cell), middle(next));
            let half = (from + to) / 2;
            // The arrowhead is behind the line's end.
            let end = if next.node.is_some() { to - 7 } else { *to };
            let line = format!("M{from} {y}C{half} {y} {half} {at} {end} {at}");
            drawn.lines.push(line);
            if next.node.is_some() {
                drawn.tips.push(format!("M{end} {}l7 4l-7 4z", at - 4));
            }
        }
    }
}

fn node_box(node: &GraphNode, x: usize, y: usize, width: usize) -> NodeBox {
    let chars = width / CHAR - 3;
    let mut title = format!("{}: {}", node.name, node.words);
    if !node.why.is_empty() {
        title.push_str(&format!(" ({})", node.why));
    }
    NodeBox {
        x,
        y,
        width,
        height: NODE_HEIGHT,
        name: fit(&node.name, chars),
        words: fit(&node.brief, wide(chars)),
        title,
        class: node.look.name(),
    }
}

/// The characters of a name that take the room of so many of the smaller words.
fn narrow(words: usize) -> usize {
    (words * 4).div_ceil(5)
}

/// The characters of words that fit where so many of a name do.
fn wide(chars: usize) -> usize {
    chars * 5 / 4
}
