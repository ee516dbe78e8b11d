//! All that is known of a DaemonJob, for people. Pure.

use baton_api::daemon_status::DaemonJobStatus;
use baton_flow::daemon::DaemonPhase;
use baton_protocol::Timestamp;

use super::super::advice::next_of_daemon;
use super::super::object::Object;
use super::super::parts::{daemon_ran, of_daemon};
use super::super::standing::Standing;
use super::page::{EventLine, Page};
use crate::show::style::{FAINT, Palette, RED, YELLOW, one_line};
use crate::show::table::Cell;

/// Most rows of the table of nodes; those that need a look are among them.
const MAX_ROWS: usize = 200;

/// What is known.
pub struct KnownDaemon<'a> {
    /// The DaemonJob.
    pub daemon: &'a Object,
    /// Its status.
    pub status: &'a DaemonJobStatus,
    /// Its events, or why they are not known.
    pub events: Result<&'a [EventLine], String>,
    /// The time.
    pub now: Timestamp,
}

/// Writes it.
pub fn daemon_text(known: &KnownDaemon<'_>, palette: Palette) -> String {
    let (daemon, status) = (known.daemon, known.status);
    let mut page = Page::new(palette);
    page.daemon_head(known);
    page.daemon_nodes(known);
    page.conditions(&status.conditions, known.now);
    page.events(&known.events, known.now);
    page.next(&next_of_daemon(daemon, status));
    page.text
}

impl Page {
    fn daemon_head(&mut self, known: &KnownDaemon<'_>) {
        let (daemon, status) = (known.daemon, known.status);
        let standing = Standing::of(daemon).unwrap_or_default();
        self.standing(daemon, &standing);
        self.field("Nodes", &status.counts.to_words());
        if status.run > 1 {
            self.field("Run", &status.run.to_string());
        }
        if let Some(stopped) = &status.stopped
            && !status.phase.is_over()
        {
            let said = format!("{:?}: what runs is being stopped", stopped.reason);
            self.field("Stopping", &self.palette.paint(YELLOW, said).to_string());
        }
        self.times(daemon, &standing, known.now);
        self.generation(daemon, &standing);
    }

    fn daemon_nodes(&mut self, known: &KnownDaemon<'_>) {
        if known.status.nodes.is_empty() {
            return;
        }
        self.title("Nodes");
        let (rows, more) = node_rows(known.status, known.now);
        self.rows(&rows);
        if more > 0 {
            self.line(&format!("  … and {more} more; `-o json` shows all"));
        }
    }
}

/// The table of nodes, and how many more there are.
pub(crate) fn node_rows(status: &DaemonJobStatus, now: Timestamp) -> (Vec<Vec<Cell>>, usize) {
    let mut rows = vec![vec![
        Cell::head("NODE"),
        Cell::head("STATE"),
        Cell::head("REASON"),
        Cell::head_right("RAN"),
        Cell::head("JOB"),
    ]];
    let mut nodes: Vec<_> = status.nodes.iter().collect();
    if nodes.len() > MAX_ROWS {
        nodes.sort_by_key(|node| rank(node.node.state));
    }
    let more = nodes.len().saturating_sub(MAX_ROWS);
    rows.extend(nodes.into_iter().take(MAX_ROWS).map(|status| {
        let node = &status.node;
        let (mark, style) = of_daemon(node.state);
        let failed = node.state == DaemonPhase::Failed;
        vec![
            Cell::left(one_line(&node.name), None),
            Cell::left(format!("{mark} {:?}", node.state), Some(style)),
            Cell::left(one_line(&node.reason), failed.then_some(RED)),
            Cell::right(daemon_ran(node, now)),
            Cell::left(&status.job, Some(FAINT)),
        ]
    }));
    (rows, more)
}

/// What needs a look comes first.
fn rank(state: DaemonPhase) -> u8 {
    match state {
        DaemonPhase::Failed => 0,
        DaemonPhase::Running | DaemonPhase::Starting => 1,
        DaemonPhase::Waiting => 2,
        DaemonPhase::Removed => 3,
        DaemonPhase::Cancelled => 4,
        DaemonPhase::Succeeded => 5,
    }
}
