//! What user data is, as cloud-init would take it: its kind and what is wrong with it, never a byte of it.

/// What is known of it.
#[derive(Clone, Debug, Default)]
pub struct UserData {}
