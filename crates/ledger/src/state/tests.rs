use super::*;
use crate::cursor::Acks;
use proptest::prelude::*;

const MINUTE: u64 = 60_000;

/// Ledgers 10, 20, 30 with four entries of 100 bytes each; 30 is open. 10 was closed at minute 1, 20 at minute 2.
fn state() -> State {
    let mut state = State::new(10, 0, BTreeMap::new());
    for (ledger, now) in [(0, 0), (20, MINUTE), (30, 2 * MINUTE)] {
        if ledger > 0 {
            state.roll(ledger, now);
        }
        for _ in 0..4 {
            state.append(100, 1);
        }
    }
    state
}

fn open(state: &mut State, next: u64) {
    let slot = state.free_slot();
    state.apply(&Delta::CursorOpen { slot, name: format!("s{slot}"), next, properties: BTreeMap::new() });
}

fn keep(minutes: Option<u64>, bytes: Option<u64>) -> Retention {
    Retention { time: minutes.map(|m| Duration::from_secs(m * 60)), bytes }
}

#[test]
fn positions_and_ordinals_are_each_others_inverse() {
    let state = state();
    for ordinal in 0..12 {
        let position = state.position(ordinal);
        assert_eq!(state.ordinal(position), Some(ordinal), "{position}");
        assert_eq!(state.after(position), ordinal + 1);
        assert_eq!(state.before(ordinal + 1), position);
    }
    assert_eq!(state.position(12), Position::new(30, 4));
    assert_eq!(state.after(Position::new(10, 99)), 4);
    assert_eq!(state.after(Position::new(15, 0)), 4);
    assert_eq!(state.after(Position::new(20, -1)), 4);
    assert_eq!(state.after(Position::new(99, 0)), 12);
    assert_eq!(state.after(Position::new(u64::MAX, i64::MAX)), 12);
    assert_eq!(state.after(Position::new(10, i64::MIN)), 0);
    assert_eq!(state.after(Position::EARLIEST), 0);
    for none in [(10, -1), (10, 4), (11, 0), (30, 4)] {
        assert_eq!(state.ordinal(Position::new(none.0, none.1)), None, "{none:?}");
    }
    assert_eq!(state.bytes_between(2, 9), 700);
}

#[test]
fn what_is_gone_takes_all_before_it_along() {
    let mut state = state();
    open(&mut state, 6);
    state.drop_below(20, 2, 200);
    assert_eq!((state.first_ordinal(), state.storage_bytes()), (6, 600));
    assert_eq!(state.cursor(0).unwrap().next, 6);
}

#[test]
fn what_a_cursor_went_back_to_stays() {
    let mut state = state();
    open(&mut state, 1);
    state.drop_below(20, 2, 200);
    assert_eq!((state.first_ordinal(), state.storage_bytes()), (0, 1000));
    assert_eq!(state.cursor(0).unwrap().next, 1);
}

#[test]
fn a_gap_behind_what_a_cursor_went_back_to_is_acknowledged_wherever_cursors_go() {
    let mut state = state();
    open(&mut state, 1);
    open(&mut state, 6);
    state.put_cursor(2, Cursor::new("reader", false, 5, BTreeMap::new()));
    // Of 20 half is gone, of 30 nothing; 10 is all there.
    state.drop_below(20, 2, 200);
    let next = |state: &State, slot| state.cursor(slot).unwrap().next;
    let backlog = |state: &State, slot| state.cursor(slot).unwrap().backlog(12);
    assert_eq!([0, 1, 2].map(|slot| next(&state, slot)), [1, 6, 6]);
    assert_eq!(backlog(&state, 0), 12 - 1 - 2);
    // Once the rest is acknowledged the cursor is behind the gap.
    for ordinal in 1..4 {
        assert!(state.cursor_mut(0).unwrap().ack(ordinal));
    }
    assert_eq!((next(&state, 0), backlog(&state, 0)), (6, 6));
    // Back again, to what is before it and into it, and as it is read from its row.
    state.apply(&Delta::CursorReset { slot: 0, next: 2 });
    state.apply(&Delta::CursorReset { slot: 1, next: 5 });
    open(&mut state, 0);
    let row = state.encode("t");
    let again = State::decode(&row).unwrap().1;
    for state in [&state, &again] {
        assert_eq!([0, 1].map(|slot| (next(state, slot), backlog(state, slot))), [(2, 8), (6, 6)]);
    }
    assert_eq!(backlog(&state, 3), 10);
}

