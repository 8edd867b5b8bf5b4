//! The client against a service in memory that can be told to misbehave.

mod fake;
mod keeping;
mod reopened;
mod reopening;
mod submit;
mod words;
