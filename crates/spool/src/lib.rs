//! A durable, bounded queue on disk.
