//! Puts together what is in a window.

use geminga_function::function;

#[function(window)]
fn join(inputs: Vec<String>) -> String {
    inputs.join("+")
}
