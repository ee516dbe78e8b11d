//! PID 1 of one step: waits for its turn, runs the command, records what happened.