#[test]
fn what_is_stored_begins_behind_a_gap() {
    let mut state = state();
    open(&mut state, 1);
    state.drop_below(20, 4, 400);
    assert_eq!((0..13).map(|n| state.stored_from(n)).collect::<Vec<_>>(), [0, 1, 2, 3, 8, 8, 8, 8, 8, 9, 10, 11, 12]);
    state.roll(40, 3 * MINUTE);
    state.drop_below(30, 4, 400);
    assert_eq!([3, 4, 8, 11, 12].map(|n| state.stored_from(n)), [3, 12, 12, 12, 12]);
}

/// How many ledgers may go at `now` minutes with cursors at `cursors`.
#[track_caller]
fn check_trim(cursors: &[u64], retention: Retention, now: u64, expected: usize) {
    let mut state = state();
    cursors.iter().for_each(|&next| open(&mut state, next));
    assert_eq!(state.trimmable(retention, now * MINUTE), expected);
}

#[test]
fn whole_ledgers_go_when_consumed_and_not_retained() {
    let nothing = keep(Some(0), Some(0));
    check_trim(&[], nothing, 3, 2);
    check_trim(&[12], nothing, 3, 2);
    check_trim(&[12, 7], nothing, 3, 1);
    check_trim(&[3], nothing, 3, 0);
    check_trim(&[8], keep(None, None), 99, 0);
    // Either bound lets go.
    check_trim(&[12], keep(Some(5), None), 6, 0);
    check_trim(&[12], keep(Some(5), None), 7, 1);
    check_trim(&[12], keep(Some(5), None), 8, 2);
    check_trim(&[12], keep(None, Some(1201)), 3, 0);
    check_trim(&[12], keep(None, Some(1200)), 3, 1);
    check_trim(&[12], keep(None, Some(800)), 3, 2);
    check_trim(&[12], keep(Some(5), Some(0)), 3, 2);
    check_trim(&[12], keep(Some(0), None), 3, 2);
}

/// The first entry wanted of ledger `ledger`.
#[track_caller]
fn check_wanted(cursors: &[u64], retention: Option<Retention>, ledger: u64, expected: Option<u64>) {
    let mut state = state();
    state.retention = retention;
    cursors.iter().for_each(|&next| open(&mut state, next));
    let unclaimed = Unclaimed { age: Duration::ZERO, bytes: 0 };
    assert_eq!(state.first_wanted(ledger, 3 * MINUTE, unclaimed), expected);
}

#[test]
fn of_what_nobody_subscribed_to_the_open_ledger_is_wanted() {
    let mut state = state();
    state.retention = Some(keep(Some(0), Some(0)));
    state.put_cursor(0, Cursor::new("reader", false, 12, BTreeMap::new()));
    let wanted = |state: &State, ledger, minutes: u64, bytes| {
        let unclaimed = Unclaimed { age: Duration::from_secs(minutes * 60), bytes };
        state.first_wanted(ledger, 3 * MINUTE, unclaimed)
    };
    // The open one has 400 bytes, and is a minute old.
    assert_eq!(wanted(&state, 30, 2, 400), Some(0));
    assert_eq!(wanted(&state, 30, 2, 399), Some(4));
    assert_eq!(wanted(&state, 30, 1, 400), Some(4));
    assert_eq!([10, 20].map(|closed| wanted(&state, closed, 2, 400)), [None, None]);
    open(&mut state, 12);
    assert_eq!(wanted(&state, 30, 2, 400), Some(4));
}

