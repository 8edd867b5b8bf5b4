//! The integration tests: one binary, its modules by subject.
