//! Reads that several ask for, and that may take for ever: of each there is one at a time, and nobody waits long for it.

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::{future::Future, hash::Hash, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

/// How long a read may take until nobody waits for it any more.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is being read, by what it is.
pub(crate) struct Readings<K, V> {
    under_way: Mutex<FxHashMap<K, Reading<V>>>,
}

struct Reading<V> {
    /// So long somebody waits for it.
    until: Instant,
    answer: watch::Receiver<Option<V>>,
}

impl<K, V> Default for Readings<K, V> {
    fn default() -> Self {
        Self { under_way: Mutex::default() }
    }
}

impl<K, V> Readings<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// What `read` gives, or the read of the same that is under way. `None`: it takes too long, or too long already. It goes on, and until
    /// it has ended there is no other.
    pub(crate) async fn ask(self: &Arc<Self>, key: K, read: impl Future<Output = V> + Send + 'static) -> Option<V> {
        let (until, mut answer) = {
            let mut under_way = self.under_way.lock();
            let reading = under_way.entry(key.clone()).or_insert_with(|| {
                let (tell, answer) = watch::channel(None);
                let ends = Ends { all: self.clone(), key };
                tokio::spawn(async move {
                    let value = read.await;
                    drop(ends);
                    tell.send_replace(Some(value));
                });
                Reading { until: Instant::now() + PATIENCE, answer }
            });
            (reading.until, reading.answer.clone())
        };
        let answered = timeout_at(until, answer.wait_for(Option::is_some)).await;
        answered.ok()?.ok()?.clone()
    }
}

/// Dropped, the read has ended, however it did.
struct Ends<K: Eq + Hash, V> {
    all: Arc<Readings<K, V>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Ends<K, V> {
    fn drop(&mut self) {
        self.all.under_way.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::sync::oneshot;

    #[tokio::test(start_paused = true)]
    async fn what_takes_for_ever_costs_those_who_wait_their_patience_once() {
        let (readings, began) = (Arc::new(Readings::default()), Instant::now());
        let (end, ends) = oneshot::channel::<u32>();
        let stuck = async { ends.await.unwrap() };
        // The second one waits for the read of the first.
        let asked = tokio::join!(readings.ask("stuck", stuck), readings.ask("stuck", pending()));
        assert_eq!((asked, began.elapsed()), ((None, None), PATIENCE));
        assert_eq!(readings.ask("stuck", async { 7 }).await, None, "it is still being read");
        assert_eq!(readings.ask("other", async { 8 }).await, Some(8));
        assert_eq!(began.elapsed(), PATIENCE);
        end.send(9).unwrap();
        while !readings.under_way.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(readings.ask("stuck", async { 10 }).await, Some(10));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_in_time_share_an_answer_and_a_panic_is_none() {
        let readings = Arc::new(Readings::default());
        let (end, ends) = oneshot::channel::<u32>();
        let (first, second, ()) =
            tokio::join!(readings.ask("a", async { ends.await.unwrap() }), readings.ask("a", pending()), async {
                end.send(1).unwrap()
            });
        assert_eq!((first, second), (Some(1), Some(1)));
        assert_eq!(readings.ask("a", async { panic!("a defect") }).await, None);
        assert_eq!(readings.ask("a", async { 2 }).await, Some(2));
    }
}
