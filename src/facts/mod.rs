//! What is true of this instance; plain data and what reads it from bytes, and nothing here acts.

pub mod saved_state;
