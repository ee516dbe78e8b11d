//! What is shown of a task's run while it goes on.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use baton_node::NodeError;
use baton_protocol::Timestamp;
use baton_steps::Plan;

use super::output::{Handle, News};
use super::story::Story;
use crate::show::style::{BOLD, FAINT, YELLOW, one_line};
use crate::show::terminal::{Terminal, To};
use crate::show::text::{Look, Screen};

/// How often the status line moves.
const TICK: Duration = Duration::from_millis(100);

/// What the node's thread has to say.
pub(super) enum Said {
    /// What happened.
    Notice(baton_node::Notice),
    /// The run cannot go on.
    Failed(NodeError),
}

/// What is shown, and what is known.
pub(super) struct Shown {
    pub(super) screen: Screen,
    pub(super) story: Story,
    pub(super) logs: bool,
    pub(super) failed: Option<NodeError>,
}

/// How a screen on this terminal looks.
pub(crate) fn look(terminal: &Terminal, quiet: bool) -> Look {
    Look {
        steps: terminal.steps,
        baton: terminal.baton,
        tty: terminal.steps_on_tty,
        quiet,
        bare: false,
    }
}

/// Says what is about to run.
pub(crate) fn introduce(story: &Story, plan: &Plan, terminal: &mut Terminal) {
    let palette = terminal.baton;
    let count = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    let mut parts = vec![count(plan.steps.len(), "step")];
    if !plan.finally.is_empty() {
        parts.push(format!("{} finally", plan.finally.len()));
    }
    if !plan.sidecars.is_empty() {
        parts.push(count(plan.sidecars.len(), "sidecar"));
    }
    let title = palette.paint(BOLD, format!("task {}", story.task));
    let mut text = format!("{title}: {}\n", parts.join(", "));
    for note in &story.notes {
        text.push_str(&format!("{}\n", palette.paint(FAINT, format!("  {note}"))));
    }
    terminal.put(To::Baton, text.as_bytes());
    terminal.flush();
}

/// Shows the news until there are no more.
pub(super) fn show(
    news: &Receiver<News<Said>>,
    say: &Handle<Said>,
    shown: &mut Shown,
    terminal: &mut Terminal,
) {
    let mut frame = 0;
    loop {
        let first = if terminal.is_live() {
            news.recv_timeout(TICK)
        } else {
            news.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match first {
            Ok(first) => {
                shown.take(first, say, terminal);
                // What has come in the meantime, but not without end: the status line wants to move.
                for item in news.try_iter().take(64) {
                    shown.take(item, say, terminal);
                }
            }
            Err(RecvTimeoutError::Timeout) => frame += 1,
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if terminal.is_live() {
            let now = Timestamp(SystemTime::now());
            let status = shown.screen.status(now, frame, terminal.columns());
            terminal.set_status(status);
        }
        terminal.flush();
    }
    terminal.set_status(String::new());
    terminal.flush();
}

impl Shown {
    fn take(&mut self, news: News<Said>, say: &Handle<Said>, terminal: &mut Terminal) {
        match news {
            News::Printed { number, bytes } => {
                self.screen.printed(number, &bytes, terminal);
                if self.logs
                    && let Some(step) = self.story.step_mut(number)
                {
                    step.log.push(&bytes);
                }
                say.shown(bytes.len());
            }
            News::Said(Said::Failed(e)) => self.failed = Some(e),
            News::Said(Said::Notice(notice)) => self.notice(notice, terminal),
        }
    }

    fn notice(&mut self, notice: baton_node::Notice, terminal: &mut Terminal) {
        let note = match notice {
            baton_node::Notice::Run(notice) => {
                self.screen.notice(&notice, terminal);
                self.story.apply(&notice);
                return;
            }
            baton_node::Notice::Kill { .. } => return,
            baton_node::Notice::Bad {
                number,
                file,
                cause,
            } => {
                let name = self.story.step(number).map_or("?", |s| s.name.as_str());
                format!("step {name}: its file {file} is not used: {cause}")
            }
            baton_node::Notice::Trouble { message } => message,
        };
        warn(terminal, &note);
        self.story.notes.push(note);
    }
}

/// Says something that deserves a look.
pub(crate) fn warn(terminal: &mut Terminal, text: &str) {
    let line = format!("{}\n", terminal.baton.paint(YELLOW, one_line(text)));
    terminal.put(To::Baton, line.as_bytes());
}
