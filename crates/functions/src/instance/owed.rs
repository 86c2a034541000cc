//! What user code is to be told besides its invocations: answers, and which records are durable. It takes that when it likes; what it asks
//! for and does not take may not grow without end.

use std::collections::VecDeque;

use crate::runtime::{Answer, Question, Request};

/// Bytes of values at which no more answers are looked up.
const VALUES_BYTES: usize = 16 << 20;
/// Bytes of what is owed, without values, that are too many: far more than code has open that takes what it asked for.
const OWED_BYTES_MAX: usize = 16 << 20;
/// What one question or request takes besides what is in it.
const ONE_BYTES: usize = 128;
/// Records that one request tells of at most.
const EMITTED_MAX: usize = 1000;

/// See the module.
#[derive(Default)]
pub(super) struct Owed {
    queue: VecDeque<Request>,
    /// Questions without an answer.
    open: usize,
    /// Of these and of the queue, but for values.
    bytes: usize,
    values_bytes: usize,
}

/// A question that has no answer yet: its number, and what it counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    call: u64,
    bytes: usize,
}

impl Owed {
    /// A question came.
    pub(super) fn asked(&mut self, call: u64, question: &Question) -> Asked {
        let (Question::State(key) | Question::Counter(key)) = question;
        let bytes = ONE_BYTES + key.len();
        self.open += 1;
        self.bytes += bytes;
        Asked { call, bytes }
    }

    /// Its answer is here.
    pub(super) fn answer(&mut self, Asked { call, bytes }: Asked, answer: Answer) {
        self.open -= 1;
        self.bytes -= bytes;
        self.push(Request::Answer { call, answer });
    }

    /// Goes to user code behind what is there.
    pub(super) fn push(&mut self, request: Request) {
        if let (Request::Emitted { ids: more, error: None }, Some(Request::Emitted { ids, error: None })) =
            (&request, self.queue.back_mut())
            && ids.len() + more.len() <= EMITTED_MAX
        {
            ids.extend(more);
            self.bytes += size_of_val(&more[..]);
            return;
        }
        let (bytes, values_bytes) = weight(&request);
        self.bytes += bytes;
        self.values_bytes += values_bytes;
        self.queue.push_back(request);
    }

    pub(super) fn pop(&mut self) -> Option<Request> {
        let request = self.queue.pop_front()?;
        let (bytes, values_bytes) = weight(&request);
        self.bytes -= bytes;
        self.values_bytes -= values_bytes;
        Some(request)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Nobody takes any of it.
    pub(super) fn clear(&mut self) {
        while self.pop().is_some() {}
    }

    /// Whether more answers may be looked up.
    pub(super) fn has_room(&self) -> bool {
        self.values_bytes < VALUES_BYTES
    }

    /// Why it is too much.
    pub(super) fn excess(&self) -> Option<String> {
        (self.bytes > OWED_BYTES_MAX).then(|| {
            format!(
                "it does not read what it asks for: {} questions and {} answers and receipts wait for it, {} bytes at most may",
                self.open,
                self.queue.len(),
                OWED_BYTES_MAX
            )
        })
    }
}

/// Bytes of a request, and of the value in it.
fn weight(request: &Request) -> (usize, usize) {
    match request {
        Request::Answer { answer: Answer::State(Some(value)), .. } => (ONE_BYTES, value.len()),
        Request::Answer { answer: Answer::Failed(why), .. } => (ONE_BYTES + why.len(), 0),
        Request::Emitted { ids, error } => {
            (ONE_BYTES + size_of_val(&ids[..]) + error.as_deref().map_or(0, str::len), 0)
        }
        Request::Answer { .. } | Request::Finish { .. } | Request::Invoke(_) => (ONE_BYTES, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn emitted(ids: &[u64], error: Option<&str>) -> Request {
        Request::Emitted { ids: ids.to_vec(), error: error.map(str::to_owned) }
    }

    #[test]
    fn what_is_taken_counts_no_more() {
        let mut owed = Owed::default();
        let first = owed.asked(1, &Question::State("k".into()));
        let second = owed.asked(2, &Question::Counter("n".into()));
        owed.answer(first, Answer::State(Some(Bytes::from(vec![0; VALUES_BYTES]))));
        assert!(!owed.has_room());
        owed.answer(second, Answer::Failed("no".into()));
        owed.push(emitted(&[1], None));
        owed.push(emitted(&[2, 3], None));
        owed.push(emitted(&[4], Some("full")));
        owed.push(emitted(&[5], None));
        let told = std::iter::from_fn(|| owed.pop()).map(|request| match request {
            Request::Answer { call, .. } => vec![call],
            Request::Emitted { ids, .. } => ids,
            _ => Vec::new(),
        });
        assert_eq!(told.collect::<Vec<_>>(), [vec![1], vec![2], vec![1, 2, 3], vec![4], vec![5]]);
        assert!(owed.has_room() && owed.is_empty());
        assert_eq!((owed.open, owed.bytes, owed.values_bytes), (0, 0, 0));
    }

    #[test]
    fn questions_and_receipts_that_nobody_takes_are_too_many_some_time() {
        let mut owed = Owed::default();
        let questions = OWED_BYTES_MAX / ONE_BYTES;
        for call in 0..questions as u64 {
            owed.asked(call, &Question::State("key".into()));
        }
        assert!(owed.excess().is_some_and(|why| why.contains(&format!("{questions} questions and 0 answers"))));
        let mut owed = Owed::default();
        (0..1000).for_each(|id| owed.push(emitted(&[id], None)));
        assert!(owed.excess().is_none());
        (0..OWED_BYTES_MAX as u64 / 8).for_each(|id| owed.push(emitted(&[id], None)));
        assert!(owed.excess().is_some());
    }
}
