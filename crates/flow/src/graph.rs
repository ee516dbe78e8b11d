//! Nodes and what they depend on.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// Most nodes of a graph.
pub const MAX_NODES: usize = 1000;
/// Most dependencies of a graph, all nodes together.
pub const MAX_EDGES: usize = 100_000;

/// A node, as its author gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name, unique in the graph.
    pub name: String,
    /// The nodes that it depends on.
    pub needs: Vec<Need>,
    /// It runs after all that are not `finally`, whatever became of them.
    pub finally: bool,
}

/// A dependency on another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The other node's name.
    pub node: String,
    /// What of it lets this one start.
    pub on: On,
}

/// What of a node lets a dependent start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum On {
    /// It succeeded, or was skipped by its own condition.
    #[default]
    Complete,
    /// It failed.
    Failed,
    /// It is over, however it ended.
    Finished,
}

/// What is wrong with a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// It has no node.
    #[error("there are no flows")]
    Empty,
    /// It has more than [`MAX_NODES`].
    #[error("there are {0} flows; the most is {MAX_NODES}")]
    TooManyNodes(usize),
    /// It has more than [`MAX_EDGES`].
    #[error("there are {0} dependencies in all; the most is {MAX_EDGES}")]
    TooManyEdges(usize),
    /// Two nodes have one name.
    #[error("two flows are called {name:?}")]
    Duplicate {
        /// The second of them.
        node: usize,
        /// Their name.
        name: String,
    },
    /// A dependency names no node.
    #[error("{name:?} depends on {need:?}, and there is no flow of this name")]
    Unknown {
        /// Which node.
        node: usize,
        /// Its name.
        name: String,
        /// Which of its dependencies.
        index: usize,
        /// What that says.
        need: String,
    },
    /// A node depends on itself.
    #[error("{name:?} depends on itself")]
    Itself {
        /// Which node.
        node: usize,
        /// Its name.
        name: String,
        /// Which of its dependencies.
        index: usize,
    },
    /// A node names one dependency twice.
    #[error("{name:?} names its dependency {need:?} twice")]
    Twice {
        /// Which node.
        node: usize,
        /// Its name.
        name: String,
        /// Which of its dependencies.
        index: usize,
        /// What that says.
        need: String,
    },
    /// A node that is not `finally` depends on one that is.
    #[error("{name:?} depends on {need:?}, which runs after it, as all of `finally` do")]
    OnFinally {
        /// Which node.
        node: usize,
        /// Its name.
        name: String,
        /// Which of its dependencies.
        index: usize,
        /// What that says.
        need: String,
    },
    /// Nodes depend on one another in a circle.
    #[error("flows depend on one another in a circle: {}", circle(.names))]
    Cycle {
        /// The first of them, by place.
        node: usize,
        /// All of them: each depends on the next, and the last on the first.
        names: Vec<String>,
    },
}

fn circle(names: &[String]) -> String {
    let first = names.first().map(String::as_str).unwrap_or_default();
    let mut text: String = names.iter().map(|name| format!("{name} -> ")).collect();
    text.push_str(first);
    text
}

/// A graph without a fault: every dependency is a place of a node, and there is no cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    nodes: Vec<Node>,
    needs: Vec<Vec<(usize, On)>>,
    order: Vec<usize>,
}

impl Graph {
    /// Checks nodes.
    ///
    /// # Errors
    /// Every mistake; of cycles one for each group of nodes that depend on one another.
    pub fn new(nodes: Vec<Node>) -> Result<Graph, Vec<GraphError>> {
        let edges = nodes.iter().map(|n| n.needs.len()).sum();
        match nodes.len() {
            0 => return Err(vec![GraphError::Empty]),
            n if n > MAX_NODES => return Err(vec![GraphError::TooManyNodes(n)]),
            _ if edges > MAX_EDGES => return Err(vec![GraphError::TooManyEdges(edges)]),
            _ => {}
        }
        let mut errors = Vec::new();
        let mut places = HashMap::new();
        for (i, node) in nodes.iter().enumerate() {
            if places.contains_key(node.name.as_str()) {
                let name = node.name.clone();
                errors.push(GraphError::Duplicate { node: i, name });
            } else {
                places.insert(node.name.as_str(), (i, node.finally));
            }
        }
        let needs: Vec<_> = nodes
            .iter()
            .enumerate()
            .map(|(i, node)| needs(i, node, &places, &mut errors))
            .collect();
        let (order, cycles) = sort(&needs);
        for cycle in cycles {
            let name = |i: &usize| nodes.get(*i).map(|n| n.name.clone()).unwrap_or_default();
            errors.push(GraphError::Cycle {
                node: cycle.iter().min().copied().unwrap_or(0),
                names: cycle.iter().map(name).collect(),
            });
        }
        if errors.is_empty() {
            let graph = Graph {
                nodes,
                needs,
                order,
            };
            Ok(graph)
        } else {
            Err(errors)
        }
    }

