//! The README and the pages under `docs/`: their manifests are valid, and their commands exist.

// A test fails by panicking, in its helpers too.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use baton_cli::args::Cli;
use clap::CommandFactory;

/// What `baton validate` takes.
const KINDS: [&str; 5] = ["Task", "Job", "JobFlow", "JobTemplate", "DaemonJob"];
/// The pages on what the commands of `baton` take, and nothing else.
const PAGES_ON_BATON: [&str; 2] = ["docs/cli.md", "docs/run.md"];

/// The README and every page, by their paths from the top.
fn pages() -> Vec<(String, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = std::fs::read_dir(top.join("docs")).unwrap();
    let docs = docs.map(|entry| Path::new("docs").join(entry.unwrap().file_name()));
    let mut paths: Vec<PathBuf> = docs
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect();
    paths.push("README.md".into());
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(top.join(&path)).unwrap();
        (path.to_str().unwrap().to_owned(), text)
    };
    paths.into_iter().map(read).collect()
}

/// The blocks of a page that are fenced, with what stands behind the fence and the number of their line.
fn blocks(text: &str) -> Vec<(usize, &str, String)> {
    let mut found: Vec<(usize, &str, String)> = Vec::new();
    let mut is_open = false;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.trim_start().strip_prefix("```"), is_open) {
            (Some(tag), false) => found.push((number, tag.trim(), String::new())),
            (None, true) => {
                let (_, _, block) = found.last_mut().unwrap();
                block.push_str(line);
                block.push('\n');
            }
            _ => {}
        }
        is_open ^= line.trim_start().starts_with("```");
    }
    assert!(!is_open, "a block is not closed");
    found
}

/// The kinds of the objects that a manifest holds.
fn kinds(manifest: &str) -> BTreeSet<&str> {
    let kinds = manifest.lines().filter_map(|l| l.strip_prefix("kind: "));
    kinds.map(str::trim).collect()
}

#[test]
fn manifests_are_valid() {
    let mut seen = BTreeSet::new();
    for (page, text) in pages() {
        for (line, tag, block) in blocks(&text) {
            let kinds = kinds(&block);
            if tag != "yaml" || kinds.is_empty() || !kinds.iter().all(|k| KINDS.contains(k)) {
                continue;
            }
            let mut child = Command::new(env!("CARGO_BIN_EXE_baton"))
                .args(["validate", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(block.as_bytes()).unwrap();
            drop(stdin);
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{page}, line {line}: {said}");
            seen.extend(kinds.into_iter().map(str::to_owned));
        }
    }
    for kind in ["Task", "Job", "JobFlow", "DaemonJob"] {
        assert!(seen.contains(kind), "no page has a manifest of a {kind}");
    }
}

/// The pieces of a page that are code: fenced or indented lines, and what stands between backticks.
fn code(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_open = !is_open;
        } else if is_open || line.starts_with("    ") {
            found.push(line.trim());
        } else {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// The words behind `baton` where a piece of code is a call of it, up to what belongs to the shell or to
/// the reader.
fn call(code: &str) -> Option<Vec<&str>> {
    let code = code.strip_prefix("$ ").unwrap_or(code);
    let code = code.strip_prefix("kubectl ").unwrap_or(code);
    let rest = code.strip_prefix("baton ")?;
    // Two spaces part a command from what is said of it.
    let rest = rest.split("  ").next()?;
    let words = rest.split(' ').map(|w| w.trim_matches(['[', ']', ',']));
    let ends = |word: &&str| matches!(*word, "|" | "&&" | ";" | "#" | ">");
    Some(words.take_while(|w| !ends(w)).collect())
}

/// The options that a command takes, as they are written.
fn options(command: &clap::Command) -> BTreeSet<String> {
    let of = |arg: &clap::Arg| {
        let long = arg.get_long().map(|l| format!("--{l}"));
        let short = arg.get_short().map(|s| format!("-{s}"));
        long.into_iter().chain(short).collect::<Vec<_>>()
    };
    command.get_arguments().flat_map(of).collect()
}

/// An option without its value.
fn name(option: &str) -> &str {
    option.split('=').next().unwrap_or(option)
}

#[test]
fn commands_and_their_options_exist() {
    let mut cli = Cli::command();
    cli.build();
    let mut calls = 0;
    for (page, text) in pages() {
        for code in code(&text) {
            let Some(words) = call(code) else {
                continue;
            };
            let (sub, rest) = words.split_first().unwrap();
            let command = cli.find_subcommand(sub);
            let command = command.unwrap_or_else(|| panic!("{page}: {code:?}: there is no {sub}"));
            let known = options(command);
            for option in rest.iter().filter(|w| w.starts_with('-') && **w != "-") {
                let option = name(option);
                assert!(known.contains(option), "{page}: {code:?}: no {option}");
            }
            calls += 1;
        }
    }
    assert!(calls > 40, "{calls} calls were found");
}

#[test]
fn options_that_are_named_exist() {
    let mut cli = Cli::command();
    cli.build();
    let known: BTreeSet<_> = cli.get_subcommands().flat_map(options).collect();
    let pages = pages().into_iter();
    for (page, text) in pages.filter(|(page, _)| PAGES_ON_BATON.contains(&page.as_str())) {
        let spans = code(&text);
        let options = spans.iter().filter(|c| c.starts_with('-'));
        let options: Vec<_> = options.flat_map(|c| c.split(' ').next()).collect();
        for option in &options {
            let option = name(option);
            assert!(known.contains(option), "{page}: no command has {option}");
        }
        assert!(!options.is_empty(), "{page} names no option");
    }
}
