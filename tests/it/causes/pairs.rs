//! Two faults of different layers at once. See `causes.rs`.
