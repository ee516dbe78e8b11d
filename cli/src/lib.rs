//! Runs ordered steps, with a cluster or without.
