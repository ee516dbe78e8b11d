//! Where the nodes of a graph go in a picture: layers from left to right, rows from top to bottom.
//!
//! A node's layer is the length of the longest way to it, so every edge leads to the right. An edge
//! that passes layers has a cell of its own in each. Between two layers cells lead to cells by nets:
//! all that lead to the same cells are one, with one vertical line.

use std::collections::BTreeMap;

use baton_flow::Graph;

/// Most cells of a picture; a graph that needs more has none.
const MAX_CELLS: usize = 4000;
/// Most links whose crossings are counted to choose the best order.
const MAX_COUNTED: usize = 600;
/// How often the order in the layers is improved.
const SWEEPS: usize = 6;

/// A picture's geometry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Nodes, and edges where they pass a layer.
    pub cells: Vec<Cell>,
    /// The cells of each layer, from top to bottom.
    pub layers: Vec<Vec<usize>>,
    /// What leads from each layer to the next; one less than there are layers.
    pub gaps: Vec<Vec<Net>>,
    /// How many rows there are.
    pub rows: usize,
}

/// A place in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The place of the node that stands here; `None` where an edge passes.
    pub node: Option<usize>,
    /// Its layer, from 0.
    pub layer: usize,
    /// Its row, from 0; no two cells of a layer share one.
    pub row: usize,
    /// The cells of the next layer that it leads to.
    pub next: Vec<usize>,
}

/// Lines between two layers: from each of some rows to each of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Net {
    /// The rows of the left layer that it comes from.
    pub from: Vec<usize>,
    /// The rows of the right layer that it leads to.
    pub to: Vec<usize>,
    /// The column of its vertical line, from the left; `None` where it is straight.
    pub track: Option<usize>,
}

impl Net {
    /// The first and the last row that it touches.
    pub fn extent(&self) -> (usize, usize) {
        let rows = || self.from.iter().chain(&self.to).copied();
        (rows().min().unwrap_or(0), rows().max().unwrap_or(0))
    }

    fn is_straight(&self) -> bool {
        self.from.len() == 1 && self.from == self.to
    }
}

impl Layout {
    /// The picture of a graph's `finally` nodes, or of all the others. `None` where there are none,
    /// or where it would be too large.
    pub fn of(graph: &Graph, finally: bool) -> Option<Layout> {
        let (mut cells, mut layers) = place(graph, finally)?;
        arrange(&cells, &mut layers);
        rows(&mut cells, &layers);
        let gaps = gaps(&cells, &layers).or_else(|| {
            // Lines would lie on one another. With every other layer half a row lower none can.
            for cell in &mut cells {
                cell.row = cell.row * 2 + cell.layer % 2;
            }
            gaps(&cells, &layers)
        })?;
        let last = cells.iter().map(|c| c.row).max().unwrap_or(0);
        Some(Layout {
            cells,
            layers,
            gaps,
            rows: last + 1,
        })
    }

    /// How many vertical lines stand side by side behind a layer.
    pub fn tracks(&self, layer: usize) -> usize {
        let nets = self.gaps.get(layer).into_iter().flatten();
        nets.filter_map(|n| n.track).max().map_or(0, |t| t + 1)
    }
}

type Layers = Vec<Vec<usize>>;

/// Gives every node its layer, and every passing edge its cells.
fn place(graph: &Graph, finally: bool) -> Option<(Vec<Cell>, Layers)> {
    let mut layer_of: BTreeMap<usize, usize> = BTreeMap::new();
    let mut dependents: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for node in graph.order().filter(|n| graph.is_finally(*n) == finally) {
        let mut layer = 0;
        for (need, _) in graph.needs(node) {
            // Of the other part's nodes none is in the picture.
            if let Some(before) = layer_of.get(need) {
                layer = layer.max(before + 1);
                dependents.entry(*need).or_default().push(node);
            }
        }
        layer_of.insert(node, layer);
    }
    let count = layer_of.values().max()? + 1;
    let mut cells = Vec::new();
    let mut layers = vec![Vec::new(); count];
    let mut cell_of = BTreeMap::new();
    let mut add = |cells: &mut Vec<Cell>, node, layer: usize| {
        let index = cells.len();
        cells.push(Cell {
            node,
            layer,
            row: 0,
            next: Vec::new(),
        });
        if let Some(layer) = layers.get_mut(layer) {
            layer.push(index);
        }
        (index < MAX_CELLS).then_some(index)
    };
    for (node, layer) in &layer_of {
        cell_of.insert(*node, add(&mut cells, Some(*node), *layer)?);
    }
    for (node, targets) in &dependents {
        let (mut from, start) = (*cell_of.get(node)?, *layer_of.get(node)?);
        let last = targets.iter().filter_map(|t| layer_of.get(t)).max()?;
        for layer in start + 1..=*last {
            let here = targets.iter().filter(|t| layer_of.get(t) == Some(&layer));
            let mut next: Vec<usize> = here.filter_map(|t| cell_of.get(t).copied()).collect();
            let bend = match layer < *last {
                true => Some(add(&mut cells, None, layer)?),
                false => None,
            };
            next.extend(bend);
            if let Some(cell) = cells.get_mut(from) {
                cell.next = next;
            }
            from = bend.unwrap_or(from);
        }
    }
    Some((cells, layers))
}

