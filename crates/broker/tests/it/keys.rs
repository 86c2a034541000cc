//! Order within a key on Key_Shared, while consumers that can give back what they have not begun come and go.

use broker::{ConsumerHandle, ProducerHandle};
use std::collections::VecDeque;

use super::*;
use crate::harness::Connection;

fn gives_back(topic: &str, id: u64) -> broker::NewConsumer {
    broker::NewConsumer { gives_back: true, ..new_consumer(topic, KeyShared, id) }
}

/// Says something for a consumer, and waits until the broker has done all that follows.
async fn say(connection: &Connection, consumer: &ConsumerHandle, what: impl FnOnce(&mut broker::Requests)) {
    let mut requests = connection.broker.requests();
    what(&mut requests);
    connection.broker.submit(&connection.peer, &mut requests);
    settled(consumer).await;
}

/// What was asked of the broker is done, and what follows was told, but for what is read from the disk: the second call is of a later turn.
async fn settled(consumer: &ConsumerHandle) {
    for _ in 0..2 {
        let _ = consumer.stats().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_comes_back_to_who_was_asked_for_it_waits_for_the_answer() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    let first = connection.broker.subscribe(&connection.peer, gives_back("t", 1)).await.unwrap();
    first.flow(1000);
    let keys: Vec<String> = (0..20).map(|n| format!("key-{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    connection.publish(&producer, 0..40, &keys).await;
    connection.receive(1, 40).await;
    // Another one comes and goes before the first has answered.
    let second = connection.broker.subscribe(&connection.peer, gives_back("t", 2)).await.unwrap();
    second.close().await;
    connection.publish(&producer, 40..60, &keys).await;
    let asked = connection.next(|o| matches!(o, Outgoing::GiveBack { consumer_id: 1, .. })).await;
    let Outgoing::GiveBack { positions: asked, .. } = asked else { unreachable!() };
    let moved = asked.len() / 2;
    // What did not move comes, what moved does not.
    connection.receive(1, 20 - moved).await;
    connection.silent().await;
    // It has begun the first message of one key; the second one, and all of the other keys, it gives back.
    let begun = *asked.iter().min().unwrap();
    let given: Vec<Position> = asked.iter().copied().filter(|at| *at != begun).collect();
    say(&connection, &first, |requests| requests.give_back(&first, given)).await;
    // Nobody has those other keys any more.
    connection.receive(1, (moved - 1) * 3).await;
    connection.silent().await;
    say(&connection, &first, |requests| requests.gave_back(&first)).await;
    let last: Vec<u64> = connection.texts(1, 2).await.iter().map(|text| text[1..].parse().unwrap()).collect();
    assert_eq!(last[0] + 20, last[1], "in order");
}

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // Xorshift, after Marsaglia.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % sides
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Is {
    Waiting,
    /// Sent to this consumer.
    With(u64),
    Acked,
}

struct Known {
    key: usize,
    at: Position,
    is: Is,
    /// One before it was refused when this was sent already: it may begin first, this once.
    is_excused: bool,
}

/// A consumer that works as an instance of a function does, at its own pace.
struct Member {
    id: u64,
    connection: Connection,
    handle: ConsumerHandle,
    /// What the broker said and it has not looked at.
    inbox: VecDeque<Outgoing>,
    queue: VecDeque<usize>,
    begun: Vec<usize>,
    is_stopping: bool,
}

struct World {
    test: TestBroker,
    topic: String,
    publisher: Connection,
    producer: ProducerHandle,
    dice: Dice,
    messages: Vec<Known>,
    members: Vec<Member>,
    joined: u64,
    log: Vec<String>,
}

const KEYS: usize = 12;

impl World {
    async fn new(seed: u64) -> Self {
        let test = TestBroker::start().await;
        let publisher = test.connect();
        let topic = format!("keys-{seed}");
        let producer = publisher.producer(&topic, 1).await;
        publisher.broker.subscribe(&publisher.peer, gives_back(&topic, 0)).await.unwrap().close().await;
        let dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let (messages, members) = (Vec::new(), Vec::new());
        Self { test, topic, publisher, producer, dice, messages, members, joined: 0, log: Vec::new() }
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{why}; {}:\n{}", self.topic, self.log.join("\n"));
    }

    /// The messages of the same key before this one.
    fn before(&self, message: usize) -> impl Iterator<Item = usize> + '_ {
        (0..message).filter(move |&other| self.messages[other].key == self.messages[message].key)
    }

    fn waits(&mut self, message: usize) {
        self.messages[message].is = Is::Waiting;
        self.messages[message].is_excused = false;
    }

    async fn publish(&mut self) {
        let count = 1 + self.dice.roll(4);
        for _ in 0..count {
            let (key, n) = (self.dice.roll(KEYS), self.messages.len() as u64);
            let key_name = format!("key-{key}");
            let at = self.publisher.publish(&self.producer, n..n + 1, &[&key_name]).await[0];
            self.messages.push(Known { key, at, is: Is::Waiting, is_excused: false });
            self.log.push(format!("publish {n} of {key}"));
        }
    }

    async fn join(&mut self) {
        self.joined += 1;
        let id = self.joined;
        let connection = self.test.connect();
        let handle = connection.broker.subscribe(&connection.peer, gives_back(&self.topic, id)).await.unwrap();
        handle.flow(5 + self.dice.roll(30) as u32);
        self.log.push(format!("{id} joins"));
        let (inbox, queue, begun) = (VecDeque::new(), VecDeque::new(), Vec::new());
        self.members.push(Member { id, connection, handle, inbox, queue, begun, is_stopping: false });
    }

    async fn leave(&mut self, who: usize) {
        let member = self.members.remove(who);
        // What it was sent until now counts as sent.
        member.handle.close().await;
        self.log.push(format!("{} leaves", member.id));
        for message in 0..self.messages.len() {
            if self.messages[message].is == Is::With(member.id) {
                self.waits(message);
            }
        }
    }

    /// Takes in what the broker told everybody, and looks at what it sent to whom.
    async fn take_in(&mut self) {
        let Some(any) = self.members.first() else { return };
        settled(&any.handle).await;
        for who in 0..self.members.len() {
            let told = self.members[who].connection.hear();
            let id = self.members[who].id;
            for entry in told.iter().flat_map(|outgoing| match outgoing {
                Outgoing::Deliver { entries, .. } => entries.as_slice(),
                _ => &[],
            }) {
                let message: usize = text(entry)[1..].parse().unwrap();
                self.log.push(format!("{message} of {} to {id}", self.messages[message].key));
                let is_wrong = |other: usize| {
                    !matches!(self.messages[other].is, Is::Acked) && self.messages[other].is != Is::With(id)
                };
                if let Some(other) = self.before(message).find(|&other| is_wrong(other)) {
                    self.fail(&format!("{message} is sent before {other}"));
                }
                if self.messages[message].is != Is::Waiting {
                    self.fail(&format!("{message} is sent twice"));
                }
                self.messages[message].is = Is::With(id);
            }
            self.members[who].inbox.extend(told);
        }
    }

    /// Looks at the next thing the broker said.
    async fn look(&mut self, who: usize) {
        let member = &mut self.members[who];
        if member.is_stopping {
            return;
        }
        match member.inbox.pop_front() {
            Some(Outgoing::Deliver { entries, .. }) => {
                member.handle.flow(entries.len() as u32);
                member.queue.extend(entries.iter().map(|entry| text(entry)[1..].parse::<usize>().unwrap()));
            }
            Some(Outgoing::GiveBack { positions, .. }) => {
                let messages = &self.messages;
                let (given, kept): (Vec<usize>, Vec<usize>) =
                    member.queue.iter().copied().partition(|&message| positions.contains(&messages[message].at));
                member.queue = kept.into();
                let at: Vec<Position> = given.iter().map(|&message| messages[message].at).collect();
                self.log.push(format!("{} gives back {given:?}", member.id));
                given.into_iter().for_each(|message| self.waits(message));
                let member = &self.members[who];
                say(&member.connection, &member.handle, |requests| {
                    if !at.is_empty() {
                        requests.give_back(&member.handle, at);
                    }
                    requests.gave_back(&member.handle);
                })
                .await;
            }
            _ => {}
        }
    }

    fn begin(&mut self, who: usize) {
        let member = &mut self.members[who];
        if member.begun.len() >= 3 {
            return;
        }
        let Some(message) = member.queue.pop_front() else { return };
        let id = member.id;
        self.log.push(format!("{id} begins {message} of {}", self.messages[message].key));
        let is_wrong =
            |other: &usize| self.messages[*other].is != Is::Acked && !self.members[who].begun.contains(other);
        if !self.messages[message].is_excused
            && let Some(other) = self.before(message).find(is_wrong)
        {
            self.fail(&format!("{message} is begun before {other} is done"));
        }
        self.members[who].begun.push(message);
    }

    async fn end(&mut self, who: usize) {
        let member = &mut self.members[who];
        if member.begun.is_empty() {
            return;
        }
        let message = member.begun.swap_remove(self.dice.roll(member.begun.len()));
        let (id, at, key) = (member.id, self.messages[message].at, self.messages[message].key);
        // Where a later one is on its way to somebody, perhaps before the refusal, order could not be told.
        let is_later = |later: &Known| later.key == key && later.is == Is::Waiting;
        if self.dice.roll(6) == 0 && !self.messages[message..].iter().any(is_later) {
            self.log.push(format!("{id} refuses {message}"));
            for later in message + 1..self.messages.len() {
                let later = &mut self.messages[later];
                later.is_excused |= later.key == key && later.is == Is::With(id);
            }
            self.waits(message);
            let member = &self.members[who];
            say(&member.connection, &member.handle, |requests| requests.redeliver(&member.handle, vec![at], None))
                .await;
        } else {
            self.log.push(format!("{id} ends {message}"));
            self.messages[message].is = Is::Acked;
            let ids = [(at, Default::default())].into_iter().collect();
            let ack = broker::Ack { cumulative: false, ids, request_id: None, validation_error: false };
            let member = &self.members[who];
            say(&member.connection, &member.handle, |requests| requests.ack(&member.handle, ack)).await;
        }
    }

    /// Gives back all it has not begun without being asked, and looks at nothing any more.
    async fn stop(&mut self, who: usize) {
        let member = &mut self.members[who];
        if std::mem::replace(&mut member.is_stopping, true) {
            return;
        }
        let given: Vec<usize> = member.queue.drain(..).collect();
        let at: Vec<Position> = given.iter().map(|&message| self.messages[message].at).collect();
        self.log.push(format!("{} stops", member.id));
        given.into_iter().for_each(|message| self.waits(message));
        let member = &self.members[who];
        say(&member.connection, &member.handle, |requests| requests.give_back(&member.handle, at)).await;
    }

    async fn step(&mut self) {
        let who = self.dice.roll(self.members.len().max(1));
        let is_one = who < self.members.len();
        match self.dice.roll(100) {
            0..10 => self.publish().await,
            10..18 if self.members.len() < 4 => self.join().await,
            18..25 if is_one => self.leave(who).await,
            25..27 if is_one => self.stop(who).await,
            27..45 if is_one => self.look(who).await,
            45..72 if is_one => self.begin(who),
            72..100 if is_one => self.end(who).await,
            _ => {}
        }
        self.take_in().await;
    }

    /// All of it can be done in the end.
    async fn finish(&mut self) {
        while let Some(who) = self.members.iter().position(|member| member.is_stopping) {
            self.leave(who).await;
        }
        if self.members.is_empty() {
            self.join().await;
        }
        self.take_in().await;
        for _ in 0..50 * self.messages.len() {
            if self.messages.iter().all(|message| message.is == Is::Acked) {
                return;
            }
            for who in 0..self.members.len() {
                self.look(who).await;
                self.begin(who);
                self.end(who).await;
            }
            self.take_in().await;
        }
        self.fail("not all is done");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_key_begin_in_order_whoever_comes_and_goes() {
    for seed in 1..=8 {
        let mut world = World::new(seed).await;
        let all = async {
            for _ in 0..250 {
                world.step().await;
            }
            world.finish().await;
        };
        tokio::time::timeout(Duration::from_secs(120), all).await.expect("it ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_hash_ranges_gets_what_is_in_them() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    let keys: Vec<String> = (0..40).map(|n| format!("key-{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    connection.publish(&producer, 0..40, &keys).await;
    let mut all = Vec::new();
    for (id, range) in [(1, 0..=20_000), (2, 20_001..=65_535)] {
        let in_range = |key: &&&str| range.contains(&wire::entry::sticky_hash(key.as_bytes()));
        let wanted = keys.iter().filter(in_range).count();
        let request = broker::NewConsumer {
            durable: false,
            subscription: format!("reader-{id}"),
            key_shared: Some(KeyShared {
                mode: KeySharedMode::Sticky,
                ranges: vec![range.clone()],
                allow_out_of_order: false,
            }),
            ..new_consumer("t", Exclusive, id)
        };
        let reader = test.broker.subscribe(&connection.peer, request).await.unwrap();
        reader.flow(1000);
        all.extend(connection.texts(id, wanted).await);
        connection.silent().await;
    }
    all.sort_by_key(|text| text[1..].parse::<u64>().unwrap());
    assert_eq!(all, (0..40).map(|n| format!("m{n}")).collect::<Vec<_>>());
}
