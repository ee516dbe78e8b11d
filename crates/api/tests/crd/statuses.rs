//! Statuses with every field, named one by one so that a new one cannot be forgotten.

use std::time::{Duration, SystemTime};

use baton_api::daemon_status::{DaemonJobStatus, NodeCounts, NodeStatus, NodesByState};
use baton_api::flow_status::{
    CauseStatus, FlowJobState, FlowJobStatus, FlowNodeStatus, FlowResult, JobFlowPhase,
    JobFlowStatus, StopStatus,
};
use baton_api::schedule::ScheduleStatus;
use baton_api::status::{
    CallbackStatus, Carrier, Condition, MissingResultStatus, PodStatusRef, ResultStatus,
    RetryStatus, RunStatus, StepKind, StepPhase, StepStatus, TaskPhase, TaskStatus,
};
use baton_flow::daemon::{DaemonNode, DaemonPhase, Forgotten};
use baton_flow::{NodePhase, StopReason};
use baton_protocol::{Reason, Record, Timestamp};

use super::{is_kept, part};

fn now() -> Timestamp {
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001))
}

fn text() -> String {
    "text".to_owned()
}

fn conditions() -> Vec<Condition> {
    vec![Condition {
        kind: text(),
        status: text(),
        reason: text(),
        message: text(),
        last_transition_time: Some(now()),
        observed_generation: Some(2),
    }]
}

fn callbacks() -> Vec<CallbackStatus> {
    vec![CallbackStatus {
        sink: text(),
        settled: 1,
        delivered: 1,
        given_up: 1,
        waiting: 1,
        last_error: Some(text()),
    }]
}

fn schedule(now: Timestamp) -> ScheduleStatus {
    ScheduleStatus {
        last_schedule_time: Some(now),
        last_run: text(),
        last_successful_time: Some(now),
        next_schedule_time: Some(now),
        active: vec![text()],
        active_count: 1,
    }
}

#[test]
fn a_tasks_status_with_every_field_is_kept() {
    let now = now();
    let at = Some(now);
    let record = Record::new(Reason::OomKilled, 137, now);
    let status = TaskStatus {
        observed_generation: Some(2),
        phase: TaskPhase::TimedOut,
        reason: text(),
        message: text(),
        progress: text(),
        run: 2,
        pod: Some(PodStatusRef {
            name: text(),
            uid: text(),
            node: text(),
            carrier: Carrier::DownwardAPI,
        }),
        spec_digest: text(),
        rerun: text(),
        infrastructure_retries: 1,
        failure_retries: 1,
        started_at: at,
        finished_at: at,
        duration: text(),
        exit_code: Some(-1),
        steps: vec![StepStatus {
            name: text(),
            number: u32::MAX,
            kind: StepKind::Sidecar,
            state: StepPhase::NotRun,
            reason: text(),
            message: text(),
            exit_code: Some(137),
            continued_from: Some(Reason::OomKilled),
            attempts: 3,
            retries: vec![RetryStatus {
                attempt: 1,
                reason: Reason::Error,
                exit_code: 1,
                delay_ms: u64::MAX,
                at: now,
            }],
            started_at: at,
            finished_at: at,
            cpu_ms: Some(u64::MAX),
            peak_bytes: Some(u64::MAX),
            image_id: text(),
            ready: true,
            record: Some(record),
            results: vec![ResultStatus {
                name: text(),
                value: text(),
            }],
            missing_results: vec![MissingResultStatus {
                name: text(),
                why: text(),
            }],
            warnings: vec![text()],
        }],
        conditions: conditions(),
        callbacks: callbacks(),
        runs: vec![RunStatus {
            run: 1,
            pod: text(),
            phase: TaskPhase::Failed,
            reason: text(),
            started_at: at,
            finished_at: at,
        }],
        schedule: Some(schedule(now)),
    };
    is_kept(
        "status",
        &part("task", "status"),
        &serde_json::to_value(status).unwrap(),
    );
}

#[test]
fn a_flows_status_with_every_field_is_kept() {
    let at = Some(now());
    let status = JobFlowStatus {
        observed_generation: Some(2),
        phase: JobFlowPhase::Suspended,
        reason: text(),
        message: text(),
        progress: text(),
        run: 2,
        rerun: text(),
        started_at: at,
        finished_at: at,
        duration: text(),
        stopped: Some(StopStatus {
            reason: StopReason::DeadlineExceeded,
            at: now(),
        }),
        cause: Some(CauseStatus {
            node: text(),
            reason: text(),
        }),
        params_digest: text(),
        nodes: vec![FlowNodeStatus {
            name: text(),
            finally: true,
            state: NodePhase::Skipped,
            reason: text(),
            message: text(),
            because: text(),
            jobs: vec![FlowJobStatus {
                name: text(),
                state: FlowJobState::Starting,
                reason: text(),
                message: text(),
                attempts: 2,
                retry_at: at,
                started_at: at,
                finished_at: at,
            }],
            earlier_attempts: 1,
            started_at: at,
            finished_at: at,
            results: vec![FlowResult {
                step: text(),
                name: text(),
                value: text(),
            }],
            digest: text(),
        }],
        conditions: conditions(),
        callbacks: callbacks(),
        schedule: Some(schedule(now())),
    };
    is_kept(
        "status",
        &part("jobflow", "status"),
        &serde_json::to_value(status).unwrap(),
    );
}

#[test]
fn a_daemon_jobs_status_with_every_field_is_kept() {
    let at = Some(now());
    let names = || vec![text()];
    let status = DaemonJobStatus {
        observed_generation: Some(2),
        phase: JobFlowPhase::Failed,
        reason: text(),
        message: text(),
        progress: text(),
        run: 1,
        counts: NodeCounts {
            total: 1,
            waiting: 1,
            running: 1,
            succeeded: 1,
            failed: 1,
            cancelled: 1,
            removed: 1,
        },
        nodes_by_state: NodesByState {
            waiting: names(),
            running: names(),
            succeeded: names(),
            failed: names(),
            cancelled: names(),
            removed: names(),
        },
        template_digest: text(),
        rerun: text(),
        started_at: at,
        finished_at: at,
        duration: text(),
        stopped: Some(StopStatus {
            reason: StopReason::FailFast,
            at: now(),
        }),
        cause: Some(CauseStatus {
            node: text(),
            reason: text(),
        }),
        conditions: conditions(),
        forgotten: Forgotten {
            succeeded: 1,
            failed: 1,
            removed: 1,
        },
        nodes: vec![NodeStatus {
            node: DaemonNode {
                name: text(),
                uid: text(),
                state: DaemonPhase::Starting,
                reason: text(),
                attempts: 1,
                started_at: at,
                finished_at: at,
            },
            job: text(),
        }],
    };
    is_kept(
        "status",
        &part("daemonjob", "status"),
        &serde_json::to_value(status).unwrap(),
    );
}
