//! What people asked for: fragments as written go in, merged and validated settings come out; nothing here acts on them.

pub mod agent_variables;
pub mod user_data;
