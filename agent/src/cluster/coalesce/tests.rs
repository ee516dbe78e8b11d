use super::*;
use proptest::prelude::*;

fn pod(uid: &str) -> PodRef {
    PodRef {
        namespace: "ns".into(),
        name: format!("pod-{uid}"),
        uid: uid.into(),
    }
}

fn order(n: i32) -> Annotations {
    [("baton.dev/order".to_owned(), n.to_string())].into()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Runs the clock to `until` and gives the writes with their times in milliseconds.
fn run(all: &mut Coalescer, from: Instant, start: Instant, until: Instant) -> Vec<(u128, i32)> {
    let (mut now, mut writes) = (from, Vec::new());
    loop {
        while let Some(write) = all.next(now) {
            let value = write.annotations["baton.dev/order"].parse().unwrap();
            writes.push(((now - start).as_millis(), value));
            all.done(now, &write.pod.uid, Written::Done);
        }
        match all.wake_at(now) {
            Some(at) if at <= until => now = at,
            _ => return writes,
        }
    }
}

#[test]
fn a_short_task_costs_one_write() {
    let (mut all, start) = (Coalescer::default(), Instant::now());
    for (at, n) in [(0, 1), (300, 2), (600, 3)] {
        let now = start + ms(at);
        assert_eq!(run(&mut all, now, start, now), []);
        all.want(now, &pod("a"), order(n), When::Soon);
    }
    all.want(start + ms(900), &pod("a"), order(4), When::Now);
    let writes = run(&mut all, start + ms(900), start, start + ms(60_000));
    assert_eq!(writes, [(900, 4)]);
    assert_eq!(all.waiting(), 0);
}

#[test]
fn the_last_order_is_written_at_once_though_it_was_wanted_before() {
    let (mut all, start) = (Coalescer::default(), Instant::now());
    all.want(start, &pod("a"), order(-1), When::Soon);
    all.want(start + ms(200), &pod("a"), order(-1), When::Now);
    let writes = run(&mut all, start + ms(200), start, start + ms(60_000));
    assert_eq!(writes, [(200, -1)]);
}

#[test]
fn a_long_step_is_seen_and_a_busy_pod_now_and_then() {
    let (mut all, start) = (Coalescer::default(), Instant::now());
    all.want(start, &pod("a"), order(1), When::Soon);
    let quiet = QUIET.as_millis();
    let writes = run(&mut all, start, start, start + 2 * QUIET);
    assert_eq!(writes, [(quiet, 1)]);
    let mut writes = Vec::new();
    let busy = start + 10 * PATIENCE;
    for step in 0..30 {
        let now = busy + PATIENCE.mul_f64(0.15) * step;
        all.want(now, &pod("a"), order(2 + step as i32), When::Soon);
        writes.extend(run(&mut all, now, start, now + PATIENCE.mul_f64(0.149)));
    }
    let last = busy + PATIENCE.mul_f64(0.15) * 30;
    writes.extend(run(&mut all, last, start, last + 10 * PATIENCE));
    assert!(writes.len() <= 6, "{writes:?}");
    let apart = |w: &[(u128, i32)]| w[1].0 - w[0].0 >= PATIENCE.as_millis();
    assert!(writes.windows(2).all(apart), "{writes:?}");
    assert_eq!(writes.last().unwrap().1, 31);
}

#[test]
fn what_the_api_server_has_is_not_written_again() {
    let (mut all, start) = (Coalescer::default(), Instant::now());
    all.want(start, &pod("a"), order(3), When::Soon);
    all.saw("a", &order(2));
    assert_eq!(all.waiting(), 1);
    all.saw("a", &order(3));
    assert_eq!(run(&mut all, start, start, start + ms(9000)), []);
    // There and back before it was written.
    all.want(start, &pod("a"), order(4), When::Soon);
    all.want(start, &pod("a"), order(3), When::Soon);
    assert_eq!(run(&mut all, start, start, start + ms(9000)), []);
}

#[test]
fn a_pod_that_is_gone_is_dropped_and_a_failure_is_tried_again_later() {
    let (mut all, start) = (Coalescer::default(), Instant::now());
    all.want(start, &pod("a"), order(1), When::Now);
    all.want(start, &pod("b"), order(1), When::Now);
    let first = all.next(start).unwrap();
    all.done(start, &first.pod.uid, Written::Gone);
    let second = all.next(start).unwrap();
    all.done(start, &second.pod.uid, Written::Failed { jitter: 1.0 });
    assert_eq!(all.next(start), None);
    assert_eq!(all.wake_at(start), Some(start + PAUSE));
    // The value may change meanwhile.
    all.want(start + ms(100), &pod("b"), order(2), When::Now);
    let writes = run(&mut all, start + ms(100), start, start + ms(9000));
    assert_eq!(writes, [(500, 2)]);
}

#[test]
fn a_change_while_a_write_is_under_way_is_written_after_it() {
    let (mut all, start) = (Coalescer::default(), Instant::now());
    all.want(start, &pod("a"), order(1), When::Now);
    let write = all.next(start).unwrap();
    all.want(start, &pod("a"), order(2), When::Now);
    all.saw("a", &order(2));
    assert_eq!(all.next(start), None, "one write of a pod at a time");
    all.done(start, "a", Written::Done);
    assert_eq!(write.annotations, order(1));
    assert_eq!(all.next(start).unwrap().annotations, order(2));
}

#[test]
fn a_node_has_one_allowance() {
    let (mut all, start) = (Coalescer::default(), Instant::now());
    for n in 0..200 {
        all.want(start, &pod(&n.to_string()), order(1), When::Now);
    }
    let writes = run(&mut all, start, start, start + ms(60_000));
    assert_eq!(writes.len(), 200);
    for window in writes.windows(BURST + 1) {
        assert!(window[BURST].0 - window[0].0 >= PERIOD.as_millis());
    }
    all.retain(|_| false);
    assert!(all.pods.is_empty());
}

#[test]
fn at_the_end_nothing_waits() {
    let (mut all, start) = (Coalescer::default(), Instant::now());
    for n in 0..60 {
        all.want(start, &pod(&n.to_string()), order(1), When::Soon);
    }
    assert_eq!(all.next(start), None);
    all.hurry(start);
    assert_eq!(run(&mut all, start, start, start).len(), BURST);
}

proptest! {
    /// Whatever fails and changes, the last value of every pod is written in the end.
    #[test]
    fn the_last_value_is_written(
        changes in proptest::collection::vec((0..3_usize, 0..50_i32, 0..3000_u64, any::<bool>(), 0..4_u8), 1..60),
    ) {
        let (mut all, start) = (Coalescer::default(), Instant::now());
        let (mut now, mut has, mut wants) = (start, [-1; 3], [-1; 3]);
        let uid = |i: usize| i.to_string();
        for (i, value, wait, urgent, fate) in changes {
            let when = if urgent { When::Now } else { When::Soon };
            all.want(now, &pod(&uid(i)), order(value), when);
            wants[i] = value;
            now += ms(wait);
            if let Some(write) = all.next(now) {
                let at: usize = write.pod.uid.parse().unwrap();
                let written = match fate {
                    0 => Written::Failed { jitter: 0.5 },
                    _ => {
                        has[at] = write.annotations["baton.dev/order"].parse().unwrap();
                        Written::Done
                    }
                };
                all.done(now, &write.pod.uid, written);
            }
        }
        for _ in 0..20 {
            let Some(at) = all.wake_at(now) else { break };
            now = now.max(at);
            let write = all.next(now).unwrap();
            let at: usize = write.pod.uid.parse().unwrap();
            has[at] = write.annotations["baton.dev/order"].parse().unwrap();
            all.done(now, &write.pod.uid, Written::Done);
        }
        prop_assert_eq!(has, wants);
        prop_assert_eq!(all.waiting(), 0);
    }
}
