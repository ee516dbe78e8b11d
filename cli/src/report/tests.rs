use std::time::{Duration, SystemTime};

use baton_protocol::{Reason, Record, Timestamp};

use super::*;

fn at(millis: u64) -> Timestamp {
    // 2026-03-01T09:30:00Z
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(1_772_357_400_000 + millis))
}

fn record(reason: Reason, exit_code: i32, from: u64, to: u64) -> Record {
    let mut record = Record::new(reason, exit_code, at(to));
    record.attempts = 1;
    record.started_at = Some(at(from));
    record.waited_ms = from;
    record.ran_ms = to - from;
    record.user_us = (to - from) * 700;
    record.system_us = (to - from) * 90;
    record.peak_bytes = (to - from) * 13_000;
    record
}

fn step(name: &str, end: End, log: &str) -> StepFacts {
    StepFacts {
        name: name.into(),
        role: Role::Step,
        command: format!("sh -c ./{name}.sh"),
        waiting_since: None,
        ready_at: None,
        attempts: Vec::new(),
        end,
        log: Log {
            text: log.into(),
            gap: None,
        },
    }
}

/// A run with everything in it, hostile names included.
fn facts() -> Facts {
    let ran = |reason, code, from, to| End::Recorded(record(reason, code, from, to));
    let mut test = record(Reason::Completed, 0, 4_300, 9_800);
    test.attempts = 3;
    let mut lint = record(Reason::Error, 2, 9_800, 10_900);
    lint.continued = true;
    let mut deploy = record(Reason::OomKilled, 137, 10_900, 16_200);
    deploy.signal = Some(9);
    deploy.message = "the kernel killed process 4711 (linker) for want of memory".into();
    let mut database = record(Reason::Cancelled, 143, 30, 18_100);
    database.reason = Reason::Completed;
    let long: String = (0..60_000)
        .map(|n| format!("object {n}.o compiled\n"))
        .collect();
    let steps = vec![
        StepFacts {
            role: Role::Sidecar,
            ready_at: Some(at(700)),
            ..step(
                "database",
                End::Recorded(database),
                "listening on 5432\nshutting down\n",
            )
        },
        step(
            "fetch",
            ran(Reason::Completed, 0, 720, 1_900),
            "Cloning…\r 50%\r100%, done.\n",
        ),
        step("compile", ran(Reason::Completed, 0, 1_900, 4_300), &long),
        StepFacts {
            attempts: vec![
                Attempt {
                    started_at: at(4_300),
                    finished_at: Some(at(5_100)),
                    failure: Some((Reason::Error, 1)),
                },
                Attempt {
                    started_at: at(6_100),
                    finished_at: Some(at(7_000)),
                    failure: Some((Reason::TimedOut, 124)),
                },
                Attempt {
                    started_at: at(8_600),
                    finished_at: None,
                    failure: None,
                },
            ],
            ..step(
                "test",
                End::Recorded(test),
                "\x1b[31mFAIL\x1b[0m connection refused\n\x1b[1;33mretrying\x1b[0m\n\x1b[32m✔ 214 tests passed\x1b[0m\n",
            )
        },
        step("lint", End::Recorded(lint), "main.c:3: unused variable\n"),
        step(
            "<script>alert(1)</script>",
            End::Recorded(deploy),
            "</pre><script>alert(2)</script>\n\x1b[41;97m FATAL \x1b[0m ld terminated\n",
        ),
        step("publish", End::NotRun, ""),
        StepFacts {
            role: Role::Finally,
            ..step(
                "clean-up-with-a-rather-long-name-that-needs-room",
                ran(Reason::Completed, 0, 16_200, 18_000),
                "",
            )
        },
    ];
    Facts {
        kind: "Task".into(),
        name: "build-<b>&amp;test".into(),
        origin: "pipeline.yaml".into(),
        phase: Phase::Failed,
        headline: "Failed at step <script>alert(1)</script> (out of memory, exit 137)".into(),
        exit_code: 137,
        started_at: at(0),
        finished_at: at(18_200),
        steps,
        results: vec![
            StepResult {
                step: "compile".into(),
                name: "digest".into(),
                value: b"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
                    .to_vec(),
            },
            StepResult {
                step: "test".into(),
                name: "summary".into(),
                value: b"<img src=x onerror=alert(3)>\n214 passed".to_vec(),
            },
            StepResult {
                step: "test".into(),
                name: "big".into(),
                value: vec![b'x'; 9000],
            },
        ],
        notes: vec!["image has no meaning without a cluster".into()],
        graph: None,
    }
}

#[test]
fn the_page_tells_the_story() {
    let html = render(&facts()).unwrap();
    for told in [
        "<span class=\"pill bad\">Failed</span>",
        "2026-03-01 09:30:00 UTC",
        "<dd>18.2s</dd>",
        "attempt 1: Error, exit 1 after 800ms",
        "1.0s until the next attempt",
        "attempt 3: Completed after 1.2s",
        "Failed, ignored",
        "137 (signal 9)",
        "Out of memory",
        "want of memory",
        "Not run",
        "100%, done.",
        "✔ 214 tests passed",
        "sha256:9f86d081",
        "5 kB left out",
        "<i class=\"role\">sidecar</i>",
    ] {
        assert!(html.contains(told), "the page does not say {told:?}");
    }
    assert!(
        html.contains("kB left out …</span>\nobject"),
        "the long log is cut"
    );
}

#[test]
fn nothing_of_the_run_becomes_markup() {
    let html = render(&facts()).unwrap();
    for hostile in ["<script", "<img", "<b>", "onerror=alert(3)>"] {
        assert!(!html.contains(hostile), "{hostile} got through");
    }
    assert!(html.contains("&lt;script&gt;") || html.contains("&#60;script&#62;"));
}

#[test]
fn the_page_loads_nothing() {
    let html = render(&facts()).unwrap();
    for outside in [
        "src=", "http://", "https://", "url(", "@import", "<link", " style=", " on",
    ] {
        let tags: String = html
            .split('<')
            .map(|t| t.split('>').next().unwrap_or(""))
            .collect();
        assert!(!tags.contains(outside), "{outside} is in a tag");
    }
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn a_page_of_many_loud_steps_is_bounded() {
    let mut facts = facts();
    let loud = "\x1b[31m<\x1b[32m>".repeat(2_000);
    facts.steps = (0..1000)
        .map(|n| step(&format!("s{n}"), End::NotRun, &loud))
        .collect();
    let html = render(&facts).unwrap();
    // Each byte of a log becomes a few of markup at worst.
    assert!(html.len() < 6 * MAX_LOGS_BYTES, "{} bytes", html.len());
}

#[test]
fn a_run_of_nothing_renders() {
    let mut facts = facts();
    (facts.steps, facts.results, facts.notes) = Default::default();
    facts.finished_at = facts.started_at;
    let html = render(&facts).unwrap();
    assert!(html.contains("<dd>0ms</dd>") && !html.contains("id=\"results\""));
}

/// Writes the page to the file that `BATON_REPORT_SAMPLE` names, for somebody to look at.
#[test]
fn sample() {
    if let Some(file) = std::env::var_os("BATON_REPORT_SAMPLE") {
        std::fs::write(file, render(&facts()).unwrap()).unwrap();
    }
}
