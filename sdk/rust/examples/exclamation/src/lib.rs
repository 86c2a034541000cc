//! Adds an exclamation mark to every message.

use geminga_function::function;

#[function]
fn exclaim(mut input: String) -> String {
    input.push('!');
    input
}
