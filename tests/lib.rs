//! Helpers that the suite and the load program share.
