//! What was learnt of what instances use, kept over a stop of the process: a row of the table `function-vpa` for each function whose rules
//! have a VPA. Rows that differ are written now and then, and at the end; a kill loses what was learnt since.
//!
//! Source: `VerticalPodAutoscalerCheckpoint` of `autoscaling.k8s.io/v1`, and kubernetes/autoscaler
//! `vertical-pod-autoscaler/pkg/recommender/checkpoint/checkpoint_writer.go`, which does it once a minute.

use autoscale::vpa::Checkpoint;
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

use crate::{
    Result, Tables,
    event_log::{RowChange, TableChange, rows},
};

/// The table; its keys are the names of functions.
const TABLE: &str = "function-vpa";
/// Between two times that it is written.
pub(super) const SAVE_EVERY: Duration = Duration::from_secs(600);

/// Of one function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Learnt {
    /// Of which one: another of the same name has learnt nothing yet.
    pub(super) id: String,
    pub(super) checkpoint: Checkpoint,
}

/// Of all functions, by name, as it is written.
pub(super) type Saved = BTreeMap<String, Learnt>;

/// All rows; one that cannot be read costs what its function had learnt.
pub(super) async fn read(tables: &dyn Tables) -> Result<Saved> {
    let mut saved = Saved::new();
    let mut rows = rows(tables, TABLE, b"", None);
    while let Some((key, row)) = rows.try_next().await? {
        let function = String::from_utf8_lossy(&key).into_owned();
        match serde_json::from_slice(&row.value) {
            Ok(learnt) => drop(saved.insert(function, learnt)),
            Err(error) => tracing::warn!(function, %error, "what its VPA has learnt cannot be read"),
        }
    }
    Ok(saved)
}

/// What to write where `saved` is written and `now` is so; what `now` does not have goes, unless it `stays`.
pub(super) fn changes(saved: &Saved, now: &Saved, stays: impl Fn(&str) -> bool) -> Vec<TableChange> {
    let change = |name: &String, change| TableChange { table: TABLE.into(), key: name.clone().into(), change };
    let differs = now.iter().filter(|(name, learnt)| saved.get(*name) != Some(*learnt));
    // Names and finite numbers always are JSON.
    let put = |learnt: &Learnt| RowChange::Put(serde_json::to_vec(learnt).unwrap_or_default().into());
    let gone = saved.keys().filter(|name| !now.contains_key(*name) && !stays(name));
    differs
        .map(|(name, learnt)| change(name, put(learnt)))
        .chain(gone.map(|name| change(name, RowChange::Delete)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryTables;

    fn learnt(id: &str, samples: u64) -> Learnt {
        let checkpoint = Checkpoint { total_samples_count: samples, ..Checkpoint::default() };
        Learnt { id: id.to_owned(), checkpoint }
    }

    fn saved(rows: &[(&str, Learnt)]) -> Saved {
        rows.iter().map(|(name, learnt)| ((*name).to_owned(), learnt.clone())).collect()
    }

    #[tokio::test]
    async fn what_differs_is_written_and_what_is_gone_goes() {
        let tables = MemoryTables::default();
        let first =
            saved(&[("a", learnt("1", 1)), ("b", learnt("2", 1)), ("c", learnt("3", 1)), ("d", learnt("4", 1))]);
        tables.write(changes(&Saved::new(), &first, |_| true)).await.unwrap();
        assert_eq!(read(&tables).await.unwrap(), first);
        let now = saved(&[("a", learnt("1", 1)), ("b", learnt("2", 2))]);
        let written = changes(&first, &now, |name| name == "c");
        assert_eq!(written.iter().map(|change| &change.key[..]).collect::<Vec<_>>(), [b"b", b"d"]);
        tables.write(written).await.unwrap();
        tables
            .write(vec![TableChange { table: TABLE.into(), key: "e".into(), change: RowChange::Put("{".into()) }])
            .await
            .unwrap();
        let expected = saved(&[("a", learnt("1", 1)), ("b", learnt("2", 2)), ("c", learnt("3", 1))]);
        assert_eq!(read(&tables).await.unwrap(), expected, "a damaged row costs that row");
        assert_eq!(changes(&now, &now, |_| false), []);
    }
}
