//! What one turn has to say to each connection, gathered so that a connection is woken once.

use model::Position;
use rustc_hash::FxHashMap;
use std::sync::Arc;

use crate::peer::{Delivery, Outgoing, Peer, RECEIPT_BYTES};

/// Messages per connection, in order.
#[derive(Default)]
pub(crate) struct Outbox {
    peers: Vec<(Arc<Peer>, Vec<Outgoing>)>,
    /// Where in `peers` a connection is. A topic may have thousands of consumers, each on its own connection.
    index: FxHashMap<u64, usize>,
    last: usize,
}

impl Outbox {
    fn queue(&mut self, peer: &Arc<Peer>) -> &mut Vec<Outgoing> {
        if self.peers.get(self.last).is_none_or(|(p, _)| p.id != peer.id) {
            self.last = *self.index.entry(peer.id).or_insert_with(|| {
                self.peers.push((peer.clone(), Vec::with_capacity(4)));
                self.peers.len() - 1
            });
        }
        &mut self.peers[self.last].1
    }

    pub(crate) fn push(&mut self, peer: &Arc<Peer>, outgoing: Outgoing) {
        peer.charge(outgoing.bytes());
        self.queue(peer).push(outgoing);
    }

    /// Makes the connection look again whether it may read.
    pub(crate) fn wake(&mut self, peer: &Arc<Peer>) {
        self.queue(peer);
    }

    /// Adds one receipt, extending the last run when it goes on from there.
    pub(crate) fn receipt(&mut self, peer: &Arc<Peer>, producer_id: u64, sequence: u64, top: u64, at: Position) {
        peer.charge(RECEIPT_BYTES);
        let queue = self.queue(peer);
        if let Some(Outgoing::Receipts { producer_id: id, sequence_id, highest, position, count }) = queue.last_mut()
            && *id == producer_id
            && sequence == top
            && *sequence_id == *highest
            && sequence_id.checked_add(u64::from(*count)) == Some(sequence)
            && at.entry >= 0
            && position.ledger == at.ledger
            && position.entry >= 0
            && position.entry + i64::from(*count) == at.entry
        {
            *count += 1;
            return;
        }
        queue.push(Outgoing::Receipts { producer_id, sequence_id: sequence, highest: top, position: at, count: 1 });
    }

    /// Adds messages for one consumer, joining them to those already queued last.
    pub(crate) fn deliver(&mut self, peer: &Arc<Peer>, consumer_id: u64, epoch: Option<u64>, delivery: Delivery) {
        // At once, so that dispatching sees what it did itself in this turn.
        peer.charge(delivery.bytes());
        let queue = self.queue(peer);
        if let Some(Outgoing::Deliver { consumer_id: id, epoch: e, entries }) = queue.last_mut()
            && *id == consumer_id
            && *e == epoch
        {
            entries.push(delivery);
            return;
        }
        queue.push(Outgoing::Deliver { consumer_id, epoch, entries: vec![delivery] });
    }

    pub(crate) fn flush(&mut self) {
        for (peer, batch) in self.peers.drain(..) {
            peer.send_charged(batch);
        }
        self.index.clear();
        self.last = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_that_follow_each_other_are_one_run() {
        let (peer, _receiver) = Peer::new(1, crate::PeerInfo::default(), Arc::new([]));
        let mut outbox = Outbox::default();
        for n in 5..9 {
            outbox.receipt(&peer, 1, n, n, Position::new(3, n as i64));
        }
        outbox.receipt(&peer, 1, 9, 12, Position::new(3, 9)); // a batch stands alone
        outbox.receipt(&peer, 1, 13, 13, Position::new(3, 10));
        outbox.receipt(&peer, 1, 14, 14, Position::new(-1i64 as u64, -1)); // a duplicate
        // Numbers are the client's, up to the last; no run goes over it.
        outbox.receipt(&peer, 1, u64::MAX, u64::MAX, Position::new(3, 11));
        outbox.receipt(&peer, 1, 0, 0, Position::new(3, 12));
        let runs: Vec<_> = outbox.peers[0]
            .1
            .iter()
            .map(|o| match o {
                Outgoing::Receipts { sequence_id, highest, count, .. } => (*sequence_id, *highest, *count),
                other => panic!("{other:?}"),
            })
            .collect();
        let last = u64::MAX;
        assert_eq!(runs, [(5, 5, 4), (9, 12, 1), (13, 13, 1), (14, 14, 1), (last, last, 1), (0, 0, 1)]);
    }
}
