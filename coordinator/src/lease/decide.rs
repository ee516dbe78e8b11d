//! Who may lead, and until when. Pure: the caller reads the lease and the clock.

use std::time::{Duration, Instant};

/// How the lease is kept. The values and their meaning are those of Kubernetes' own components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A candidate takes the lease where it was not renewed for so long.
    pub duration: Duration,
    /// A leader that could not renew it for so long leads no more. Shorter than `duration`: what is
    /// between them is the time that it has to stop its work.
    pub deadline: Duration,
    /// Time between attempts to renew or take it.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            duration: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// What a lease says, as far as it decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Who holds it; empty where nobody does.
    pub holder: String,
    /// What changes with each renewal.
    pub version: String,
    /// How long its holder may stay away. Candidates believe the holder, not themselves.
    pub duration: Duration,
}

/// What to do with the lease that was just read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Write it, as its holder.
    Renew,
    /// Write it: it is free.
    Take,
    /// Somebody else holds it.
    Wait,
}

/// What one candidate knows of the lease. Clocks of different machines are never compared: a lease
/// is free where it did not change for its duration while *we* looked on.
#[derive(Debug)]
pub struct Elector {
    me: String,
    timing: Timing,
    seen: Option<(Record, Instant)>,
    /// When the last renewal that succeeded was begun; `None` while another leads.
    renewed: Option<Instant>,
}

impl Elector {
    /// A candidate called `me`, which must be unique among the replicas.
    pub fn new(me: String, timing: Timing) -> Elector {
        Elector {
            me,
            timing,
            seen: None,
            renewed: None,
        }
    }

    /// What to do, where the lease reads `record` (`None`: there is none) at `now`.
    pub fn decide(&mut self, record: Option<&Record>, now: Instant) -> Decision {
        let Some(record) = record else {
            self.seen = None;
            return Decision::Take;
        };
        let since = match &self.seen {
            Some((seen, since)) if seen == record => *since,
            _ => {
                self.seen = Some((record.clone(), now));
                now
            }
        };
        if record.holder.is_empty() {
            return Decision::Take;
        }
        if record.holder == self.me {
            return Decision::Renew;
        }
        let free = now.saturating_duration_since(since) >= record.duration;
        if free { Decision::Take } else { Decision::Wait }
    }

    /// Our write, begun at `begun`, succeeded.
    pub fn wrote(&mut self, begun: Instant) {
        self.renewed = Some(begun);
    }

    /// Somebody else holds the lease, or we gave it up.
    pub fn lost(&mut self) {
        self.renewed = None;
    }

    /// Until when we lead; `None` where we do not. Counted from before the write was sent, so that it
    /// ends before anybody else may take the lease, whatever the network did to the answer.
    pub fn leads_until(&self) -> Option<Instant> {
        self.renewed.map(|at| at + self.timing.deadline)
    }

    /// Whether we lead at `now`.
    pub fn leads(&self, now: Instant) -> bool {
        self.leads_until().is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMING: Timing = Timing {
        duration: Duration::from_secs(15),
        deadline: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };

    fn held(holder: &str, version: u64) -> Record {
        Record {
            holder: holder.into(),
            version: version.to_string(),
            duration: TIMING.duration,
        }
    }

    #[test]
    fn a_lease_is_taken_once_it_was_left_alone() {
        let start = Instant::now();
        let mut me = Elector::new("me".into(), TIMING);
        assert_eq!(me.decide(None, start), Decision::Take);
        let theirs = held("them", 1);
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(me.decide(Some(&theirs), at(0)), Decision::Wait);
        assert_eq!(me.decide(Some(&theirs), at(14)), Decision::Wait);
        assert_eq!(me.decide(Some(&held("them", 2)), at(14)), Decision::Wait);
        assert_eq!(me.decide(Some(&held("them", 2)), at(28)), Decision::Wait);
        assert_eq!(me.decide(Some(&held("them", 2)), at(29)), Decision::Take);
        assert_eq!(me.decide(Some(&held("", 3)), at(29)), Decision::Take);
        assert_eq!(me.decide(Some(&held("me", 4)), at(29)), Decision::Renew);
    }

    #[test]
    fn leading_ends_by_itself() {
        let start = Instant::now();
        let mut me = Elector::new("me".into(), TIMING);
        assert!(!me.leads(start));
        me.wrote(start);
        assert!(me.leads(start + Duration::from_millis(9_999)));
        assert!(!me.leads(start + Duration::from_secs(10)));
        me.wrote(start);
        me.lost();
        assert!(!me.leads(start));
    }

    /// A lease in an API server that writes only what nobody else wrote in between.
    #[derive(Default)]
    struct Server {
        lease: Option<(String, u64)>,
    }

    #[derive(Debug, Clone)]
    enum Op {
        Read(usize),
        /// Writes what was decided at the last read; the flag: the answer is lost.
        Write(usize, bool),
        Pass(u64),
        Die(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..3_usize).prop_map(Op::Read),
            4 => (0..3_usize, proptest::bool::weighted(0.2)).prop_map(|(i, l)| Op::Write(i, l)),
            4 => (0..9_000_u64).prop_map(Op::Pass),
            1 => (0..3_usize).prop_map(Op::Die),
        ]
    }

    proptest! {
        /// Whatever is lost, late or restarted: never two that lead at once.
        #[test]
        fn one_leads_at_most(ops in proptest::collection::vec(op(), 1..200)) {
            let mut now = Instant::now();
            let mut server = Server::default();
            let name = |i: usize, life: u32| format!("{i}-{life}");
            let mut lives = [0_u32; 3];
            let mut all: Vec<_> = (0..3).map(|i| (Elector::new(name(i, 0), TIMING), None)).collect();
            for op in ops {
                match op {
                    Op::Pass(ms) => now += Duration::from_millis(ms),
                    Op::Die(i) => {
                        lives[i] += 1;
                        all[i] = (Elector::new(name(i, lives[i]), TIMING), None);
                    }
                    Op::Read(i) => {
                        let record = server.lease.as_ref().map(|(h, v)| held(h, *v));
                        let version = server.lease.as_ref().map(|(_, v)| *v);
                        let (elector, plan) = &mut all[i];
                        *plan = match elector.decide(record.as_ref(), now) {
                            Decision::Wait => { elector.lost(); None }
                            Decision::Renew | Decision::Take => Some((version, now)),
                        };
                    }
                    Op::Write(i, answer_lost) => {
                        let (elector, plan) = &mut all[i];
                        let Some((version, begun)) = plan.take() else { continue };
                        if server.lease.as_ref().map(|(_, v)| *v) == version {
                            server.lease = Some((elector.me.clone(), version.unwrap_or(0) + 1));
                            if !answer_lost {
                                elector.wrote(begun);
                            }
                        }
                    }
                }
                let leaders = all.iter().filter(|(e, _)| e.leads(now)).count();
                prop_assert!(leaders <= 1, "{:?}", all);
            }
        }

        /// One that goes on trying leads in the end.
        #[test]
        fn somebody_leads_in_the_end(held_by in "[a-z]{0,3}", steps in 1..5_u64) {
            let mut now = Instant::now();
            let record = held(&held_by, 1);
            let mut me = Elector::new("somebody".into(), TIMING);
            let mut took = false;
            for _ in 0..(15 / steps + 2) {
                took |= me.decide(Some(&record), now) == Decision::Take;
                now += Duration::from_secs(steps);
            }
            prop_assert!(took);
        }
    }
}
