//! What a PID 1 must do: signals, process groups, reaping, exec.