/// Orders the cells of each layer so that few lines cross.
fn arrange(cells: &[Cell], layers: &mut Layers) {
    let mut before = vec![Vec::new(); cells.len()];
    for (i, cell) in cells.iter().enumerate() {
        for next in &cell.next {
            if let Some(before) = before.get_mut(*next) {
                before.push(i);
            }
        }
    }
    let links: usize = before.iter().map(Vec::len).sum();
    let mut best = (crossings(cells, layers), layers.clone());
    for sweep in 0..SWEEPS {
        if best.0 == 0 {
            break;
        }
        let forward = sweep % 2 == 0;
        let order: Vec<usize> = match forward {
            true => (0..layers.len()).collect(),
            false => (0..layers.len()).rev().collect(),
        };
        for at in order {
            let place = places(layers, cells.len());
            let neighbours = |cell: usize| match forward {
                true => before.get(cell),
                false => cells.get(cell).map(|c| &c.next),
            };
            let key = |cell: &usize| {
                let own = place.get(*cell).copied().unwrap_or(0) as f64;
                mean(neighbours(*cell).into_iter().flatten(), &place).unwrap_or(own)
            };
            if let Some(layer) = layers.get_mut(at) {
                layer.sort_by(|a, b| key(a).total_cmp(&key(b)));
            }
        }
        let now = match links <= MAX_COUNTED {
            true => crossings(cells, layers),
            false => 0,
        };
        if now < best.0 || links > MAX_COUNTED {
            best = (now, layers.clone());
        }
    }
    *layers = best.1;
}

/// Where each cell stands in its layer.
fn places(layers: &Layers, count: usize) -> Vec<usize> {
    let mut places = vec![0; count];
    for layer in layers {
        for (i, cell) in layer.iter().enumerate() {
            if let Some(place) = places.get_mut(*cell) {
                *place = i;
            }
        }
    }
    places
}

fn mean<'a>(cells: impl Iterator<Item = &'a usize>, place: &[usize]) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for at in cells.filter_map(|c| place.get(*c)) {
        sum += *at as f64;
        count += 1.0;
    }
    (count > 0.0).then(|| sum / count)
}

/// How many pairs of links cross; where there are very many links, only that there may be some.
fn crossings(cells: &[Cell], layers: &Layers) -> usize {
    let place = places(layers, cells.len());
    let at = |cell: usize| place.get(cell).copied().unwrap_or(0);
    let mut all = 0;
    for layer in layers {
        let links: Vec<(usize, usize)> = layer
            .iter()
            .filter_map(|c| Some((*c, cells.get(*c)?)))
            .flat_map(|(c, cell)| cell.next.iter().map(move |n| (c, *n)))
            .map(|(from, to)| (at(from), at(to)))
            .collect();
        if links.len() > MAX_COUNTED {
            return usize::MAX;
        }
        for (i, (a, b)) in links.iter().enumerate() {
            let crosses = |(c, d): &&(usize, usize)| (a < c && b > d) || (a > c && b < d);
            all += links.iter().skip(i + 1).filter(crosses).count();
        }
    }
    all
}

