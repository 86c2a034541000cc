//! How many messages an instance asks for, of each of its inputs.
//!
//! Pulsar's instances take a thousand each, whatever they do with them; one that joins then finds nothing left to do. Here a window follows
//! the time a message waits in the instance, see [`Pace`].

use std::time::Duration;

use super::pace::Pace;

/// How long a message may wait in the instance, and in times that user code takes: as long for the code, and once more for its turn there.
const PATIENCE: (Duration, u32) = (Duration::from_millis(50), 2);
/// Where it begins.
const FIRST: u32 = 64;
/// What it asks for at most where the function does not say.
pub(super) const MOST: u32 = 4000;

/// The window of an instance and what of it is in use, for each input.
#[derive(Debug)]
pub(super) struct Demand {
    window: Pace,
    inputs: Vec<Input>,
    /// All [`Input::held`].
    held: u32,
    /// Nothing is done with what is here: a little more is worth asking for, too.
    is_eager: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Input {
    is_open: bool,
    /// Asked for, not here yet; below 0 when batches brought more, as the broker counts it.
    asked: i64,
    /// Here, and not done with.
    held: u32,
}

impl Demand {
    /// `most` as the function's configuration says.
    pub(super) fn new(most: Option<u32>) -> Self {
        let most = most.unwrap_or(MOST).max(1);
        Self { window: Pace::new(FIRST, most, PATIENCE.0, PATIENCE.1), inputs: Vec::new(), held: 0, is_eager: false }
    }

    pub(super) fn window(&self) -> u32 {
        self.window.size()
    }

    pub(super) fn held(&self) -> u32 {
        self.held
    }

    fn input(&mut self, input: u32) -> &mut Input {
        let index = input as usize;
        if self.inputs.len() <= index {
            self.inputs.resize(index + 1, Input::default());
        }
        &mut self.inputs[index]
    }

    pub(super) fn opened(&mut self, input: u32) {
        *self.input(input) = Input { is_open: true, ..Input::default() };
    }

    /// A batch may bring more than was asked for.
    pub(super) fn arrived(&mut self, input: u32, messages: u32) {
        let input = self.input(input);
        input.asked -= i64::from(messages);
        input.held += messages;
        self.held += messages;
        self.window.has(self.held);
    }

    /// A message that was done with is called for again.
    pub(super) fn again(&mut self, input: u32) {
        self.input(input).held += 1;
        self.held += 1;
    }

    pub(super) fn done(&mut self, input: u32, messages: u32) {
        self.is_eager = false;
        let input = self.input(input);
        let messages = messages.min(input.held);
        input.held -= messages;
        self.held -= messages;
    }

    /// What an input has brought is void.
    pub(super) fn void(&mut self, input: u32) {
        let held = std::mem::take(&mut self.input(input).held);
        self.held -= held;
    }

    /// What was asked of an input does not come any more.
    pub(super) fn lost(&mut self, input: u32) {
        self.input(input).asked = 0;
    }

    /// So many messages have left that had waited so long, besides the time they took in user code; on average.
    pub(super) fn adapt(&mut self, messages: u32, waited: Duration, took: Duration) {
        self.window.adapt(messages, waited, took);
    }

    /// Whether some input has all that it may, and more would come if it might.
    pub(super) fn is_short(&self) -> bool {
        (self.window.can_grow() || !self.is_eager)
            && self.inputs.iter().any(|input| input.is_open && input.held > 0 && input.asked <= 0)
    }

    /// See [`Pace::grow`].
    pub(super) fn grow(&mut self, for_good: bool) {
        self.is_eager = true;
        self.window.grow(MOST, for_good);
    }

