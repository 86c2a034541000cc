//! What holds of every policy, whatever it is shown.

mod properties;
