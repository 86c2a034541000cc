//! {{name}}: adds an exclamation mark to every message.

use geminga_function::{Context, function};

#[function]
fn {{snake}}(input: String, context: &Context) -> String {
    // Part of the same commit as the output: it counts once, or not at all.
    context.increment("messages", 1);
    answer(&input)
}

/// What comes of one message. What needs no context is tested without one.
fn answer(input: &str) -> String {
    format!("{input}!")
}

#[cfg(test)]
mod tests {
    #[test]
    fn adds_an_exclamation_mark() {
        assert_eq!(super::answer("hello"), "hello!");
    }
}
