//! What `baton describe` says of objects in several states: `describe/**/*.json` are those as the API
//! server has them, beside each the text. `BATON_UPDATE_GOLDEN=1` writes the texts anew.

// A test fails by panicking, in its helpers too.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use baton_cli::cluster::describe::daemon::{KnownDaemon, daemon_text};
use baton_cli::cluster::describe::flow::{KnownFlow, flow_text};
use baton_cli::cluster::describe::text::{EventLine, Known, text};
use baton_cli::cluster::kind::Kind;
use baton_cli::cluster::object::Object;
use baton_cli::cluster::table::{Row, Table};
use baton_cli::show::style::Palette;
use baton_protocol::Timestamp;

/// 2026-11-21T06:10:00Z.
fn now() -> Timestamp {
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_241_400))
}

fn tasks() -> Vec<(PathBuf, Object)> {
    let found = objects("tests/describe");
    assert!(found.len() >= 5, "{found:?}");
    found
}

fn objects(folder: &str) -> Vec<(PathBuf, Object)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|f| f.extension() == Some("json".as_ref()))
        .collect();
    files.sort();
    let read = |f: PathBuf| {
        let text = std::fs::read(&f).unwrap();
        let task = serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{f:?}: {e}"));
        (f, task)
    };
    files.into_iter().map(read).collect()
}

fn compare(file: &Path, got: &str) {
    if std::env::var_os("BATON_UPDATE_GOLDEN").is_some() {
        std::fs::write(file, got).unwrap();
    }
    let want = std::fs::read_to_string(file).unwrap_or_default();
    assert_eq!(got, want, "{}", file.display());
}

#[test]
fn texts() {
    for (file, task) in tasks() {
        let status: baton_api::status::TaskStatus =
            task.status().unwrap_or_else(|e| panic!("{file:?}: {e}"));
        let events = [EventLine {
            at: Some(Timestamp(now().0 - Duration::from_secs(90))),
            warning: true,
            of: "pod".to_owned(),
            reason: "BackOff".to_owned(),
            message: "Back-off pulling image \"nope\"".to_owned(),
            count: 3,
        }];
        let waits = file.file_stem() == Some("waiting".as_ref());
        let known = Known {
            task: &task,
            status: &status,
            events: Ok(if waits { &events } else { &[] }),
            now: now(),
        };
        let plain = text(&known, Palette(false));
        compare(&file.with_extension("txt"), &plain);
        let coloured = text(&known, Palette(true));
        assert_ne!(coloured, plain);
        assert_eq!(
            without_colours(&coloured),
            plain,
            "colours change nothing else"
        );
        assert!(plain.lines().all(|l| l == l.trim_end()), "{plain:?}");
    }
}

#[test]
fn texts_of_graphs() {
    let objects = objects("tests/describe/graphs");
    assert!(objects.len() >= 4, "{objects:?}");
    for (file, object) in objects {
        let text = |palette| match object.kind() {
            Kind::DaemonJob => daemon_text(
                &KnownDaemon {
                    daemon: &object,
                    status: &object.status().unwrap(),
                    events: Ok(&[]),
                    now: now(),
                },
                palette,
            ),
            _ => flow_text(
                &KnownFlow {
                    flow: &object,
                    status: &object.status().unwrap(),
                    events: Ok(&[]),
                    now: now(),
                    columns: 100,
                },
                palette,
            ),
        };
        let plain = text(Palette(false));
        compare(&file.with_extension("txt"), &plain);
        assert_eq!(without_colours(&text(Palette(true))), plain);
        assert!(plain.lines().all(|l| l == l.trim_end()), "{plain:?}");
    }
}

#[test]
fn the_list() {
    let tasks = [tasks(), objects("tests/describe/graphs")].concat();
    let rows: Vec<_> = tasks.iter().map(|(_, t)| Row::new(t, now())).collect();
    let mut table = Table::new(true);
    table.fit(&rows);
    let mut got = table.header(Palette(false));
    for row in &rows {
        got.push_str(&table.row(row, Palette(false)));
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/describe/list.txt");
    compare(&file, &got);
}

fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = &rest[rest.find('m').unwrap() + 1..];
    }
    plain + rest
}
