//! What a source hands its records over to.

use std::{cell::Cell, collections::HashMap, fmt::Display, ops::Deref, rc::Rc, time::Duration};

use crate::{Error, Instance, Record, source::geminga::function::emissions};

/// What is to be called when it is known what became of a record.
type Callback = Box<dyn FnOnce(Result<(), Error>)>;

/// Takes the records of a source, and tells what became of them. Records are stored in the order in which they were emitted.
///
/// Call-backs are called while the source is in one of the methods that wait: [`wait`](Self::wait), [`store`](Self::store),
/// [`flush`](Self::flush), and the ones that emit.
pub struct Emitter {
    instance: Instance,
    /// By the number of their record; a record without one is logged when it is refused.
    on_their_way: HashMap<u64, Option<Callback>>,
}

/// Configuration, secrets and log.
impl Deref for Emitter {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.instance
    }
}

impl Emitter {
    /// Hands over a record. Waits while 1,000 are on their way.
    ///
    /// # Errors
    /// The instance is to end; the record is too large.
    pub fn emit(&mut self, record: &Record) -> Result<(), Error> {
        self.hand_over(record, None)
    }

    /// Hands over a record, and calls `then` when it is durable or could not be stored. Forget it where it came from then, not before.
    ///
    /// # Errors
    /// As for [`emit`](Self::emit); `then` is not called.
    pub fn emit_then(&mut self, record: &Record, then: impl FnOnce(Result<(), Error>) + 'static) -> Result<(), Error> {
        self.hand_over(record, Some(Box::new(then)))
    }

    /// Hands over a record and waits until it is durable.
    ///
    /// # Errors
    /// As for [`emit`](Self::emit); it could not be stored.
    pub fn store(&mut self, record: &Record) -> Result<(), Error> {
        let stored = Rc::new(Cell::new(None));
        let tell = Rc::clone(&stored);
        self.emit_then(record, move |result| tell.set(Some(result)))?;
        loop {
            if let Some(result) = stored.take() {
                return result;
            }
            self.hear(Duration::MAX)?;
        }
    }

    /// Waits so long, and calls back meanwhile.
    ///
    /// # Errors
    /// The instance is to end: with `?`, the source does.
    pub fn wait(&mut self, duration: Duration) -> Result<(), Error> {
        let now = std::time::Instant::now();
        let until = now.checked_add(duration);
        loop {
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(std::time::Instant::now()));
            self.hear(left)?;
            if left.is_zero() {
                return Ok(());
            }
        }
    }

    /// Waits until it is known of all records what became of them.
    ///
    /// # Errors
    /// The instance is to end.
    pub fn flush(&mut self) -> Result<(), Error> {
        while !self.on_their_way.is_empty() {
            self.hear(Duration::MAX)?;
        }
        Ok(())
    }

    /// Whether the instance is to end.
    pub fn is_ending(&self) -> bool {
        emissions::is_ending()
    }

    fn hand_over(&mut self, record: &Record, then: Option<Callback>) -> Result<(), Error> {
        if !self.on_their_way.is_empty() {
            // Whether it is to end, emitting says.
            self.call_back(Duration::ZERO);
        }
        let number = emissions::emit(record, true).map_err(Error::new)?;
        self.on_their_way.insert(number, then);
        Ok(())
    }

    fn hear(&mut self, wait: Duration) -> Result<(), Error> {
        self.call_back(wait);
        if emissions::is_ending() {
            return Err(Error::new("the instance is to end"));
        }
        Ok(())
    }

    /// Calls back for what is known, or becomes known within `wait`.
    fn call_back(&mut self, wait: Duration) {
        // Shorter than a millisecond is not nothing.
        let wait_ms = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        for receipt in emissions::receipts(wait_ms) {
            match (self.on_their_way.remove(&receipt.emission).flatten(), receipt.error) {
                (Some(then), error) => then(error.map_or(Ok(()), |error| Err(Error::new(error)))),
                (None, Some(error)) => self.warn(format_args!("a record was not stored: {error}")),
                (None, None) => {}
            }
        }
    }
}

/// What a source can return.
#[diagnostic::on_unimplemented(
    message = "a source cannot return `{Self}`",
    note = "it returns `()`, or a `Result<(), E>` where `E` can be shown"
)]
pub trait Ended {
    /// # Errors
    /// The source failed, and another instance is to be started.
    fn ended(self) -> Result<(), String>;
}

impl Ended for () {
    fn ended(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Display> Ended for Result<(), E> {
    fn ended(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

/// Runs a source to its end, and until what it emitted is stored.
pub(crate) fn run<R: Ended>(source: impl FnOnce(&mut Emitter) -> R) -> Result<(), String> {
    let mut emitter = Emitter { instance: Instance(()), on_their_way: HashMap::new() };
    let result = source(&mut emitter).ended().and_then(|()| emitter.flush().map_err(|error| error.to_string()));
    // Whatever it made of being told to end.
    if emitter.is_ending() { Ok(()) } else { result }
}
