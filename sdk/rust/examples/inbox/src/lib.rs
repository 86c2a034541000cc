//! Files that come into a directory, each of them a message, deleted when it is durable.

use geminga_function::{Emitter, Error, Record, source};
use std::{cell::RefCell, collections::HashSet, fs, rc::Rc, time::Duration};

#[source]
fn inbox(emitter: &mut Emitter) -> Result<(), Error> {
    let path: String = emitter.user_config("path")?.ok_or_else(|| Error::new("configs has no `path`"))?;
    let on_their_way = Rc::new(RefCell::new(HashSet::new()));
    loop {
        for entry in fs::read_dir(&path)? {
            let file = entry?.path();
            if on_their_way.borrow().contains(&file) {
                continue;
            }
            // Gone again, or no file.
            let Ok(payload) = fs::read(&file) else { continue };
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let record = Record::new(payload).key(name);
            on_their_way.borrow_mut().insert(file.clone());
            let on_their_way = Rc::clone(&on_their_way);
            emitter.emit_then(&record, move |stored| {
                // What was not stored stays, and is tried again.
                if stored.is_err() || fs::remove_file(&file).is_ok() {
                    on_their_way.borrow_mut().remove(&file);
                }
            })?;
        }
        emitter.wait(Duration::from_millis(200))?;
    }
}
