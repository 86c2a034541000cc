//! How far an apply or a deletion is, line by line, and how it ended.

use super::resource::Name;
use crate::{
    http::{Admin, Error},
    output,
};
use admin_api::mesh::{Action, Plan, Progress, State, Status, Step};
use anyhow::bail;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// From one look to the next.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a server may be away: it goes on where it was.
const AWAY_MAX: Duration = Duration::from_secs(120);
/// Characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 60;

/// Looks until nothing is under way, and tells each change of a step; the last look, unless the mesh is gone.
///
/// # Errors
/// The server refuses, or is away for too long.
pub(crate) async fn follow(admin: &Admin, name: &Name, first: Status, plain: bool) -> anyhow::Result<Option<Status>> {
    let (mut status, mut told) = (first, Told::default());
    let mut away: Option<Instant> = None;
    loop {
        if plain {
            output::print(&told.news(&status))?;
        }
        if !status.state.is_moving() {
            return Ok(Some(status));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        match name.at(admin).at(["status"]).query("nodes", false).get::<Status>().await {
            Ok(now) => {
                status = now;
                away = None;
            }
            Err(error) if error.is_not_found() => {
                // Only when all of it is gone, a mesh is.
                status.steps.iter_mut().for_each(|step| step.progress = Progress::Done);
                if plain && status.state == State::Deleting {
                    output::print(&told.news(&status))?;
                }
                return Ok(None);
            }
            Err(Error::Refused { status, reason }) => return Err(Error::Refused { status, reason }.into()),
            Err(error) => {
                let since = *away.get_or_insert_with(|| {
                    eprintln!("the server is away; when it is back, it goes on where it was");
                    Instant::now()
                });
                if since.elapsed() > AWAY_MAX {
                    return Err(error.into());
                }
            }
        }
    }
}

/// What was told of each step.
#[derive(Default)]
struct Told {
    /// By whether it undoes, and its number.
    steps: BTreeMap<(bool, usize), Progress>,
}

impl Told {
    /// A line for each step that has come further.
    fn news(&mut self, status: &Status) -> String {
        let lists = [(false, "", &status.steps), (true, "back: ", &status.undone)];
        let mut text = String::new();
        for (is_undo, before, steps) in lists {
            for (number, step) in steps.iter().enumerate() {
                let told = self.steps.insert((is_undo, number), step.progress).unwrap_or_default();
                if told != step.progress {
                    text += &format!("{before}{}", line(step));
                }
            }
        }
        text
    }
}

fn line(step: &Step) -> String {
    let Step { action, kind, name, progress, message, .. } = step;
    let why = if message.is_empty() { String::new() } else { format!(", {message}") };
    output::shown(&format!("{action} {kind} {name}: {progress}{why}")) + "\n"
}

/// What was begun, for those who do not wait.
pub(crate) fn begun(name: &Name, status: &Status, is_new: bool) -> String {
    if !is_new {
        return format!("mesh {name} is at version {} already; nothing to do\n", status.version);
    }
    let steps: String =
        status.steps.iter().map(|step| format!("  {} {} {}\n", step.action, step.kind, step.name)).collect();
    format!(
        "mesh {name}: version {} is being applied\n{steps}`geminga mesh status {name} --watch` shows how far it is\n",
        status.version
    )
}

/// Tells how it ended.
///
/// # Errors
/// Badly.
pub(crate) fn ended(name: &Name, status: Option<Status>, is_new: bool, plain: bool) -> anyhow::Result<()> {
    let Some(status) = status else { bail!("mesh {name} was deleted meanwhile") };
    if !plain {
        output::json(&status)?;
    }
    if status.state.is_bad() {
        let what = match status.state {
            State::RolledBack => "could not be applied, and all is as it was before",
            State::DeleteFailed => "could not be deleted",
            _ => "could not be applied; what was done stays",
        };
        bail!("mesh {name} {what}: {}", output::shown(&status.error));
    }
    if !plain {
        return Ok(());
    }
    if !is_new {
        return output::line(format!("mesh {name} is at version {} already; nothing to do", status.version));
    }
    let counts = [
        (Action::Create, "created"),
        (Action::Update, "updated"),
        (Action::Scale, "scaled"),
        (Action::Delete, "deleted"),
    ]
    .map(|(action, word)| (status.steps.iter().filter(|step| step.action == action).count(), word));
    let counts: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    let counts = if counts.is_empty() { "nothing to do".to_owned() } else { counts.join(", ") };
    output::line(format!("mesh {name} is applied, version {}: {counts}", status.version))
}

/// A plan, like a diff.
pub(crate) fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        let sign = match step.action {
            Action::Create => '+',
            Action::Update | Action::Scale => '~',
            Action::Delete => '-',
        };
        text += &output::shown(&format!("{sign} {} {}", step.kind, step.name));
        text.push('\n');
        for change in &step.changes {
            let values = match (&change.old, &change.new) {
                (Value::Null, Value::Null) if change.field == "byHand" => "somebody changed it by hand".to_owned(),
                (Value::Null, Value::Null) => "differs".to_owned(),
                (old, new) => format!("{} -> {}", shown(old), shown(new)),
            };
            text += &output::shown(&format!("    {}  {values}", change.field));
            text.push('\n');
        }
    }
    let count = |wanted| plan.steps.iter().filter(|step| step.action == wanted).count();
    let counts = [
        (count(Action::Create), "to create"),
        (count(Action::Update), "to update"),
        (count(Action::Scale), "to scale"),
        (count(Action::Delete), "to delete"),
        (plan.unchanged.len(), "unchanged"),
    ];
    let counts: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    text + &counts.join(", ") + "\n"
}

