//! JobFlows and DaemonJobs as they are followed: what is told of them ([`telling`], pure), the logs of
//! their pods ([`pods`]), and the end ([`conclude`]).

mod conclude;
mod follow;
mod pods;
mod print;
mod status;
mod telling;

pub(super) use conclude::{conclusion, exit_code, facts, json};
pub(super) use follow::{Followed, Over, Since, follow};
pub(super) use print::print;