#[test]
fn of_a_consumed_ledger_nothing_is_wanted_and_of_the_open_one_what_is_left() {
    let nothing = Some(keep(Some(0), Some(0)));
    check_wanted(&[9], nothing, 10, None);
    check_wanted(&[9], nothing, 20, None);
    check_wanted(&[9], nothing, 30, Some(1));
    check_wanted(&[6], nothing, 20, Some(2));
    check_wanted(&[6], nothing, 30, Some(0));
    check_wanted(&[], nothing, 30, Some(4));
    check_wanted(&[12], nothing, 30, Some(4));
    // Retained, or not known to be not.
    check_wanted(&[12], None, 10, Some(0));
    check_wanted(&[12], Some(keep(None, None)), 10, Some(0));
    check_wanted(&[12], Some(keep(None, None)), 30, Some(0));
    check_wanted(&[12], Some(keep(Some(1), None)), 10, None);
    check_wanted(&[12], Some(keep(Some(1), None)), 20, Some(0));
    // Of another topic, or gone.
    check_wanted(&[12], nothing, 11, None);
}

#[test]
fn trimming_lifts_cursors_and_says_what_went() {
    let mut state = state();
    open(&mut state, 5);
    state.put_cursor(1, Cursor::new("reader", false, 1, BTreeMap::new()));
    state.apply(&Delta::Trim { ledger: 20 });
    assert_eq!(state.cursor(1).unwrap().next, 4);
    assert_eq!(state.cursor(0).unwrap().next, 5);
    assert_eq!(state.removed.iter().map(|l| l.id).collect::<Vec<_>>(), [10]);
    assert_eq!(state.before(4), Position::new(20, -1));
    // Never the last one.
    state.apply(&Delta::Trim { ledger: 1000 });
    assert_eq!(state.ledgers.len(), 1);
    assert_eq!((state.total(), state.first_ordinal()), (12, 8));
}

#[test]
fn what_others_append_is_known_by_its_commit_until_it_is_durable() {
    let mut state = state();
    let before = state.last_position();
    let mut append = |at, dedup| state.append_for_other(at, 7, 2, dedup);
    let first = append((11, 10), Some(("p", 3))).unwrap();
    assert_eq!(append((12, 10), Some(("p", 3))), None);
    let second = append((13, 10), None).unwrap();
    assert_eq!([before.next(), first.next()], [first, second]);
    for (durable, expected) in [(10, before), (11, first), (12, first), (13, second)] {
        assert_eq!(state.last_durable(durable), expected);
    }
    state.append_for_other((14, 13), 7, 2, None).unwrap();
    assert_eq!(state.by_others.len(), 1, "what is durable is forgotten");
    state.deleted = true;
    assert_eq!(state.append_for_other((15, 13), 7, 2, None), None);
}

#[derive(Debug, Clone)]
enum Change {
    Append(u64),
    Roll,
    Delta(Delta),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let slot = 0..3u32;
    let ordinal = 0..40u64;
    let acks = (
        ordinal.clone(),
        prop::collection::vec((0..5u64, 1..4u64), 0..4),
        prop::collection::vec((0..9u64, 1..16u64), 0..3),
    );
    let delta = prop_oneof![
        2 => (slot.clone(), ordinal.clone()).prop_map(|(slot, next)| Delta::CursorOpen {
            slot, name: format!("s{slot}"), next, properties: BTreeMap::new()
        }),
        1 => slot.clone().prop_map(|slot| Delta::CursorDelete { slot }),
        2 => (slot.clone(), ordinal).prop_map(|(slot, next)| Delta::CursorReset { slot, next }),
        6 => (slot, acks).prop_map(|(slot, (next, gaps, partial))| {
            let mut at = next;
            let ranges = gaps.into_iter().map(|(gap, length)| {
                let start = at + gap + 1;
                at = start + length;
                (start, at)
            }).collect();
            let mut at = next;
            let partial = partial.into_iter().map(|(gap, word)| {
                at += gap + 1;
                (at, [word].into_iter().collect())
            }).collect();
            Delta::Acks { slot, acks: Acks { next, ranges, partial } }
        }),
        1 => (0..8u64).prop_map(|n| Delta::Trim { ledger: n * 10 }),
        1 => any::<i64>().prop_map(|n| Delta::Dedup(vec![("p".into(), n)])),
        1 => Just(Delta::DedupRemove(vec!["p".into()])),
        1 => (0..9u64).prop_map(|n| Delta::Retention(keep(Some(n), None))),
    ];
    let change = prop_oneof![
        4 => (1..100u64).prop_map(Change::Append),
        1 => Just(Change::Roll),
        5 => delta.prop_map(Change::Delta),
    ];
    prop::collection::vec(change, 0..40)
}

