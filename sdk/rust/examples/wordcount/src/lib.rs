//! Counts words in the function's state, and says how often it has seen each word of a message.

use geminga_function::{Context, Error, function};

#[function]
fn count(input: String, context: &Context) -> Result<String, Error> {
    let mut counts = Vec::new();
    for word in input.split_whitespace() {
        context.increment(word, 1);
        counts.push(format!("{word}={}", context.counter(word)?));
    }
    Ok(counts.join(" "))
}
