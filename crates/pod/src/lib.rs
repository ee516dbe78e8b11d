//! Task to pod.
