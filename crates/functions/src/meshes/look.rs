//! How the nodes of a mesh do, for those who look. Rates are computed when they are asked for: of what was counted at this look and
//! the one before, or, when there was none of late, of two looks shortly after each other.

use admin_api::mesh::{Decision, Node, Status};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Mesh, Meshes, row::Applied};
use crate::{
    Kind,
    event_log::InputStats,
    instance,
    worker::{self, Standing, scaling::Phase},
};

/// Two looks make a rate when so much time is between them.
const APART: Duration = Duration::from_millis(500);
/// A look that is older says nothing of now.
const STALE: Duration = Duration::from_secs(20);

/// Looks at one mesh.
#[derive(Default)]
pub(super) struct Looks {
    before: Mutex<Option<Look>>,
}

#[derive(Clone)]
struct Look {
    at: Instant,
    seen: BTreeMap<worker::Name, Seen>,
}

/// What was counted of one function.
#[derive(Clone, Default)]
struct Seen {
    inputs: Option<InputStats>,
    processed: u64,
    published: u64,
    errors: Vec<instance::Exception>,
}

impl Meshes {
    /// How a mesh does.
    pub(super) async fn look(&self, mesh: &Mesh) -> Status {
        let before = mesh.looks.before.lock().clone();
        let (before, now) = match before.filter(|look| (APART..STALE).contains(&look.at.elapsed())) {
            Some(before) => (before, self.see(mesh).await),
            None => {
                let before = self.see(mesh).await;
                tokio::time::sleep(APART).await;
                (before, self.see(mesh).await)
            }
        };
        let rows = mesh.stored.lock().nodes.clone();
        let mut nodes: Vec<_> = rows.iter().collect();
        nodes.sort_by_key(|(_, row)| std::cmp::Reverse(row.order));
        let nodes = nodes.into_iter().map(|(name, row)| self.node(name, row, &before, &now)).collect();
        *mesh.looks.before.lock() = Some(now);
        Status { nodes, ..mesh.progress() }
    }

    async fn see(&self, mesh: &Mesh) -> Look {
        let names: Vec<_> = {
            let stored = mesh.stored.lock();
            stored.nodes.iter().map(|(name, row)| (name.clone(), super::goal::kind(&row.node))).collect()
        };
        let mut seen = BTreeMap::new();
        for (name, kind) in names {
            let mut one = Seen::default();
            for status in self.shared.worker.statuses(kind, &name).unwrap_or_default() {
                // A source processes nothing; what it writes is what it is done with.
                one.processed += if kind == Kind::Source { status.published } else { status.processed };
                one.published += status.published;
                one.errors.extend(status.latest_user_exceptions);
                one.errors.extend(status.latest_system_exceptions);
            }
            // What the broker does not say is not known; the rest is.
            one.inputs = self.shared.worker.inputs(kind, &name).await.ok().flatten();
            seen.insert(name, one);
        }
        Look { at: Instant::now(), seen }
    }

    fn node(&self, name: &worker::Name, row: &Applied, before: &Look, now: &Look) -> Node {
        let kind = super::goal::kind(&row.node);
        let mut node = Node { kind: kind.as_str().to_owned(), name: name.to_string(), ..Node::default() };
        let Ok(standing) = self.shared.worker.standing(kind, name) else {
            node.state = if row.stamp.is_some() { "missing" } else { "not made" }.to_owned();
            return node;
        };
        let is_changed = row.stamp.is_some() && self.shared.worker.stamp(kind, name) != row.stamp;
        let view = self.shared.worker.scaling(kind, name).ok();
        let is_woken = view.as_ref().is_some_and(|view| view.phase == Phase::Asleep);
        node.state = word(&standing, is_changed, is_woken).to_owned();
        if let Some(view) = view {
            node.recommendation = view.recommendation;
            node.decision = view.latest.map(|event| Decision {
                at_ms: event.at_ms,
                by: event.by,
                from: event.from,
                to: event.to,
                code: event.reason.code,
                text: event.reason.text,
            });
        }
        node.wanted = standing.wanted;
        node.running = standing.running;
        let (Some(seen), then) = (now.seen.get(name), before.seen.get(name)) else { return node };
        let last = seen.errors.iter().max_by_key(|error| error.at_ms).map(|error| error.message.clone());
        node.error = if standing.error.is_empty() { last.unwrap_or_default() } else { standing.error };
        let seconds = now.at.saturating_duration_since(before.at).as_secs_f64();
        if let Some(then) = then.filter(|_| seconds > 0.0) {
            // Counters begin anew with an instance: what fell is not known.
            let rate = |then: u64, now: u64| now.checked_sub(then).map(|count| count as f64 / seconds);
            node.processed_per_s = rate(then.processed, seen.processed);
            node.out_per_s = if kind == Kind::Sink { None } else { rate(then.published, seen.published) };
            if let (Some(then), Some(now)) = (&then.inputs, &seen.inputs) {
                node.in_per_s = Some(now.arrived_since(then) as f64 / seconds);
            }
        }
        node.backlog = seen.inputs.as_ref().map(|inputs| inputs.backlog);
        node.oldest_ms =
            seen.inputs.as_ref().map(|inputs| u64::try_from(inputs.oldest.as_millis()).unwrap_or(u64::MAX));
        node
    }
}

fn word(standing: &Standing, is_changed: bool, is_woken: bool) -> &'static str {
    match standing {
        Standing { wanted: 0, .. } if is_woken => "asleep",
        Standing { wanted: 0, .. } => "stopped",
        _ if is_changed => "changed by hand",
        Standing { wanted, stopped, .. } if wanted == stopped => "stopped",
        Standing { is_settled: true, .. } => "running",
        Standing { error, .. } if error.is_empty() => "starting",
        _ => "failing",
    }
}