    /// The nodes, by place.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// How many nodes there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// What a node depends on, by place.
    pub fn needs(&self, node: usize) -> &[(usize, On)] {
        self.needs.get(node).map_or(&[], Vec::as_slice)
    }

    /// Whether a node runs after all others.
    pub fn is_finally(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|n| n.finally)
    }

    /// Every place, each after those that it depends on; otherwise as its author gave them.
    pub fn order(&self) -> impl Iterator<Item = usize> + '_ {
        self.order.iter().copied()
    }

    /// The place of the node of this name.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|n| n.name == name)
    }
}

fn needs(
    i: usize,
    node: &Node,
    places: &HashMap<&str, (usize, bool)>,
    errors: &mut Vec<GraphError>,
) -> Vec<(usize, On)> {
    let mut needs: Vec<(usize, On)> = Vec::with_capacity(node.needs.len());
    let mut seen = std::collections::HashSet::new();
    for (index, need) in node.needs.iter().enumerate() {
        let name = node.name.clone();
        let wanted = need.node.clone();
        match places.get(need.node.as_str()) {
            None => errors.push(GraphError::Unknown {
                node: i,
                name,
                index,
                need: wanted,
            }),
            Some((place, _)) if *place == i => errors.push(GraphError::Itself {
                node: i,
                name,
                index,
            }),
            Some((place, _)) if !seen.insert(*place) => errors.push(GraphError::Twice {
                node: i,
                name,
                index,
                need: wanted,
            }),
            Some((_, true)) if !node.finally => errors.push(GraphError::OnFinally {
                node: i,
                name,
                index,
                need: wanted,
            }),
            Some((place, _)) => needs.push((*place, need.on)),
        }
    }
    needs
}

/// Places in an order in which each comes after its dependencies, and the cycles that keep the rest
/// from having one.
fn sort(needs: &[Vec<(usize, On)>]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut dependents = vec![Vec::new(); needs.len()];
    for (i, needs) in needs.iter().enumerate() {
        for (need, _) in needs {
            if let Some(d) = dependents.get_mut(*need) {
                d.push(i);
            }
        }
    }
    let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
    // The smallest place first, so that the order is the author's where nothing speaks against it.
    let mut ready: std::collections::BTreeSet<usize> = open
        .iter()
        .enumerate()
        .filter(|(_, n)| **n == 0)
        .map(|(i, _)| i)
        .collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(i) = ready.pop_first() {
        order.push(i);
        for d in dependents.get(i).into_iter().flatten() {
            if let Some(n) = open.get_mut(*d) {
                *n -= 1;
                if *n == 0 {
                    ready.insert(*d);
                }
            }
        }
    }
    let mut left: Vec<bool> = open.iter().map(|n| *n > 0).collect();
    let mut cycles = Vec::new();
    for start in 0..needs.len() {
        if left.get(start) == Some(&true) {
            cycles.extend(cycle(start, needs, &mut left));
        }
    }
    (order, cycles)
}

/// Follows open dependencies from `start` until a place comes again. What was walked is left no
/// more, so each group gives one cycle, and the search takes linear time in all.
fn cycle(start: usize, needs: &[Vec<(usize, On)>], left: &mut [bool]) -> Option<Vec<usize>> {
    let mut path = vec![start];
    let mut at = HashMap::from([(start, 0)]);
    let mut i = start;
    let found = loop {
        let next = needs
            .get(i)?
            .iter()
            .map(|(n, _)| *n)
            .find(|n| left.get(*n) == Some(&true));
        let Some(next) = next else {
            break None;
        };
        if let Some(from) = at.get(&next) {
            break path.get(*from..).map(<[usize]>::to_vec);
        }
        at.insert(next, path.len());
        path.push(next);
        i = next;
    };
    for i in path {
        if let Some(left) = left.get_mut(i) {
            *left = false;
        }
    }
    found
}
