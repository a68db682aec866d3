//! Execution on this machine: point-in-time join, latest per key, windows, SQL