/// Gives every cell its row: as near as can be to those that lead to it, in the order of its layer.
fn rows(cells: &mut [Cell], layers: &Layers) {
    let mut wanted: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
    let mut rows: BTreeMap<usize, i64> = BTreeMap::new();
    for layer in layers {
        let wishes: Vec<f64> = layer
            .iter()
            .enumerate()
            .map(|(i, cell)| match wanted.get(cell) {
                // Of two rows that are as near, the upper one.
                Some(rows) => (rows.iter().sum::<i64>() as f64 / rows.len() as f64 - 0.5).ceil(),
                None => i as f64,
            })
            .collect();
        for (cell, row) in layer.iter().zip(spread(&wishes)) {
            rows.insert(*cell, row);
            for next in cells.get(*cell).map(|c| c.next.as_slice()).unwrap_or(&[]) {
                wanted.entry(*next).or_default().push(row);
            }
        }
    }
    let top = rows.values().min().copied().unwrap_or(0);
    for (i, cell) in cells.iter_mut().enumerate() {
        let row = rows.get(&i).copied().unwrap_or(top) - top;
        cell.row = usize::try_from(row).unwrap_or(0);
    }
}

/// Whole numbers, each at least 1 above the one before, and all of them as near to the wishes as can
/// be: those that are in one another's way share their distances.
fn spread(wishes: &[f64]) -> Vec<i64> {
    // (sum, count) of neighbours that stand side by side; what is averaged is wish minus place.
    let mut groups: Vec<(f64, usize)> = Vec::new();
    for (i, wish) in wishes.iter().enumerate() {
        let mut group = (wish - i as f64, 1);
        while let Some((sum, count)) = groups.pop() {
            if sum / (count as f64) <= group.0 / group.1 as f64 {
                groups.push((sum, count));
                break;
            }
            group = (group.0 + sum, group.1 + count);
        }
        groups.push(group);
    }
    let bases = groups.iter().flat_map(|(sum, count)| {
        std::iter::repeat_n((sum / *count as f64 + 0.5).floor() as i64, *count)
    });
    bases.zip(0..).map(|(base, i)| base + i).collect()
}

/// The nets of every gap; `None` where some cannot be told apart on these rows.
fn gaps(cells: &[Cell], layers: &Layers) -> Option<Vec<Vec<Net>>> {
    let pairs = layers.windows(2);
    let pairs = pairs.filter_map(|pair| Some((pair.first()?, pair.last()?)));
    pairs
        .map(|(left, _)| {
            let mut by_targets: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
            for cell in left.iter().filter_map(|c| cells.get(*c)) {
                let rows = cell.next.iter().filter_map(|n| cells.get(*n));
                let mut to: Vec<usize> = rows.map(|n| n.row).collect();
                to.sort_unstable();
                if !to.is_empty() {
                    by_targets.entry(to).or_default().push(cell.row);
                }
            }
            let nets = by_targets.into_iter().map(|(to, from)| Net {
                from,
                to,
                track: None,
            });
            tracks(nets.collect())
        })
        .collect()
}

/// Gives each net that is not straight its column.
///
/// What comes from a row ends in the column of its net; what leads to that row begins in the column
/// of another. So the former has to stand before the latter, or the two would be one line.
fn tracks(nets: Vec<Net>) -> Option<Vec<Net>> {
    let (mut done, mut open): (Vec<Net>, Vec<Net>) = nets.into_iter().partition(Net::is_straight);
    let straight = done.len();
    // Downwards the lowest first, then upwards the highest first: so they do not cross.
    open.sort_by_key(|net| {
        let (low, high) = net.extent();
        let first = net.from.first().copied().unwrap_or(0);
        let down = first.saturating_sub(low) <= high.saturating_sub(first);
        match down {
            true => (false, usize::MAX - first),
            false => (true, first),
        }
    });
    while !open.is_empty() {
        let blocked = |net: &Net| {
            let comes_later = |other: &Net| other.from.iter().any(|row| net.to.contains(row));
            open.iter().any(|other| other != net && comes_later(other))
        };
        let next = open.iter().position(|net| !blocked(net))?;
        let mut net = open.remove(next);
        let (low, high) = net.extent();
        let touches = |other: &&Net| {
            let (from, to) = other.extent();
            from <= high && low <= to
        };
        let taken = done.iter().skip(straight).filter(touches);
        net.track = Some(taken.filter_map(|n| n.track).max().map_or(0, |t| t + 1));
        done.push(net);
    }
    Some(done)
}
