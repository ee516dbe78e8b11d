//! What is counted of a controller's work, and of the objects that it looks after.

use std::fmt::Debug;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// A controller's work. Clones count together.
#[derive(Debug, Clone)]
pub struct Work {
    reconciles: Counter,
    reconcile_seconds: Histogram,
    status_writes: Counter,
}

impl Default for Work {
    fn default() -> Self {
        Work {
            reconciles: Counter::default(),
            reconcile_seconds: Histogram::new(exponential_buckets(0.0001, 4.0, 9)),
            status_writes: Counter::default(),
        }
    }
}

impl Work {
    /// Registers it: names begin with `prefix`, and it is said to be about `objects`.
    pub(super) fn register(&self, registry: &mut Registry, prefix: &str, objects: &str) {
        registry.register(
            format!("{prefix}reconciles"),
            format!("Reconciliations of {objects}"),
            self.reconciles.clone(),
        );
        registry.register(
            format!("{prefix}reconcile_seconds"),
            format!("Time of a reconciliation of {objects}: planning and applying"),
            self.reconcile_seconds.clone(),
        );
        registry.register(
            format!("{prefix}status_writes"),
            format!("Writes of statuses of {objects}"),
            self.status_writes.clone(),
        );
    }

    /// An object was looked at, which took so long.
    pub(crate) fn looked(&self, time: Duration) {
        self.reconciles.inc();
        self.reconcile_seconds.observe(time.as_secs_f64());
    }

    /// A status is written.
    pub(crate) fn writes(&self) {
        self.status_writes.inc();
    }
}

/// How many objects of a kind there are of each phase. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Phases(Family<Phase, Gauge>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Phase {
    phase: String,
}

impl Phases {
    pub(super) fn register(&self, registry: &mut Registry, name: &str, objects: &str) {
        registry.register(name, format!("{objects}, by phase"), self.0.clone());
    }

    /// Forgets them all.
    pub(super) fn clear(&self) {
        self.0.clear();
    }

    /// An object came, went, or is of another phase.
    pub(crate) fn moved<P: Debug + PartialEq>(&self, from: Option<P>, to: Option<P>) {
        if from == to {
            return;
        }
        let of = |phase| {
            let phase = format!("{phase:?}");
            self.0.get_or_create_owned(&Phase { phase })
        };
        if let Some(gauge) = from.map(of) {
            gauge.dec();
        }
        if let Some(gauge) = to.map(of) {
            gauge.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_counted_as_objects_move() {
        let phases = Phases::default();
        let count = |phase: &str| {
            let phase = phase.to_owned();
            phases.0.get(&Phase { phase }).map(|gauge| gauge.get())
        };
        phases.moved(None, Some('p'));
        phases.moved(None, Some('p'));
        assert_eq!((count("'p'"), count("'r'")), (Some(2), None));
        phases.moved(Some('p'), Some('r'));
        phases.moved(Some('r'), Some('r'));
        assert_eq!((count("'p'"), count("'r'")), (Some(1), Some(1)));
        phases.moved(Some('r'), None);
        assert_eq!((count("'p'"), count("'r'")), (Some(1), Some(0)));
        phases.clear();
        assert_eq!(count("'p'"), None);
    }
}
