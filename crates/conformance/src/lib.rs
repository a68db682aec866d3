//! The test kit that every Provender provider must pass
