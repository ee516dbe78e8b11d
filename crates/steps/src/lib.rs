//! The state machine of a step pod. Pure: no clock, no I/O.
