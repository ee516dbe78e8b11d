//! JobFlows and DaemonJobs as they are followed: what is told of them ([`telling`], pure), the logs of
//! their pods ([`pods`]), the end ([`conclude`]), and what a report shows of it ([`kept`], [`rows`]).

mod conclude;
mod follow;
mod kept;
mod pods;
mod print;
mod rows;
mod status;
mod telling;

pub(super) use conclude::{conclusion, exit_code, facts, json};
pub(super) use follow::{Followed, Over, Since, follow};
pub(super) use print::print;
