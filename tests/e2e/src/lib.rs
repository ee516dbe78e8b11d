//! What the tests on a real cluster share. They talk to it by `kubectl`, as a person does.
//!
//! A test takes the [`Cluster`] (with others, or alone where it breaks parts of it), makes a
//! [`Namespace`] of its own, applies YAML, and waits for conditions with a deadline:
//!
//! ```ignore
//! #[test]
//! #[ignore = "needs a cluster"]
//! fn a_task_succeeds() {
//!     let cluster = Cluster::shared();
//!     let ns = cluster.namespace("succeeds");
//!     ns.apply(include_str!("../../../../examples/seed-task.yaml"));
//!     let status = ns.finished("ordered", Duration::from_secs(60));
//!     assert_eq!(status.phase, TaskPhase::Succeeded);
//! }
//! ```
//!
//! `tests/cluster/up` and `tests/cluster/install` come first; `BATON_E2E_KEEP=1` keeps the namespaces.

mod cluster;
pub mod daemon;
mod dump;
pub mod flow;
mod kubectl;
mod made;
mod namespace;
mod parts;
mod receiver;
pub mod system;
mod watch;

pub use cluster::Cluster;
pub use kubectl::{Kubectl, Output};
pub use made::Made;
pub use namespace::Namespace;
pub use parts::Parts;
pub use receiver::{Receiver, Request};
pub use watch::{Series, Watch};

use std::time::{Duration, Instant};

/// A script that runs until its pod has the file of [`Namespace::tell`]: for what has to happen while it runs, however
/// slow the machine is. The last second is for who tells it: with the container's first process go all others.
pub const UNTIL_TOLD: &str = "until test -e /tmp/done; do sleep 0.1; done; sleep 1";

/// Waits until `probe` says something, looking again every 100 ms: for what nothing can be watched for.
///
/// # Panics
/// With `what` after `limit`.
pub fn until<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