    /// What to ask for now. A little is not asked for: it would cost a wake-up each time.
    pub(super) fn ask(&mut self) -> impl Iterator<Item = (u32, u32)> {
        let open = self.inputs.iter().filter(|input| input.is_open).count().max(1) as u32;
        let share = (self.window() / open).max(1);
        let room = self.window().saturating_sub(self.held);
        let least = if self.is_eager { 1 } else { i64::from(share / 2) };
        self.inputs.iter_mut().enumerate().filter_map(move |(n, input)| {
            let in_use = input.asked + i64::from(input.held);
            // What a batch brought too much is paid back, and more.
            let debt = (-input.asked).max(0);
            let missing = (i64::from(share) - in_use).min(i64::from(room) + debt);
            let worth = input.is_open && missing > 0 && missing >= least;
            worth.then(|| {
                input.asked += missing;
                (n as u32, u32::try_from(missing).unwrap_or(u32::MAX))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_fast_function_is_given_more_and_more() {
        let mut demand = Demand::new(None);
        demand.opened(0);
        for _ in 0..20 {
            for (input, n) in demand.ask().collect::<Vec<_>>() {
                demand.arrived(input, n);
                demand.done(input, n);
            }
            demand.adapt(demand.window(), MS, MS);
        }
        assert_eq!(demand.window(), MOST);
    }

    #[test]
    fn a_slow_function_is_left_with_one() {
        let mut demand = Demand::new(None);
        demand.opened(0);
        assert_eq!(demand.ask().collect::<Vec<_>>(), [(0, 64)]);
        demand.arrived(0, 64);
        for _ in 0..10 {
            demand.done(0, 1);
            demand.adapt(1, Duration::from_secs(1), MS);
        }
        assert_eq!(demand.window(), 1);
        assert_eq!(demand.ask().count(), 0, "it still has more than that");
        demand.done(0, 54);
        assert_eq!(demand.ask().collect::<Vec<_>>(), [(0, 1)]);
    }

    #[test]
    fn what_a_batch_brings_too_much_is_paid_back() {
        let mut demand = Demand::new(Some(100));
        demand.opened(0);
        // As the broker counts.
        let mut permits = 0i64;
        for _ in 0..50 {
            permits += demand.ask().map(|(_, n)| i64::from(n)).sum::<i64>();
            assert!(permits > 0, "the broker has something to send and may not");
            permits -= 70;
            demand.arrived(0, 70);
            demand.done(0, 70);
        }
    }

    #[test]
    fn what_a_lost_connection_owed_is_asked_for_again() {
        let mut demand = Demand::new(Some(10));
        (0..2).for_each(|n| demand.opened(n));
        assert_eq!(demand.ask().collect::<Vec<_>>(), [(0, 5), (1, 5)]);
        demand.arrived(0, 3);
        demand.arrived(1, 5);
        demand.void(0);
        demand.lost(0);
        assert_eq!((demand.held(), demand.ask().collect::<Vec<_>>()), (5, vec![(0, 5)]));
        demand.void(1);
        assert_eq!((demand.held(), demand.ask().collect::<Vec<_>>()), (0, vec![(1, 5)]));
    }

    #[test]
    fn code_that_says_nothing_is_given_all_there_may_be() {
        let mut demand = Demand::new(Some(101));
        demand.opened(0);
        assert_eq!(demand.ask().collect::<Vec<_>>(), [(0, 64)]);
        assert!(!demand.is_short(), "more may come");
        demand.arrived(0, 70);
        assert!(demand.is_short());
        demand.grow(true);
        // Little, and what the batch brought too much.
        assert_eq!(demand.ask().collect::<Vec<_>>(), [(0, 37)]);
        demand.arrived(0, 31);
        assert!(!demand.is_short() && demand.held() == 101, "that is all");
    }

    #[test]
    fn inputs_share_the_window() {
        let mut demand = Demand::new(Some(30));
        (0..3).for_each(|n| demand.opened(n));
        assert_eq!(demand.ask().collect::<Vec<_>>(), [(0, 10), (1, 10), (2, 10)]);
        assert_eq!(demand.ask().count(), 0);
        demand.arrived(1, 10);
        demand.done(1, 4);
        assert_eq!(demand.ask().count(), 0, "too little to ask for");
        demand.done(1, 1);
        assert_eq!(demand.ask().collect::<Vec<_>>(), [(1, 5)]);
    }
}
