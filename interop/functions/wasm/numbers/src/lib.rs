//! A source of as many numbers as it is told, and then of nothing. It notes in its log when one is durable that ends in three zeros.

use geminga_function::{Emitter, Error, Record, source};

#[source]
fn numbers(emitter: &mut Emitter) -> Result<(), Error> {
    let count: u64 = emitter.user_config("count")?.ok_or_else(|| Error::new("configs has no `count`"))?;
    for n in 0..count {
        let record = Record::new(n.to_string()).key(format!("key-{}", n % 10));
        if n % 1000 == 0 {
            emitter.emit_then(&record, move |stored| println!("{n}: {stored:?}"))?;
        } else {
            emitter.emit(&record)?;
        }
    }
    Ok(())
}
