use super::*;
use crate::show::style::Palette;
use baton_protocol::Record;
use baton_steps::{Outcome, Phase};
use std::time::{Duration, SystemTime};

/// What was written, the steps' output marked with `>`.
#[derive(Default)]
struct Page(String);

impl Sink for Page {
    fn put(&mut self, to: To, bytes: &[u8]) {
        for line in String::from_utf8_lossy(bytes).lines() {
            let mark = if to == To::Steps { '>' } else { ' ' };
            self.0.push_str(&format!("{mark}{line}\n"));
        }
    }
}

fn at(secs: u64) -> Timestamp {
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(secs))
}

fn screen(quiet: bool) -> Screen {
    let look = Look {
        steps: Palette(false),
        baton: Palette(false),
        tty: false,
        quiet,
        bare: false,
    };
    Screen::new(&Plan::of_steps(["build", "test-all"]), look)
}

fn started(number: u32, attempt: u32) -> Notice {
    Notice::StepStarted {
        number,
        kind: Kind::Step,
        attempt,
        at: at(10),
    }
}

fn finished(number: u32, reason: Reason, exit_code: i32, message: &str) -> Notice {
    let mut record = Record::new(reason, exit_code, at(12));
    record.attempts = u32::from(!matches!(reason, Reason::Skipped | Reason::StartError));
    record.ran_ms = 2000;
    record.message = message.to_owned();
    Notice::StepFinished {
        number,
        kind: Kind::Step,
        state: StepState::Done { record },
    }
}

fn over() -> Notice {
    Notice::TaskFinished {
        outcome: Outcome {
            phase: Phase::Succeeded,
            exit_code: 0,
            cause: None,
            started_at: None,
            finished_at: at(20),
        },
    }
}

#[test]
fn lines_stand_after_names_and_between_start_and_end() {
    let (mut screen, mut page) = (screen(false), Page::default());
    // Output can be faster than the news of the start.
    screen.printed(1, b"one\ntw", &mut page);
    screen.notice(&started(1, 1), &mut page);
    screen.printed(1, b"o\nlast", &mut page);
    screen.notice(&finished(1, Reason::Completed, 0, ""), &mut page);
    screen.notice(&started(2, 1), &mut page);
    screen.notice(
        &Notice::StepRetrying {
            number: 2,
            kind: Kind::Step,
            attempt: 1,
            reason: Reason::Error,
            exit_code: 7,
            delay_ms: 1500,
            at: at(11),
        },
        &mut page,
    );
    screen.notice(&started(2, 2), &mut page);
    screen.notice(&finished(2, Reason::Error, 3, ""), &mut page);
    assert_eq!(
        page.0,
        " build    ▶ started\n\
         >build    | one\n\
         >build    | two\n\
         >build    | last\n \
         build    ✔ completed in 2.0s\n \
         test-all ▶ started\n \
         test-all ↻ attempt 1 failed (exit 7); the next one starts in 1.5s\n \
         test-all ▶ attempt 2 started\n \
         test-all ✘ failed (exit 3) after 2.0s\n"
    );
}

#[test]
fn what_a_record_tells_is_not_told_twice() {
    let (mut screen, mut page) = (screen(false), Page::default());
    screen.printed(1, b"entrypoint: build: no such program: cc\n", &mut page);
    screen.notice(
        &finished(1, Reason::StartError, 127, "no such program: cc"),
        &mut page,
    );
    assert_eq!(page.0, " build    ✘ could not start: no such program: cc\n");

    let mut page = Page::default();
    screen.notice(&started(2, 1), &mut page);
    screen.printed(2, b"entrypoint: test-all: something else\nx\n", &mut page);
    screen.notice(&finished(2, Reason::Error, 1, "no"), &mut page);
    assert!(
        page.0
            .contains(">test-all | entrypoint: test-all: something else\n>test-all | x\n")
    );
}

#[test]
fn steps_whose_turn_never_came_are_silent() {
    let (mut screen, mut page) = (screen(false), Page::default());
    screen.printed(2, b"entrypoint: test-all: cancelled\n", &mut page);
    screen.notice(&over(), &mut page);
    assert_eq!(page.0, "");
}

#[test]
fn quiet_shows_output_and_failures_alone() {
    let (mut screen, mut page) = (screen(true), Page::default());
    screen.notice(&started(1, 1), &mut page);
    screen.printed(1, b"out\n", &mut page);
    screen.notice(&finished(1, Reason::Completed, 0, ""), &mut page);
    screen.notice(&started(2, 1), &mut page);
    screen.notice(&finished(2, Reason::Error, 3, ""), &mut page);
    assert_eq!(
        page.0,
        ">build    | out\n test-all ✘ failed (exit 3) after 2.0s\n"
    );
}

#[test]
fn output_without_a_line_end_is_shown_when_the_task_is_over() {
    let (mut screen, mut page) = (screen(true), Page::default());
    screen.notice(&started(1, 1), &mut page);
    screen.printed(1, b"prompt> ", &mut page);
    assert_eq!(page.0, "");
    screen.notice(&over(), &mut page);
    assert_eq!(page.0, ">build    | prompt> \n");
}

#[test]
fn the_status_line_tells_what_runs() {
    let (mut screen, mut page) = (screen(false), Page::default());
    assert_eq!(screen.status(at(10), 0, 80), "");
    screen.notice(&started(1, 1), &mut page);
    assert_eq!(screen.status(at(15), 0, 80), "⠋ build 5s · 0 of 2 done");
    assert_eq!(screen.status(at(15), 1, 12), "⠙ build 5s…");
    screen.notice(&finished(1, Reason::Completed, 0, ""), &mut page);
    assert_eq!(screen.status(at(15), 0, 80), "");
}

#[test]
fn what_an_attempt_prints_comes_after_its_start() {
    let (mut screen, mut page) = (screen(true), Page::default());
    screen.notice(&started(1, 1), &mut page);
    screen.printed(1, b"first", &mut page);
    screen.notice(
        &Notice::StepRetrying {
            number: 1,
            kind: Kind::Step,
            attempt: 1,
            reason: Reason::Error,
            exit_code: 7,
            delay_ms: 1,
            at: at(11),
        },
        &mut page,
    );
    screen.printed(1, b"second\n", &mut page);
    assert_eq!(page.0, ">build    | first\n");
    screen.notice(&started(1, 2), &mut page);
    assert_eq!(page.0, ">build    | first\n>build    | second\n");
}