/// A change as the journal has it: an append names its ledger and entry.
enum Recorded {
    Append(u64, u64, u64),
    Roll(u64),
    Delta(Delta),
}

fn replay(state: &mut State, changes: &[Recorded]) {
    for change in changes {
        match change {
            Recorded::Append(ledger, entry, bytes) => {
                state.replay_append(*ledger, *entry, *bytes, 1);
            }
            Recorded::Roll(ledger) => state.roll(*ledger, 7),
            Recorded::Delta(delta) => state.apply(delta),
        }
    }
}

proptest! {
    #[test]
    fn a_row_newer_than_the_replay_is_left_as_it_is(changes in changes(), from in 0..40usize) {
        let mut live = State::new(10, 0, BTreeMap::new());
        let mut recorded = Vec::new();
        for change in changes {
            recorded.push(match change {
                Change::Append(bytes) => {
                    let at = live.append(bytes, 1);
                    Recorded::Append(at.ledger, at.entry as u64, bytes)
                }
                Change::Roll => {
                    let ledger = live.current().id + 10;
                    live.roll(ledger, 7);
                    Recorded::Roll(ledger)
                }
                Change::Delta(mut delta) => {
                    // What a managed ledger writes names only what there is.
                    match &mut delta {
                        Delta::CursorOpen { next, .. } | Delta::CursorReset { next, .. } => {
                            *next = (*next).clamp(live.first_ordinal(), live.total());
                        }
                        Delta::Trim { ledger } => *ledger = (*ledger).min(live.current().id),
                        _ => {}
                    }
                    live.apply(&delta);
                    Recorded::Delta(delta)
                }
            });
        }
        let row = live.encode("t");
        let (name, mut decoded) = State::decode(&row).unwrap();
        prop_assert_eq!(name, "t");
        prop_assert_eq!(decoded.encode("t"), row.clone());
        // From nothing, and from the row on from any earlier point.
        let mut fresh = State::new(10, 0, BTreeMap::new());
        replay(&mut fresh, &recorded);
        prop_assert_eq!(fresh.encode("t"), row.clone());
        replay(&mut decoded, &recorded[from.min(recorded.len())..]);
        prop_assert_eq!(decoded.encode("t"), row);
    }

    #[test]
    fn a_damaged_row_is_refused_or_read_but_never_panics(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut state = state();
        open(&mut state, 3);
        state.apply(&Delta::Dedup(vec![("p".into(), 4)]));
        let mut row = state.encode("persistent://a/b/c");
        let at = at.index(row.len());
        row[at] = to;
        if let Ok((_, state)) = State::decode(&row) {
            let _ = (state.first_ordinal(), state.last_position(), state.consumed(), state.trimmable(keep(Some(0), Some(0)), 0));
        }
        let _ = State::decode(&row[..at]);
    }
}

#[test]
fn an_acknowledgement_of_lost_entries_does_not_take_later_ones_with_it() {
    let mut state = state();
    open(&mut state, 12);
    // A damaged file took entries 4 to 7 of the last ledger; that they were acknowledged is known from a later one.
    state.apply(&Delta::Acks { slot: 0, acks: Acks { next: 14, ranges: vec![(15, 16)], partial: Vec::new() } });
    assert_eq!(state.append(100, 1), Position::new(30, 8));
    let cursor = state.cursor(0).unwrap();
    assert!(cursor.is_acked(15) && !cursor.is_acked(16));
}
