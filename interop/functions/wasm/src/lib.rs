//! Adds an exclamation mark, and counts what it has seen.

use geminga_function::{Context, function};

#[function]
fn seen(input: String, context: &Context) -> String {
    context.increment("seen", 1);
    input + "!"
}
