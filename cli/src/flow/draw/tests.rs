use std::collections::{BTreeMap, BTreeSet};

use baton_flow::{Need, Node};
use proptest::prelude::*;

use super::*;
use crate::show::style::GREEN;

fn need(name: &str, on: On) -> Need {
    Need {
        node: name.to_owned(),
        on,
    }
}

fn node(name: &str, needs: &[(&str, On)], finally: bool) -> Node {
    Node {
        name: name.to_owned(),
        needs: needs.iter().map(|(n, on)| need(n, *on)).collect(),
        finally,
    }
}

fn graph(nodes: &[(&str, &[&str])]) -> Graph {
    let plain = |(name, needs): &(&str, &[&str])| {
        let needs: Vec<_> = needs.iter().map(|n| (*n, On::Complete)).collect();
        node(name, &needs, false)
    };
    Graph::new(nodes.iter().map(plain).collect()).unwrap()
}

fn plain(_: usize) -> Label {
    Label {
        mark: "",
        style: GREEN,
        detail: String::new(),
    }
}

fn shown(graph: &Graph, columns: usize) -> String {
    draw(graph, &plain, columns, Palette(false)).join("\n")
}

#[test]
fn pictures() {
    let chain = graph(&[("a", &[]), ("b", &["a"]), ("c", &["b"])]);
    assert_eq!(shown(&chain, 80), "a ─▶ b ─▶ c");
    let diamond = graph(&[
        ("build", &[]),
        ("test", &["build"]),
        ("lint", &["build"]),
        ("deploy", &["test", "lint"]),
    ]);
    let drawn = [
        "build ─┬─▶ test ─┬─▶ deploy", //
        "       └─▶ lint ─┘",
    ];
    assert_eq!(shown(&diamond, 80), drawn.join("\n"));
    let seed = graph(&[
        ("job1", &[]),
        ("job2", &["job1"]),
        ("job3", &["job1", "job2"]),
        ("job4", &[]),
        ("job5", &["job4", "job2"]),
    ]);
    let drawn = [
        "      ┌─────────▲───▶ job3",
        "job1 ─┴─▶ job2 ─┴─▲─▶ job5",
        "job4 ─────────────┘",
    ];
    assert_eq!(shown(&seed, 80), drawn.join("\n"));
    let listed = [
        "job1",
        "job2  after job1",
        "job3  after job1, j…",
        "job4",
        "job5  after job4, j…",
    ];
    assert_eq!(shown(&seed, 20), listed.join("\n"));
}

#[test]
fn what_a_line_does_not_tell_is_said() {
    let nodes = vec![
        node("build", &[], false),
        node("deploy", &[("build", On::Complete)], false),
        node("undo", &[("deploy", On::Failed)], false),
        node("report", &[("deploy", On::Finished)], false),
        node("clean", &[], true),
        node(
            "mail",
            &[("clean", On::Complete), ("build", On::Failed)],
            true,
        ),
    ];
    let graph = Graph::new(nodes).unwrap();
    let label = |node: usize| Label {
        mark: if node == 0 { "✔" } else { "·" },
        style: GREEN,
        detail: if node == 0 { "1.2s" } else { "" }.to_owned(),
    };
    let lines = draw(&graph, &label, 100, Palette(false)).join("\n");
    let drawn = [
        "✔ build 1.2s ─▶ · deploy ─┬─▶ · undo [if deploy failed]",
        "                          └─▶ · report [however deploy ended]",
        "finally",
        "· clean ─▶ · mail [if build failed]",
    ];
    assert_eq!(lines, drawn.join("\n"));
    let narrow = draw(&graph, &label, 50, Palette(false));
    assert!(narrow.iter().all(|l| width(l) <= 50), "{narrow:#?}");
    assert_eq!(narrow[2], "· undo [if deploy failed]  after deploy");
}

