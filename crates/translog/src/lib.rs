//! translog
