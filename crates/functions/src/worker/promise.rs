//! What holds of a function's messages, in words for the one who deploys it: stronger than the guarantee that was asked for where the
//! loop commits for it, and no stronger than its own client's where it has one.

use super::{Function, Name, Worker};
use crate::{FunctionSpec, Kind, Result, spec::Guarantee};

/// What [`crate::instance`] does of `spec`; `is_self_driven` as its runtime says.
const fn promise(spec: &FunctionSpec, is_self_driven: bool) -> &'static str {
    use Guarantee::{AtleastOnce, AtmostOnce, EffectivelyOnce, Manual};
    match (spec.kind, spec.guarantee) {
        (_, AtmostOnce) if is_self_driven => {
            "at most once, by its own client: a message is acknowledged before the function is called"
        }
        (Kind::Sink, _) if is_self_driven && spec.subscription_type.is_single_active() => {
            "once, in order, where the other broker deduplicates: an entry is sent under the number of its position, and acknowledged when it is stored there"
        }
        (Kind::Sink, _) if is_self_driven => "at least once: a message is acknowledged when the other broker has it",
        _ if is_self_driven => {
            "at least once, by its own client: output and acknowledgement are two steps, and a message may come again between them"
        }
        (Kind::Source, _) => {
            "at least once: the connector hears of a record when it is durable, and may bring it again before"
        }
        (_, AtmostOnce) => "at most once: a message is acknowledged before it is handed over",
        (Kind::Sink, EffectivelyOnce) => {
            "at least once, in order: a message is acknowledged when the connector has taken it, and nothing passes one that fails"
        }
        (Kind::Sink, _) => "at least once: a message is acknowledged when the connector has taken it",
        (Kind::Function, _) if spec.window.is_some() => {
            "exactly once: a message is acknowledged in the commit that keeps it, and let go in that of its last window's output and state"
        }
        (Kind::Function, Manual) if spec.elsewhere.is_some() => {
            "as it acknowledges: with state and outbox of the same call, in one commit; outputs are then forwarded, once where the other cluster deduplicates"
        }
        (Kind::Function, EffectivelyOnce) if spec.elsewhere.is_some() => {
            "exactly once, in order: input, state and outbox in one commit, and nothing passes a message that fails; outputs are then forwarded, once where the other cluster deduplicates"
        }
        (Kind::Function, AtleastOnce) if spec.elsewhere.is_some() && spec.auto_ack => {
            "exactly once: input, state and outbox in one commit; outputs are then forwarded, once and in order where the other cluster deduplicates"
        }
        (Kind::Function, Manual) => "as it acknowledges: with output and state of the same call, in one commit",
        (Kind::Function, _) if !spec.auto_ack => {
            "as it acknowledges: with output and state of the same call, in one commit"
        }
        (Kind::Function, EffectivelyOnce) => {
            "exactly once, in order: input, output and state in one commit, and nothing passes a message that fails"
        }
        (Kind::Function, AtleastOnce) => {
            "exactly once: input, output and state in one commit; a message that fails is tried again later"
        }
    }
}

impl Worker {
    /// What holds of the messages of a function, source or sink, in words; `None`: it cannot run here.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`].
    pub fn promise(&self, kind: Kind, name: &Name) -> Result<Option<String>> {
        Ok(self.promise_of(&*self.function(kind, name)?))
    }

    pub(super) fn promise_of(&self, function: &Function) -> Option<String> {
        let spec = function.keeper.as_ref().ok()?.spec()?;
        let runtime = self.shared.runtimes.get(spec.language).ok()?;
        Some(promise(&spec, runtime.is_self_driven(&spec)).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        spec::Span,
        testing::{spec, windows},
    };

    #[test]
    fn what_the_loop_commits_is_exactly_once_and_what_others_do_is_not() {
        let of = |kind, guarantee, auto_ack| FunctionSpec { kind, guarantee, auto_ack, ..spec("f") };
        let in_order = |spec| FunctionSpec { subscription_type: model::SubscriptionType::Failover, ..spec };
        for (spec, is_self_driven, begins) in [
            (of(Kind::Function, Guarantee::AtleastOnce, true), false, "exactly once:"),
            (of(Kind::Function, Guarantee::EffectivelyOnce, true), false, "exactly once, in order:"),
            (of(Kind::Function, Guarantee::AtmostOnce, true), false, "at most once:"),
            (of(Kind::Function, Guarantee::Manual, true), false, "as it acknowledges"),
            (of(Kind::Function, Guarantee::AtleastOnce, false), false, "as it acknowledges"),
            (of(Kind::Function, Guarantee::AtleastOnce, true), true, "at least once, by its own client:"),
            (of(Kind::Function, Guarantee::AtmostOnce, true), true, "at most once, by its own client:"),
            (of(Kind::Sink, Guarantee::AtleastOnce, true), true, "at least once:"),
            (in_order(of(Kind::Sink, Guarantee::EffectivelyOnce, true)), true, "once, in order, where"),
            (of(Kind::Source, Guarantee::AtmostOnce, true), false, "at least once:"),
            (of(Kind::Sink, Guarantee::AtleastOnce, true), false, "at least once:"),
            (of(Kind::Sink, Guarantee::AtmostOnce, true), false, "at most once:"),
        ] {
            let says = promise(&spec, is_self_driven);
            assert!(says.starts_with(begins), "{says}");
        }
        // The loop acknowledges for a window, although Pulsar's configuration of one says that it does not.
        let window = windows(Span::Count(3), Span::Count(3));
        let spec = FunctionSpec { window: Some(window), ..of(Kind::Function, Guarantee::AtleastOnce, false) };
        assert!(
            promise(&spec, false).starts_with("exactly once: a message is acknowledged in the commit that keeps it")
        );
    }
}