/// A graph of up to 9 nodes, with its edges.
fn a_graph() -> impl Strategy<Value = Graph> {
    let needs = proptest::collection::vec(any::<prop::sample::Index>(), 0..3);
    proptest::collection::vec(needs, 1..9).prop_map(|all| {
        let nodes = all.iter().enumerate().map(|(i, needs)| {
            let needs: BTreeSet<usize> = match i {
                0 => BTreeSet::new(),
                _ => needs.iter().map(|n| n.index(i)).collect(),
            };
            Node {
                name: format!("n{i}"),
                needs: needs
                    .iter()
                    .map(|n| need(&format!("n{n}"), On::Complete))
                    .collect(),
                finally: false,
            }
        });
        Graph::new(nodes.collect()).unwrap()
    })
}

type Way = (i32, i32);
const RIGHT: Way = (0, 1);
const UP: Way = (-1, 0);
const DOWN: Way = (1, 0);

/// Where somebody can go who comes to a character by a way: lines are followed as a reader does.
fn ways(char: char, way: Way) -> Vec<Way> {
    match (char, way) {
        ('─' | '▶', RIGHT) | ('▼' | '▲', _) => vec![RIGHT],
        ('▶', way) => vec![RIGHT, way],
        ('│', way) => vec![way],
        ('┐', RIGHT) => vec![DOWN],
        ('┘', RIGHT) => vec![UP],
        ('┤', RIGHT) => vec![UP, DOWN],
        ('┬', RIGHT) => vec![RIGHT, DOWN],
        ('┴', RIGHT) => vec![RIGHT, UP],
        ('┼', RIGHT) => vec![RIGHT, UP, DOWN],
        ('┐' | '┘', _) => vec![],
        ('└' | '┌' | '┬' | '┴', _) => vec![RIGHT],
        ('┤', way) => vec![way],
        ('├' | '┼', way) => vec![RIGHT, way],
        (' ', _) => vec![],
        other => panic!("{other:?}"),
    }
}

/// The edges that a reader finds in a picture.
fn read(picture: &str) -> BTreeSet<(usize, usize)> {
    let grid: Vec<Vec<char>> = picture.lines().map(|l| l.chars().collect()).collect();
    let at = |(y, x): (i32, i32)| -> char {
        let row = usize::try_from(y).ok().and_then(|y| grid.get(y));
        let char = usize::try_from(x).ok().and_then(|x| row?.get(x));
        char.copied().unwrap_or(' ')
    };
    // Nodes by where their names begin, and where they end.
    let mut nodes = BTreeMap::new();
    let mut starts = Vec::new();
    for (y, row) in (0..).zip(&grid) {
        for (x, char) in (0..).zip(row) {
            if *char == 'n' {
                let digit = at((y, x + 1)).to_digit(10).unwrap() as usize;
                nodes.insert((y, x), digit);
                starts.push((digit, (y, x + 3)));
            }
        }
    }
    let mut edges = BTreeSet::new();
    for (from, start) in starts {
        let mut open = vec![(start, RIGHT)];
        let mut seen = BTreeSet::new();
        while let Some((place, way)) = open.pop() {
            if !seen.insert((place, way)) {
                continue;
            }
            if let Some(to) = nodes
                .get(&(place.0, place.1 + 2))
                .filter(|_| at(place) == '▶')
            {
                edges.insert((from, *to));
                continue;
            }
            for way in ways(at(place), way) {
                open.push(((place.0 + way.0, place.1 + way.1), way));
            }
        }
    }
    edges
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_reader_finds_every_edge_and_no_other(graph in a_graph()) {
        let picture = shown(&graph, usize::MAX);
        let edges: BTreeSet<_> = (0..graph.len())
            .flat_map(|n| graph.needs(n).iter().map(move |(need, _)| (*need, n)))
            .collect();
        prop_assert_eq!(read(&picture), edges, "\n{}\n", picture);
    }

    #[test]
    fn no_line_is_too_long(graph in a_graph(), columns in 0..60_usize) {
        for line in draw(&graph, &plain, columns, Palette(false)) {
            prop_assert!(width(&line) <= columns, "{line}");
        }
    }
}
