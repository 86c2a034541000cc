//! A sink: each message becomes a file. Its name is the message's id, so that one that comes twice is written once.

use geminga_function::{Context, Error, function};
use std::fs;

#[function]
fn archive(payload: Vec<u8>, context: &Context) -> Result<(), Error> {
    let path: String = context.user_config("path")?.ok_or_else(|| Error::new("configs has no `path`"))?;
    let id = &context.message().id;
    let name = format!("{}-{}-{}-{}", id.ledger, id.entry, id.partition, id.batch_index);
    let draft = format!("{path}/{name}.tmp");
    fs::write(&draft, payload)?;
    Ok(fs::rename(draft, format!("{path}/{name}"))?)
}
