//! Custom resource types, their defaults and validation. No client.