fn shown(value: &Value) -> String {
    if value.is_null() {
        return "nothing".to_owned();
    }
    let text = value.to_string();
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn step(action: Action, name: &str, progress: Progress, message: &str) -> Step {
        let (kind, name) = ("function".to_owned(), format!("public/default/{name}"));
        Step { action, kind, name, changes: Vec::new(), progress, message: message.to_owned() }
    }

    fn status(steps: Vec<Step>, undone: Vec<Step>) -> Status {
        Status {
            namespace: "default".to_owned(),
            name: "app".to_owned(),
            version: 2,
            state: State::Applying,
            error: String::new(),
            changed_ms: 0,
            steps,
            undone,
            nodes: Vec::new(),
        }
    }

    #[test]
    fn each_step_is_told_once_for_each_word_of_it() {
        let mut told = Told::default();
        let mut check = |status: Status, expect: Expect| expect.assert_eq(&told.news(&status));
        let waiting = || step(Action::Create, "b", Progress::Waiting, "");
        check(
            status(vec![step(Action::Create, "a", Progress::Running, ""), waiting()], vec![]),
            expect![[r#"
            create function public/default/a: running
        "#]],
        );
        let starting = || step(Action::Create, "a", Progress::Starting, "0 of 1 instances run");
        check(
            status(vec![starting(), waiting()], vec![]),
            expect![[r#"
            create function public/default/a: starting, 0 of 1 instances run
        "#]],
        );
        check(status(vec![starting(), waiting()], vec![]), expect![""]);
        let failed = step(Action::Create, "b", Progress::Failed, "no such class\u{1b}");
        let undone = vec![step(Action::Delete, "a", Progress::Done, "")];
        check(
            status(vec![starting(), failed], undone),
            expect![[r#"
            create function public/default/b: failed, no such class\u{1b}
            back: delete function public/default/a: done
        "#]],
        );
    }

    #[test]
    fn a_plan_reads_like_a_diff() {
        let mut update = step(Action::Update, "a", Progress::Waiting, "");
        update.changes = vec![
            admin_api::mesh::Change { field: "userConfig.n".to_owned(), old: Value::Null, new: 1.into() },
            admin_api::mesh::Change { field: "byHand".to_owned(), old: Value::Null, new: Value::Null },
        ];
        let steps = vec![step(Action::Create, "b", Progress::Waiting, ""), update];
        let text = plan(&Plan { version: 1, steps, unchanged: vec!["sink x".to_owned()] });
        expect![[r#"
            + function public/default/b
            ~ function public/default/a
                userConfig.n  nothing -> 1
                byHand  somebody changed it by hand
            1 to create, 1 to update, 1 unchanged
        "#]]
        .assert_eq(&text);
    }
}
